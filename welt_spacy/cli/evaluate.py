"""`spacy welt evaluate` and `spacy welt compare`."""

from pathlib import Path
from typing import Any

import spacy
import srsly
import typer
from spacy.training import Example
from spacy.vocab import Vocab

from ..corpora.docbin import to_bytes
from ..errors import WeltError
from ..evaluation.evaluate import compare, report
from ..evaluation.html import to_html
from ..evaluation.tuning.decoding import sweep
from ..pipeline.inference import predict_examples
from ..scoring.labels import unknown_labels
from ..scoring.pairs import pair_examples
from ..scoring.slices import count_mentions
from ..tokens.docs import pair_docs, read_docs, read_examples
from ..util.files import write_atomically
from ..util.pipelines import load_pipeline
from ._util import GPU_ID, one_line_errors, print_table, warn

SHOWN = 10


@one_line_errors
def evaluate_cli(
    model: Path = typer.Argument(
        ..., help="The pipeline: a folder, or its name; or a .spacy file it made."
    ),
    data: Path = typer.Argument(..., help="The .spacy file with gold annotation."),
    train: Path | None = typer.Option(
        None, "--train", "-t", help="The training data, for seen and unseen entities."
    ),
    gold_text: bool = typer.Option(
        False,
        "--gold-text",
        help="Score characters of the raw text too, on the pipeline's own tokens.",
    ),
    json: Path | None = typer.Option(
        None, "--json", "-j", help="A file for all figures."
    ),
    html: Path | None = typer.Option(
        None, "--html", help="A file for a page with figures and sentences."
    ),
    predictions: Path | None = typer.Option(
        None, "--predictions", help="A .spacy file for what the pipeline found."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Score a pipeline, on the terminal and as a page.

    Strict and fair, by type, by slice, with intervals and calibration.
    """
    made = _is_file_of_docs(model)
    if made and gold_text:
        raise WeltError(
            f"--gold-text needs a pipeline to run; {model} is a file of docs"
        )
    nlp = spacy.blank("en") if made else load_pipeline(model, gpu_id=gpu_id)
    mentions = None
    if train is not None:
        mentions = count_mentions(read_docs(train, nlp.vocab))
    if made:
        nlp.meta.update(lang="", name=model.name, version="")
        examples = _read_pairs(model, data, nlp.vocab)
        speed: dict[str, float] = {}
    else:
        examples = read_examples(nlp, data)
        speed = {"speed": predict_examples(nlp, examples)}
    paired = pair_examples(examples)
    found = {
        **report(nlp, examples, mentions=mentions, gold_text=gold_text, paired=paired),
        **speed,
    }
    if found["unknown_labels"]:
        warn(
            f"The pipeline can't find {', '.join(found['unknown_labels'])}: all of "
            "those are missed"
        )
    _print_scores(found, data)
    _write_json(json, found)
    if predictions is not None:
        write_atomically(
            predictions, to_bytes(example.predicted for example in examples)
        )
    if html is not None:
        sweeps = found["decoding"] and found["gold"] and not found["unknown_labels"]
        curve = sweep(nlp, examples) if sweeps else None
        page = to_html(found, paired, data=str(data), curve=curve)
        write_atomically(html, page)
        typer.echo(f"✔ {html}")


def _is_file_of_docs(model: Path) -> bool:
    return model.suffix == ".spacy" and model.is_file()


def _read_pairs(predictions: Path, data: Path, vocab: Vocab) -> list[Example]:
    docs = read_docs(predictions, vocab)
    return pair_docs(docs, read_docs(data, vocab), str(predictions))


def _print_scores(found: dict[str, Any], data: Path) -> None:
    kinds = list(found["counts"])
    rows = []
    for name, part in {"all": found, **found["per_type"]}.items():
        for way in ("strict", "fair", "weighted"):
            scores = _percent(part[way].values())
            counts = (
                list(part["counts"].values()) if way == "strict" else [""] * len(kinds)
            )
            rows.append([name if way == "strict" else "", way, *scores, *counts])
    if len(found["per_type"]) > 1:
        macro = _percent(found["macro"].values())
        rows.append(["mean of types", "strict", *macro, *[""] * len(kinds)])
    title = (
        f"{found['pipeline']} on {data}: {found['docs']} docs, {found['gold']} entities"
    )
    print_table(title, ["type", "", "P", "R", "F1", *kinds], rows)
    if found["intervals"]:
        told = ", ".join(
            f"{name} {100 * low:.2f} to {100 * high:.2f}"
            for name, (low, high) in zip(("P", "R", "F1"), found["intervals"].values())
        )
        typer.echo(f"95 % intervals, strict: {told}\n")
    if found["text"] is not None:
        _print_text_scores(found)
    if found["answers"] is not None:
        _print_answers(found)
    for way, parts in found["slices"].items():
        rows = [
            [
                name,
                *_percent(part[key] for key in "prf"),
                part["gold"],
                part["predicted"],
            ]
            for name, part in parts.items()
        ]
        print_table(f"By {way}", ["", "P", "R", "F1", "gold", "predicted"], rows)
    print_table("Errors", ["", "n"], [[name, n] for name, n in found["errors"].items()])
    calibration = found["calibration"]
    rows = [
        [f"{b['low']:.1f} to {b['high']:.1f}", b["n"], *_percent((b["confidence"], b["precision"]))]
        for b in calibration["bins"]
    ]  # fmt: skip
    title = f"Confidence: expected calibration error {100 * calibration['error']:.2f}"
    print_table(title, ["", "n", "mean confidence", "precision"], rows)


def _print_text_scores(found: dict[str, Any]) -> None:
    text = found["text"]
    rows = [
        [name, *_percent(part["strict"].values()), part["tokens"]]
        for name, part in (("the tokens of the data", found), ("raw text", text))
    ]
    print_table("Strict, by what is predicted on", ["", "P", "R", "F1", "tokens"], rows)
    typer.echo(
        f"Gold entities with a boundary inside a token of the pipeline: {text['split']}"
    )
    if text["joined"]:
        warn(
            f"{text['joined']} of {found['docs']} docs have no record of their white "
            "space: their text is their words, joined by single spaces"
        )
    typer.echo("")


def _print_answers(found: dict[str, Any]) -> None:
    p, r, f = _percent(found["strings"].values())
    typer.echo(f"Sets of strings, without places: P {p}, R {r}, F1 {f}\n")
    rows = [
        [name, part["n"], part["of"], *_percent((part["low"], part["high"]))]
        for name, part in found["answers"]["issues"].items()
    ]
    print_table("Answers", ["", "n", "of", "at least, %", "at most, %"], rows)


def _write_json(path: Path | None, found: dict[str, Any]) -> None:
    if path is not None:
        write_atomically(path, srsly.json_dumps(found, indent=2) + "\n")
        typer.echo(f"✔ {path}")


def _percent(values) -> list[str]:
    return [f"{100 * value:.2f}" for value in values]


@one_line_errors
def compare_cli(
    one: Path = typer.Argument(
        ..., help="A pipeline: a folder, or its name; or a .spacy file it made."
    ),
    other: Path = typer.Argument(..., help="The one to compare it with."),
    data: Path = typer.Argument(..., help="The .spacy file with gold annotation."),
    json: Path | None = typer.Option(
        None, "--json", "-j", help="A file for all figures and sentences."
    ),
    n_shown: int = typer.Option(
        SHOWN, "--show", min=0, help="Changes to print of each kind."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Compare two pipelines.

    The difference, whether it is luck, and what was fixed and broken.
    """
    examples = []
    for model in (one, other):
        if _is_file_of_docs(model):
            examples.append(_read_pairs(model, data, Vocab()))
            continue
        nlp = load_pipeline(model, gpu_id=gpu_id)
        examples.append(read_examples(nlp, data))
        unknown_labels(nlp, examples[-1])
        predict_examples(nlp, examples[-1])
    found = compare(*examples)
    low, high = found["interval"]
    typer.echo(
        f"F1 of {one} minus that of {other}: {100 * found['difference']:+.2f}, "
        f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}\n"
        f"p = {found['p_bootstrap']:.4f} (paired bootstrap), "
        f"{found['p_randomization']:.4f} (approximate randomization)"
    )
    for name, told in (
        ("fixed", "wrong there, right here"),
        ("broken", "right there, wrong here"),
    ):
        changes = found[name]
        rows = [_change(change) for change in changes[:n_shown]]
        title = f"{name} ({told}): {len(changes)}"
        if rows:
            print_table(title, ["doc", "", "label", "in its sentence"], rows)
        else:
            typer.echo(title)
    _write_json(json, found)


def _change(change: dict[str, Any]) -> list:
    text, start, end = change["text"], change["start"], change["end"]
    before, after = text[max(0, start - 30) : start], text[end : end + 30]
    return [
        change["doc"],
        "missed" if change["gold"] else "spurious",
        change["label"],
        f"{before}[{text[start:end]}]{after}",
    ]
