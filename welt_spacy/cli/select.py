"""`spacy welt select`: which docs to train on."""

from pathlib import Path
from typing import Any

import spacy
import srsly
import typer
from spacy import registry
from spacy.tokens import Doc

from ..corpora.convert import sha256, to_bytes
from ..errors import WeltError
from ..llm.causal_lm import load_causal_lm
from ..llm.prompts import JsonPrompt
from ..tokens.docs import read_docs
from ..tokens.document_id import get_document_id
from ..training.selection.ifd import KINDS, IFDScorer
from ..training.selection.ifd_cache import score_docs
from ..training.selection.report import QUANTILES, describe, rows, to_html
from ..training.selection.strategies import Candidates, Strategy, doc_vectors, select
from ..training.selection.tagger_scores import tag_docs
from ..util.files import exclusive_lock, write_atomically
from ..util.pipelines import load_pipeline, use_gpu
from ._util import GPU_ID, one_line_errors, print_table, progress


@one_line_errors
def select_cli(
    train: Path = typer.Argument(..., help="The .spacy file to choose from."),
    output: Path = typer.Argument(
        ...,
        help="The .spacy file to write; .jsonl, .json and .html of the same name are "
        "written beside it.",
    ),
    strategy: str = typer.Option(
        "hybrid_superfilter",
        "--strategy",
        "-s",
        help="hybrid_superfilter, superfilter, random, lowest_ifd, longest, most_mentions, "
        "all, tagger_loss, tagger_confidence, or a function registered in @misc.",
    ),
    keep: float = typer.Option(
        0.5, "--keep", "-k", help="The share to keep of the docs with entities."
    ),
    negatives: str = typer.Option(
        "all", "--negatives", help="The share of the docs without entities, or 'all'."
    ),
    weak: str | None = typer.Option(
        None,
        "--weak",
        "-w",
        help="The small language model that scores IFD: a name on the hub, or a folder.",
    ),
    kind: str = typer.Option(
        "ppl_ratio", "--ifd", help="Which IFD: ppl_ratio or loss_ratio."
    ),
    max_length: int = typer.Option(
        0,
        "--max-length",
        min=0,
        help="Most tokens of prompt and answer; 0: the model's.",
    ),
    tagger: Path | None = typer.Option(
        None, "--tagger", "-t", help="The trained welt_ner of tagger strategies."
    ),
    diverse: bool = typer.Option(
        False,
        "--diverse",
        help="Of twice as many docs, choose those that cover the others' words.",
    ),
    seed: int = typer.Option(0, "--seed", help="Of what is drawn."),
    force: bool = typer.Option(
        False, "--force", "-F", help="Replace files that this command did not write."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Choose training docs: the half with entities that is hard to a small language
    model and all docs without (hybrid superfiltering), or by another rule.

    Scores are kept as they come, so that a run that is ended is taken up again.
    """
    how = _strategy(strategy)
    share = _share(negatives)
    if kind not in KINDS:
        raise WeltError(f"--ifd is {kind!r}: use one of {', '.join(KINDS)}")
    if how.needs == "ifd" and weak is None:
        raise WeltError(f"{strategy} ranks by IFD: name a small model with --weak")
    if how.needs == "tagger" and tagger is None:
        raise WeltError(f"{strategy} needs a trained pipeline: name one with --tagger")
    if output.suffix != ".spacy":
        raise WeltError(f"{output}: the name must end in .spacy")
    use_gpu(gpu_id)
    with exclusive_lock(output):
        _check_output(train, output, force)
        nlp = load_pipeline(tagger) if tagger else spacy.blank("en")
        docs = read_docs(train, nlp.vocab)
        labels = sorted({ent.label_ for doc in docs for ent in doc.ents})
        if not labels:
            raise WeltError(f"{train} has no entities: there is nothing to choose by")
        settings: dict[str, Any] = {
            "train": str(train),
            "strategy": strategy,
            "keep": keep,
            "negatives": share,
            "diverse": diverse,
            "seed": seed,
        }
        ifd = {}
        if how.needs == "ifd":
            assert weak is not None
            settings.update(weak=weak, ifd=kind, max_length=max_length)
            places = [i for i, doc in enumerate(docs) if doc.ents or how.negatives]
            ifd = _score(docs, places, labels, weak, kind, max_length, output)
        tagged = tag_docs(nlp, docs) if how.needs == "tagger" else ()
        if tagged:
            settings["tagger"] = str(tagger)
        candidates = Candidates(docs, ifd, tagged)
        vectors = doc_vectors(docs) if diverse else None
        found = select(
            candidates,
            how,
            keep=keep,
            negatives=share,
            diverse=vectors,
            seed=seed,
        )
        if not found.kept:
            raise WeltError("Nothing is kept: raise --keep")
        told = describe(candidates, found)
        told_rows = rows(candidates, found, [get_document_id(doc) for doc in docs])
        chosen = [docs[i] for i in found.kept]
        content = to_bytes(chosen)
        title = f"{strategy} of {train.name}"
        # The record comes last: what it names is whole
        write_atomically(output, content)
        lines = "".join(srsly.json_dumps(row) + "\n" for row in told_rows)
        write_atomically(output.with_suffix(".jsonl"), lines)
        write_atomically(
            output.with_suffix(".html"), to_html(title, settings, told, told_rows)
        )
        record = {
            "settings": settings,
            "train": sha256(train.read_bytes()),
            "output": sha256(content),
            "found": told,
        }
        write_atomically(
            output.with_suffix(".json"), srsly.json_dumps(record, indent=2)
        )
    _print(title, told)
    typer.echo(
        f"✔ {output}: {told['kept']['docs']:,} docs; how and why: "
        f"{output.with_suffix('.html')}, {output.with_suffix('.jsonl')}"
    )


def _strategy(name: str) -> Strategy:
    for full in (name, f"welt_spacy.{name}.v1"):
        if registry.has("misc", full):
            found = registry.get("misc", full)()
            if isinstance(found, Strategy):
                return found
    raise WeltError(
        f"Unknown strategy {name!r}: use hybrid_superfilter, superfilter, random, "
        "lowest_ifd, longest, most_mentions, all, tagger_loss or tagger_confidence"
    )


def _share(text: str) -> float:
    if text == "all":
        return 1.0
    try:
        return float(text)
    except ValueError:
        raise WeltError(
            f"--negatives is {text!r}: use 'all' or a share between 0 and 1"
        ) from None


def _check_output(train: Path, output: Path, force: bool) -> None:
    if output.exists() and train.exists() and output.samefile(train):
        raise WeltError(f"{output} is the file to choose from: use another name")
    written = [
        output.with_suffix(end) for end in (".spacy", ".jsonl", ".html", ".json")
    ]
    there = [path for path in written if path.exists()]
    if not there or force:
        return
    try:
        record = srsly.read_json(output.with_suffix(".json"))
        ours = {"settings", "output", "found"} <= set(record)
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise WeltError(
            f"{there[0]} was not written by 'spacy welt select', so it is not replaced: "
            "use another name, or --force"
        )


def _score(
    docs: list[Doc],
    places: list[int],
    labels: list[str],
    weak: str,
    kind: Any,
    max_length: int,
    output: Path,
) -> dict[int, Any]:
    folder = output.parent / f".{output.stem}.ifd"

    def load() -> IFDScorer:
        lm = load_causal_lm(weak)
        return IFDScorer(lm.model, lm.tokenizer, kind=kind, max_length=max_length)

    with progress() as bar:
        task = bar.add_task("docs scored", total=len(places))
        return score_docs(
            docs,
            places,
            labels,
            JsonPrompt(),
            load,
            folder,
            f"{_identity(weak)} {kind} {max_length}",
            report=lambda done: bar.update(task, completed=done),
        )


def _identity(weak: str) -> str:
    """What tells one model from another: a name on the hub, or the files of a folder."""
    path = Path(weak)
    if not path.is_dir():
        return weak
    told = [
        f"{file.relative_to(path)} {file.stat().st_size} {file.stat().st_mtime_ns}"
        for file in sorted(path.rglob("*"))
        if file.is_file()
    ]
    return "\n".join(told)


def _print(title: str, told: dict[str, Any]) -> None:
    whole, kept = told["all"], told["kept"]
    table = [
        [name, whole[key], kept[key]]
        for name, key in (
            ("docs", "docs"),
            ("docs with entities", "positive"),
            ("docs without", "negative"),
            ("tokens", "tokens"),
        )
    ]
    table += [
        [f"mentions of {label}", n, kept["mentions"][label]]
        for label, n in whole["mentions"].items()
    ]
    print_table(title, ["", "all", "kept"], table)
    if told["ifd"]["all"]:
        print_table(
            "IFD of docs with entities",
            ["", *(f"{100 * q:g} %" for q in QUANTILES)],
            [
                [name, *(f"{value:.3f}" for value in told["ifd"][name] or ())]
                for name in ("all", "kept")
                if told["ifd"][name]
            ],
        )
        for name, value in told["correlations"].items():
            if value is not None:
                typer.echo(f"Rank correlation of IFD with {name}: {value:+.2f}")
        typer.echo(
            f"At IFD 1 or above: {told['at_or_above_1']:,}; cut to the model's length: "
            f"{told['truncated']:,}"
        )
