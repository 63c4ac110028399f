"""`spacy welt tune`: settings of a trained pipeline that are chosen on dev data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import WeltError
from ._util import GPU_ID, one_line_errors, print_table, warn

if TYPE_CHECKING:
    from ..evaluation.tuning.calibration import CalibrationTuning
    from ..evaluation.tuning.decoding import DecodingTuning, Point
    from ..evaluation.tuning.label_propagation import LabelPropagationTuning
    from ..evaluation.tuning.steps import TuningOptions, TuningResults
    from ..evaluation.tuning.threshold import ThresholdScores, ThresholdTuning


@one_line_errors
def tune_cli(
    steps: str = typer.Argument(
        ...,
        help="What to tune: decoding, threshold, calibration, label-propagation; or "
        "several of them, separated by commas, on one run of the model.",
    ),
    model: Path = typer.Argument(..., help="Pipeline: a folder or a name."),
    dev: Path = typer.Argument(..., help=".spacy file to tune on: dev, not test."),
    output: Path | None = typer.Argument(
        None, help="Output folder.  [default: MODEL-tuned]"
    ),
    objective: str | None = typer.Option(
        None,
        "--objective",
        "-o",
        help="Objective of decoding and threshold: f1, f2, f0.5 and so on; "
        "precision>=0.9: the best recall with that precision; recall>=0.9: the best "
        "precision with that recall.  [default: f1]",
    ),
    parameter: str | None = typer.Option(
        None,
        "--parameter",
        "-p",
        help="Parameter of decoding: o_bias or logit_adjustment.  [default: o_bias]",
    ),
    keep_threshold: bool = typer.Option(
        False, "--keep-threshold", help="Leave the threshold unchanged by decoding."
    ),
    force: bool = typer.Option(False, "--force", "-F", help="Replace OUTPUT."),
    gpu_id: int = GPU_ID,
) -> None:
    """Tune settings of a trained pipeline on dev data, without retraining.

    decoding: precision against recall, by a bias of tags and the threshold. threshold: the
    confidence below which entities are dropped. calibration: confidences fitted to observed
    frequencies. label-propagation: other occurrences of an entity in its document.
    """
    from ..evaluation.tuning.objective import parse_objective
    from ..evaluation.tuning.steps import TuningOptions, tune_pipeline
    from ..tokens.docs import read_examples
    from ..util.pipelines import load_pipeline, replace_pipeline

    names = tuple(step.strip() for step in steps.split(","))
    options = TuningOptions(
        steps=names,
        objective=parse_objective(objective or "f1"),
        parameter=parameter or "o_bias",
        keep_threshold=keep_threshold,
    )
    for option, value, users in (
        ("--objective", objective, {"decoding", "threshold"}),
        ("--parameter", parameter, {"decoding"}),
        ("--keep-threshold", keep_threshold, {"decoding"}),
    ):
        if value and not users & set(names):
            raise WeltError(f"{option} has no effect on {steps}. Leave it out")
    if output is None:
        output = model.parent / f"{model.name}-tuned"
    with replace_pipeline(output, force=force, source=model) as write:
        nlp = load_pipeline(model, gpu_id=gpu_id)
        results = tune_pipeline(nlp, read_examples(nlp, dev), options)
        write(nlp)
    for message in results.warnings:
        warn(message)
    _print_results(results, options, objective or "f1", dev)
    typer.echo(f"✔ {output}")


def _print_results(
    results: TuningResults, options: TuningOptions, objective: str, dev: Path
) -> None:
    if results.label_propagation is not None:
        _print_label_propagation(results.label_propagation, dev)
    title = f"On {dev}, for {objective}"
    best: Point | ThresholdScores | None = None
    if (decoding := results.decoding) is not None:
        _print_decoding(decoding, options.parameter, title)
        best = decoding.best
    if (threshold := results.threshold) is not None:
        _print_threshold(threshold, title)
        best = threshold.best
    if best is not None and options.objective.at_least is not None:
        name, limit = options.objective.at_least
        if getattr(best, name) < limit:
            warn(f"{objective} is out of reach")
    if results.calibration is not None:
        _print_calibration(results.calibration, dev)


def _print_decoding(decoding: DecodingTuning, parameter: str, title: str) -> None:
    def row(point, *names: str) -> list[str]:
        value = f"{getattr(point, parameter):+.2f}"
        return [*names, value, f"{point.threshold:.3f}", *_percent(point[3:])]

    header = [parameter, "threshold", "P", "R", "F1"]
    rows = [
        [*row(point), "best" if point == decoding.best else ""]
        for point in decoding.curve
    ]
    print_table(title, [*header, ""], rows)
    rows = [row(decoding.before, "before"), row(decoding.best, "after")]
    print_table("Before and after", ["", *header], rows)


def _print_threshold(tuning: ThresholdTuning, title: str) -> None:
    rows = [
        [name, f"{scores.threshold:.3f}", *_percent(scores[1:])]
        for name, scores in (("before", tuning.before), ("after", tuning.best))
    ]
    print_table(title, ["", "threshold", "P", "R", "F1"], rows)


def _print_label_propagation(tuning: LabelPropagationTuning, dev: Path) -> None:
    if tuning.settings is None:
        typer.echo(
            f"Label propagation on {dev}: no setting raises F1, so label_propagation is "
            "off (it needs documents of several sentences)"
        )
        return
    settings = ", ".join(f"{name} {value:g}" for name, value in tuning.settings.items())
    typer.echo(
        f"Label propagation on {dev}: {tuning.added} entities added, {tuning.right} of "
        f"them right; F1 {100 * tuning.before.f:.2f} -> {100 * tuning.after.f:.2f} "
        f"({settings})"
    )


def _print_calibration(tuning: CalibrationTuning, dev: Path) -> None:
    settings = ", ".join(
        f"{name} {value:.3f}" for name, value in tuning.settings.items()
    )
    typer.echo(
        f"Calibration on {dev}: expected calibration error "
        f"{100 * tuning.before.error:.2f} -> {100 * tuning.after.error:.2f} ({settings})"
    )


def _percent(scores) -> list[str]:
    return [f"{100 * value:.2f}" for value in scores]
