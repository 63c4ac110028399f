"""`spacy welt distill`: train a small model on the predictions of large ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import WeltError
from ._util import GPU_ID, one_line_errors, progress

if TYPE_CHECKING:
    from thinc.api import Config


@one_line_errors
def distill_cli(
    teacher: Path = typer.Argument(
        ..., help="A pipeline with welt_ner: a folder, or its name."
    ),
    config: Path = typer.Argument(..., help="The training config of the student."),
    texts: list[str] = typer.Argument(
        ...,
        help="Files of texts: .txt (a text a line), .jsonl, .pubtator, .xml (BioC), "
        ".spacy. Overrides of the config may follow, as for spacy train.",
    ),
    output: Path = typer.Option(..., "--output", "-o", help="The folder to write."),
    others: list[Path] | None = typer.Option(
        None, "--teacher", "-t", help="Another teacher; can be repeated."
    ),
    exclude: list[Path] | None = typer.Option(
        None,
        "--exclude",
        "-x",
        help="A file whose texts are left out, such as the test data; can be repeated. "
        "The dev data of the config are always left out.",
    ),
    gold_epochs: int = typer.Option(
        2,
        "--gold-epochs",
        min=0,
        help="Number of passes over the gold corpus per epoch.",
    ),
    alpha: float = typer.Option(
        0.5,
        "--alpha",
        "-a",
        help="Weight of a token with gold annotation; a token with soft labels has the "
        "rest.",
    ),
    temperature: float = typer.Option(
        1.0, "--temperature", "-T", help="Temperature of the loss on soft labels."
    ),
    hard_labels: bool = typer.Option(
        False,
        "--hard-labels",
        help="Learn the entities of the teachers, not their probabilities.",
    ),
    keep_gold: bool = typer.Option(
        False,
        "--keep-gold",
        help="Keep the gold annotation of .spacy files for their annotated labels; "
        "teachers add the others. See 'spacy welt corpora combine'.",
    ),
    n_sents: int = typer.Option(
        1,
        "--n-sents",
        "-n",
        min=0,
        help="Number of sentences per document; 0 for whole texts.",
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Train a small model on gold data and on the predictions of large ones.

    Predictions are stored as soft labels. Work that is up to date is not repeated.
    """
    from spacy.cli._util import parse_config_overrides

    from ..training.distillation import LabelSettings, distill
    from ..training.student_config import StudentSettings

    n = next((i for i, text in enumerate(texts) if text.startswith("--")), len(texts))
    with progress() as bar:
        task = bar.add_task("documents labelled", total=None)
        result = distill(
            [teacher, *(others or [])],
            [Path(text) for text in texts[:n]],
            _load_config(config, parse_config_overrides(texts[n:])),
            output,
            student=StudentSettings(gold_epochs, alpha, temperature, hard_labels),
            labels=LabelSettings(keep_gold=keep_gold, n_sents=n_sents),
            exclude=exclude or [],
            gpu_id=gpu_id,
            report=lambda n_docs: bar.update(task, completed=n_docs),
        )
    counts = result.soft_labels.counts
    typer.echo(
        f"✔ {result.soft_labels.folder}: {counts['docs']:,} documents with soft labels; left "
        f"out: {counts['excluded']:,} that are in "
        f"{', '.join(map(str, result.excluded)) or 'no file'}, {counts['repeated']:,} repeated"
    )
    typer.echo(f"✔ {result.model}{'' if result.is_new else ' is up to date'}")


def _load_config(path: Path, overrides: dict[str, Any]) -> "Config":
    from spacy.cli._util import show_validation_error
    from spacy.util import load_config

    if not path.is_file():
        raise WeltError(f"{path} is not a file: a training config is needed")
    with show_validation_error(path, hint_fill=False):
        return load_config(path, overrides=overrides, interpolate=False)
