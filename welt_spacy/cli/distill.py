"""`spacy welt distill`: a small model taught by a large one."""

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import srsly
import typer
from spacy.cli._util import parse_config_overrides, show_validation_error
from spacy.cli.train import train
from spacy.util import load_config
from thinc.api import Config

from ..corpora.overlap import TextIndex
from ..corpora.unannotated import read_texts
from ..distillation.student import ALPHA, GOLD_REPEATS, TEMPERATURE, student_config
from ..distillation.teaching import MANIFEST, checksum, teach
from ..errors import WeltError
from ..files import write_atomically
from ..io import load_pipeline
from ._util import GPU_ID, one_line_errors, progress

TAUGHT, CONFIG, DONE = "taught", "config.cfg", "distilled.json"


@one_line_errors
def distill_cli(
    teacher: Path = typer.Argument(
        ..., help="A pipeline with welt_ner: a folder, or its name."
    ),
    config: Path = typer.Argument(..., help="The training config of the student."),
    texts: List[str] = typer.Argument(
        ...,
        help="Files of texts: .txt (a text a line), .jsonl, .pubtator, .xml (BioC), "
        ".spacy. Overrides of the config may follow, as for spacy train.",
    ),
    output: Path = typer.Option(..., "--output", "-o", help="The folder to write."),
    others: Optional[List[Path]] = typer.Option(
        None, "--teacher", "-t", help="Another teacher; can be repeated."
    ),
    exclude: Optional[List[Path]] = typer.Option(
        None,
        "--exclude",
        "-x",
        help="A file whose texts are left out, such as the test data; can be repeated. "
        "The dev data of the config always are.",
    ),
    gold_repeats: int = typer.Option(
        GOLD_REPEATS, "--gold-repeats", min=0, help="Gold data, so often an epoch."
    ),
    alpha: float = typer.Option(
        ALPHA,
        "--alpha",
        "-a",
        help="Weight of a gold token; a taught one has the rest.",
    ),
    temperature: float = typer.Option(
        TEMPERATURE, "--temperature", "-T", help="Of the loss on soft tags."
    ),
    hard: bool = typer.Option(
        False, "--hard", help="Learn the teachers' entities, not their probabilities."
    ),
    complete: bool = typer.Option(
        False,
        "--complete",
        help="Keep the gold annotation of .spacy files for the labels that were looked "
        "for; teachers add the others. See 'spacy welt corpora combine'.",
    ),
    n_sents: int = typer.Option(
        1, "--n-sents", "-n", min=0, help="Sentences in a doc; 0 for whole texts."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Train a small model on gold data and on what large ones say of other texts.

    What the teachers say is written once and taken up again.
    """
    paths, overrides = _split(texts)
    gold = _load_config(config, overrides)
    made = student_config(
        gold,
        output / TAUGHT,
        gold_repeats=gold_repeats,
        alpha=alpha,
        temperature=temperature,
        hard=hard,
    )
    _check_output(output)
    left_out = [*(exclude or []), *_dev_files(gold.interpolate())]
    for path in (*paths, *left_out):
        if not path.is_file():
            raise WeltError(f"{path} is not a file")
    teachers = [teacher, *(others or [])]
    loaded = [load_pipeline(path, gpu_id=gpu_id) for path in teachers]
    index = TextIndex()
    for path in left_out:
        for text in read_texts(path, loaded[0], n_sents=1):
            index.add(text.doc.text, text.id)
    with progress() as bar:
        task = bar.add_task("docs taught", total=None)
        taught = teach(
            loaded,
            paths,
            output / TAUGHT,
            told={
                "teachers": {str(path): checksum(path) for path in teachers},
                "left out": {str(path): checksum(path) for path in left_out},
            },
            exclude=index,
            complete=complete,
            n_sents=n_sents,
            report=lambda done: bar.update(task, completed=done),
        )
    del loaded
    counts = taught.counts
    typer.echo(
        f"✔ {taught.folder}: {counts['docs']:,} docs with soft tags; left out: "
        f"{counts['excluded']:,} that stand in {', '.join(map(str, left_out)) or 'nothing'}, "
        f"{counts['repeated']:,} that were there before"
    )
    content = made.to_str()
    told = json.dumps({"config": content, "taught": checksum(taught.folder)}, indent=2)
    done, model = output / DONE, output / "model-best"
    if model.is_dir() and done.is_file() and done.read_text("utf8") == told:
        typer.echo(f"✔ {model} is up to date")
        return
    done.unlink(missing_ok=True)
    write_atomically(output / CONFIG, content)
    train(output / CONFIG, output, use_gpu=gpu_id)
    about = {
        "teachers": list(map(str, teachers)),
        "texts": list(map(str, paths)),
        "docs": counts["docs"],
    }
    for name in ("model-best", "model-last"):
        _note(output / name / "meta.json", about)
    write_atomically(done, told)
    typer.echo(f"✔ {model}")


def _note(path: Path, about: Dict[str, Any]) -> None:
    """Keep in the meta of the student what it has learned from."""
    if path.is_file():
        meta = srsly.read_json(path)
        write_atomically(path, srsly.json_dumps({**meta, "distilled": about}, indent=2))


def _check_output(output: Path) -> None:
    # `spacy train` replaces whatever has these names
    ours = (output / TAUGHT / MANIFEST).is_file()
    for name in (CONFIG, "model-best", "model-last"):
        if (output / name).exists() and not ours:
            raise WeltError(
                f"{output / name} was not made by 'spacy welt distill', so it is not "
                "replaced: use another --output"
            )


def _split(texts: List[str]) -> Tuple[List[Path], Dict[str, Any]]:
    """Files, and the overrides that follow them."""
    n = next((i for i, text in enumerate(texts) if text.startswith("--")), len(texts))
    return [Path(text) for text in texts[:n]], parse_config_overrides(texts[n:])


def _load_config(path: Path, overrides: Dict[str, Any]) -> Config:
    if not path.is_file():
        raise WeltError(f"{path} is not a file: a training config is needed")
    with show_validation_error(path, hint_fill=False):
        return load_config(path, overrides=overrides, interpolate=False)


def _dev_files(config: Config) -> List[Path]:
    path = config["corpora"].get("dev", {}).get("path")
    return [Path(path)] if path and Path(path).is_file() else []
