"""`spacy welt evaluate` and `spacy welt compare`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import WeltError
from ._util import GPU_ID, one_line_errors, print_table, warn

if TYPE_CHECKING:
    from spacy.training import Example

    from ..evaluation.records import Change, Evaluation, JsonRecord
    from ..scoring.text import TextScores

DEFAULT_SHOWN = 10


@one_line_errors
def evaluate_cli(
    model: Path = typer.Argument(
        ..., help="Pipeline: a folder or a name; or a .spacy file with predictions."
    ),
    data: Path = typer.Argument(..., help=".spacy file with gold annotation."),
    train: Path | None = typer.Option(
        None, "--train", "-t", help="Training data, to score seen and unseen entities."
    ),
    score_raw_text: bool = typer.Option(
        False,
        "--score-raw-text",
        help="Score characters of the raw text too, on the tokens of the pipeline.",
    ),
    json: Path | None = typer.Option(
        None, "--json", "-j", help="Output file for all figures."
    ),
    html: Path | None = typer.Option(
        None, "--html", help="Output file for a page with figures and sentences."
    ),
    predictions: Path | None = typer.Option(
        None, "--predictions", help="Output .spacy file for the predictions."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Score a pipeline and show the results on the terminal and as a page.

    Strict and fair scores by type and by slice, with intervals and calibration.
    """
    import spacy

    from ..corpora.docbin import to_bytes
    from ..evaluation.evaluate import EvaluatedDocs, evaluate_docs, score_predictions
    from ..evaluation.html import to_html
    from ..scoring.pairs import pair_examples
    from ..scoring.slices import count_mentions
    from ..tokens.docs import read_docs, read_examples
    from ..util.files import write_atomically
    from ..util.pipelines import load_pipeline

    from_file = _is_file_of_docs(model)
    if from_file and score_raw_text:
        raise WeltError(
            f"{model}: a file of documents cannot be run on raw text. Use a pipeline with "
            "--score-raw-text"
        )
    nlp = spacy.blank("en") if from_file else load_pipeline(model, gpu_id=gpu_id)
    mentions = None
    if train is not None:
        mentions = count_mentions(read_docs(train, nlp.vocab))
    if from_file:
        nlp.meta.update(lang="", name=model.name, version="")
        examples = _read_pairs(model, data)
        docs = pair_examples(examples)
        evaluation = score_predictions(nlp, docs, mentions=mentions)
        results = EvaluatedDocs(evaluation, docs, curve=[])
    else:
        examples = read_examples(nlp, data)
        results = evaluate_docs(
            nlp,
            examples,
            mentions=mentions,
            score_raw_text=score_raw_text,
            with_curve=html is not None,
        )
    evaluation = results.evaluation
    if evaluation.unknown_labels:
        warn(
            f"The pipeline cannot predict {', '.join(evaluation.unknown_labels)}: all "
            "entities with this label are missed"
        )
    _print_evaluation(evaluation, data)
    _write_json(json, evaluation)
    if predictions is not None:
        write_atomically(predictions, to_bytes(eg.predicted for eg in examples))
    if html is not None:
        page = to_html(evaluation, results.docs, data=str(data), curve=results.curve)
        write_atomically(html, page)
        typer.echo(f"✔ {html}")


@one_line_errors
def compare_cli(
    first: Path = typer.Argument(
        ..., help="Pipeline: a folder or a name; or a .spacy file with predictions."
    ),
    second: Path = typer.Argument(..., help="The same, to compare with."),
    data: Path = typer.Argument(..., help=".spacy file with gold annotation."),
    json: Path | None = typer.Option(
        None, "--json", "-j", help="Output file for all figures and sentences."
    ),
    n_shown: int = typer.Option(
        DEFAULT_SHOWN, "--show", min=0, help="Number of changes of each kind to print."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Compare two pipelines on the same data.

    The difference of F1 with its significance, and the errors that were fixed and broken.
    """
    from ..evaluation.evaluate import compare
    from ..pipeline.inference import predict_examples
    from ..scoring.labels import unknown_labels
    from ..tokens.docs import read_examples
    from ..util.pipelines import load_pipeline

    sides = []
    for model in (first, second):
        if _is_file_of_docs(model):
            sides.append(_read_pairs(model, data))
            continue
        nlp = load_pipeline(model, gpu_id=gpu_id)
        examples = read_examples(nlp, data)
        unknown_labels(nlp, [eg.reference for eg in examples])
        predict_examples(nlp, examples)
        sides.append(examples)
    comparison = compare(*sides)
    low, high = comparison.interval
    typer.echo(
        f"F1 of {first} minus that of {second}: {100 * comparison.difference:+.2f}, "
        f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}\n"
        f"p = {comparison.p_bootstrap:.4f} (paired bootstrap), "
        f"{comparison.p_randomization:.4f} (approximate randomization)"
    )
    for changes, title in (
        (comparison.fixed, "fixed (wrong in the second, right in the first)"),
        (comparison.broken, "broken (right in the second, wrong in the first)"),
    ):
        title = f"{title}: {len(changes)}"
        rows = [_describe_change(change) for change in changes[:n_shown]]
        if rows:
            print_table(title, ["doc", "", "label", "in its sentence"], rows)
        else:
            typer.echo(title)
    _write_json(json, comparison)


def _is_file_of_docs(model: Path) -> bool:
    return model.suffix == ".spacy" and model.is_file()


def _read_pairs(predictions: Path, data: Path) -> list[Example]:
    from spacy.vocab import Vocab

    from ..tokens.docs import pair_docs, read_docs

    vocab = Vocab()
    docs = read_docs(predictions, vocab)
    return pair_docs(docs, read_docs(data, vocab), str(predictions))


def _print_evaluation(evaluation: Evaluation, data: Path) -> None:
    title = (
        f"{evaluation.pipeline} on {data}: {evaluation.docs} docs, "
        f"{evaluation.gold} entities"
    )
    header = ["type", "", "P", "R", "F1", *evaluation.counts]
    print_table(title, header, _score_rows(evaluation))
    if evaluation.intervals:
        intervals = ", ".join(
            f"{name} {100 * low:.2f} to {100 * high:.2f}"
            for name, (low, high) in zip(
                ("P", "R", "F1"), evaluation.intervals.values()
            )
        )
        typer.echo(f"95 % intervals, strict: {intervals}\n")
    if evaluation.text is not None:
        _print_text_scores(evaluation, evaluation.text)
    if evaluation.llm_responses is not None:
        p, r, f = _percent(evaluation.strings)
        typer.echo(f"Sets of strings, without positions: P {p}, R {r}, F1 {f}\n")
        rows = [
            [name, part.n, part.of, *_percent((part.low, part.high))]
            for name, part in evaluation.llm_responses.issues.items()
        ]
        header = ["", "n", "of", "at least, %", "at most, %"]
        print_table("Responses", header, rows)
    for criterion, slices in evaluation.slices.items():
        rows = [
            [name, *_percent((part.p, part.r, part.f)), part.gold, part.predicted]
            for name, part in slices.items()
        ]
        header = ["", "P", "R", "F1", "gold", "predicted"]
        print_table(f"By {criterion}", header, rows)
    print_table(
        "Errors", ["", "n"], [[name, n] for name, n in evaluation.errors.items()]
    )
    rows = [
        [f"{b.low:.1f} to {b.high:.1f}", b.n, *_percent((b.confidence, b.precision))]
        for b in evaluation.calibration.bins
    ]
    error = evaluation.calibration.error
    title = f"Confidence: expected calibration error {100 * error:.2f}"
    print_table(title, ["", "n", "mean confidence", "precision"], rows)


def _score_rows(evaluation: Evaluation) -> list[list]:
    rows: list[list] = []
    blank = [""] * len(evaluation.counts)
    for name, part in {"all": evaluation, **evaluation.per_type}.items():
        rows += [
            [name, "strict", *_percent(part.strict), *part.counts.values()],
            ["", "fair", *_percent(part.fair), *blank],
            ["", "weighted", *_percent(part.weighted), *blank],
        ]
    if len(evaluation.per_type) > 1:
        rows.append(["mean of types", "strict", *_percent(evaluation.macro), *blank])
    return rows


def _print_text_scores(evaluation: Evaluation, text: TextScores) -> None:
    rows = [
        [name, *_percent(part.strict), part.tokens]
        for name, part in (("the tokens of the data", evaluation), ("raw text", text))
    ]
    print_table(
        "Strict, by input of the pipeline", ["", "P", "R", "F1", "tokens"], rows
    )
    typer.echo(
        f"Gold entities with a boundary inside a token of the pipeline: {text.split}"
    )
    if text.joined:
        warn(
            f"{text.joined} of {evaluation.docs} docs have no record of their white "
            "space: their text is their words, joined by single spaces"
        )
    typer.echo("")


def _write_json(path: Path | None, record: JsonRecord) -> None:
    import srsly

    from ..util.files import write_atomically

    if path is not None:
        write_atomically(path, srsly.json_dumps(record.to_dict(), indent=2) + "\n")
        typer.echo(f"✔ {path}")


def _percent(values: Iterable[float]) -> list[str]:
    return [f"{100 * value:.2f}" for value in values]


def _describe_change(change: Change) -> list:
    text, start, end = change.text, change.start, change.end
    before, after = text[max(0, start - 30) : start], text[end : end + 30]
    return [
        change.doc,
        "missed" if change.gold else "spurious",
        change.label,
        f"{before}[{text[start:end]}]{after}",
    ]
