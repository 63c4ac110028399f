"""`spacy welt tune`: precision against recall, without retraining."""

from pathlib import Path

import typer

from ..errors import WeltError
from ..evaluation.tuning.calibration import Fit, TooFew, fit_calibration
from ..evaluation.tuning.decoding import (
    PARAMETERS,
    Objective,
    Point,
    Tuning,
    later_setters,
    parse_objective,
    tune,
)
from ..evaluation.tuning.label_propagation import (
    LabelPropagationTuning,
    tune_label_propagation,
)
from ..evaluation.tuning.threshold import Threshold, is_generative, tune_threshold
from ..tokens.docs import read_examples
from ..util.pipelines import load_pipeline, replace_pipeline
from ._util import GPU_ID, one_line_errors, print_table, warn

NONE = "none"


@one_line_errors
def tune_cli(
    model: Path = typer.Argument(..., help="The pipeline: a folder, or its name."),
    dev: Path = typer.Argument(..., help="The .spacy file to tune on: dev, not test."),
    output: Path | None = typer.Argument(
        None, help="The folder to write; MODEL-tuned if not given."
    ),
    objective: str = typer.Option(
        "f1",
        "--objective",
        "-o",
        help="f1, f2, f0.5 and so on; precision>=0.9: the best recall with that "
        "precision; recall>=0.9: the best precision with that recall; none: leave what "
        "is found as it is.",
    ),
    knob: str = typer.Option(
        "o_bias", "--knob", "-k", help=" or ".join(PARAMETERS) + "."
    ),
    keep_threshold: bool = typer.Option(
        False, "--keep-threshold", help="Leave the threshold as it is."
    ),
    calibration: bool = typer.Option(
        False,
        "--calibrate",
        help="Make confidences frequencies: fit them to DEV. It does not change what is "
        "found.",
    ),
    label_propagation: bool = typer.Option(
        False,
        "--label-propagation",
        help="Find how much a name that is found in a doc says of its other occurrences "
        "there. DEV needs whole documents.",
    ),
    force: bool = typer.Option(False, "--force", "-F", help="Replace OUTPUT."),
    gpu_id: int = GPU_ID,
) -> None:
    """Trade precision against recall, without retraining.

    Chooses the shift of O and the threshold on dev, learns how much a name says of its
    other occurrences in a doc, and calibrates confidences.
    """
    sought = None if objective == NONE else parse_objective(objective)
    if sought is None and not calibration and not label_propagation:
        raise WeltError(
            "--objective none changes nothing: add --calibrate or --label-propagation"
        )
    if output is None:
        output = model.parent / f"{model.name}-tuned"
    with replace_pipeline(output, force=force, source=model) as write:
        nlp = load_pipeline(model, gpu_id=gpu_id)
        chosen = spread = found = fitted = None
        if is_generative(nlp):
            if (
                sought is None
                or calibration
                or label_propagation
                or knob != PARAMETERS[0]
            ):
                raise WeltError(
                    "Of a generative_ner only the threshold can be tuned: leave out "
                    "--calibrate, --label-propagation and --knob"
                )
            chosen = tune_threshold(nlp, read_examples(nlp, dev), sought)
            write(nlp)
        else:
            if later := later_setters(nlp):
                warn(
                    f"The scores leave out what {', '.join(later)} does after welt_ner"
                )
            examples = read_examples(nlp, dev)
            if label_propagation:
                spread = tune_label_propagation(nlp, examples)
            if sought is not None:
                keep = keep_threshold
                found = tune(nlp, examples, sought, knob=knob, thresholds=not keep)
            if calibration:
                try:
                    fitted = fit_calibration(nlp, examples)
                except TooFew as err:
                    warn(f"Confidences are left as they are: {err}")
            write(nlp)
    if chosen is not None:
        _print_threshold(*chosen, objective, dev)
    if spread is not None:
        _print_label_propagation(spread, dev)
    if found is not None and sought is not None:
        _print_tuning(found, sought, objective, knob, dev)
    if fitted is not None:
        _print_fit(fitted, dev)
    typer.echo(f"✔ {output}")


def _print_tuning(
    found: Tuning, sought: Objective, objective: str, knob: str, dev: Path
) -> None:
    header = [knob, "threshold", "P", "R", "F1", ""]
    rows = [_row(point, knob, point == found.best) for point in found.curve]
    print_table(f"On {dev}, for {objective}", header, rows)
    print_table(
        "Before and after", header, [_row(found.before, knob), _row(found.best, knob)]
    )
    if sought.at_least is not None:
        name, limit = sought.at_least
        if getattr(found.best, name) < limit:
            warn(f"{objective} is out of reach")


def _print_threshold(
    before: Threshold, best: Threshold, objective: str, dev: Path
) -> None:
    rows = [
        [name, f"{point.threshold:.3f}", *(f"{100 * v:.2f}" for v in point[1:])]
        for name, point in (("before", before), ("after", best))
    ]
    print_table(f"On {dev}, for {objective}", ["", "threshold", "P", "R", "F1"], rows)


def _print_label_propagation(spread: LabelPropagationTuning, dev: Path) -> None:
    if spread.settings is None:
        typer.echo(
            f"Other occurrences of names on {dev}: nothing that raises F1, so label_propagation "
            "is off (docs that are single sentences say nothing)"
        )
        return
    told = ", ".join(f"{name} {value:g}" for name, value in spread.settings.items())
    typer.echo(
        f"Other occurrences of names on {dev}: {spread.added} entities added, "
        f"{spread.right} of them right; F1 {100 * spread.before.f:.2f} -> "
        f"{100 * spread.after.f:.2f} ({told})"
    )


def _print_fit(fitted: Fit, dev: Path) -> None:
    told = ", ".join(f"{name} {value:.3f}" for name, value in fitted.settings.items())
    typer.echo(
        f"Confidences on {dev}: expected calibration error "
        f"{100 * fitted.before.error:.2f} -> {100 * fitted.after.error:.2f} ({told})"
    )


def _row(point: Point, knob: str, best: bool = False) -> list:
    return [
        f"{getattr(point, knob):+.2f}",
        f"{point.threshold:.3f}",
        *(f"{100 * value:.2f}" for value in (point.p, point.r, point.f)),
        "best" if best else "",
    ]
