"""`spacy welt select`: select training documents."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import WeltError
from ._util import GPU_ID, one_line_errors, print_table, progress

if TYPE_CHECKING:
    from ..training.selection.report import SelectionSummary


@one_line_errors
def select_cli(
    train: Path = typer.Argument(..., help="The .spacy file to select from."),
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
        0.5, "--keep", "-k", help="Share of the documents with entities to select."
    ),
    keep_negatives: str = typer.Option(
        "all",
        "--keep-negatives",
        help="Share of the documents without entities to select, or 'all'.",
    ),
    scorer_model: str | None = typer.Option(
        None,
        "--scorer-model",
        "-m",
        help="The small language model that scores IFD: a name on the hub, or a folder.",
    ),
    ifd_variant: str = typer.Option(
        "ppl_ratio", "--ifd-variant", help="ppl_ratio or loss_ratio."
    ),
    max_length: int = typer.Option(
        0,
        "--max-length",
        min=0,
        help="Maximum number of tokens of prompt and answer; 0 for as many as the model "
        "takes.",
    ),
    tagger: Path | None = typer.Option(
        None, "--tagger", "-t", help="The trained welt_ner of tagger strategies."
    ),
    diverse: bool = typer.Option(
        False,
        "--diverse",
        help="Select the documents that cover the words of twice as many.",
    ),
    seed: int = typer.Option(0, "--seed", help="Random seed."),
    force: bool = typer.Option(
        False, "--force", "-F", help="Replace files that this command did not write."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Select training documents: all without entities, and the half with entities that is
    hardest for a small language model (hybrid superfiltering), or by another strategy.

    Work that is up to date is not repeated. Scores are stored, so a killed command
    continues where it was.
    """
    from ..training.selection.ifd import ScorerSettings
    from ..training.selection.select_file import SelectionSettings, select_file

    settings = SelectionSettings(
        strategy=strategy,
        keep=keep,
        keep_negatives=_parse_share(keep_negatives),
        scorer=(
            ScorerSettings(scorer_model, ifd_variant, max_length)  # type: ignore[arg-type]
            if scorer_model
            else None
        ),
        tagger=tagger,
        diverse=diverse,
        seed=seed,
    )
    with progress() as bar:
        task = bar.add_task("documents scored", total=None)
        result = select_file(
            train,
            output,
            settings,
            force=force,
            gpu_id=gpu_id,
            report=lambda done, n: bar.update(task, completed=done, total=n),
        )
    _print_summary(f"{strategy} of {train.name}", result.summary)
    if result.is_new:
        typer.echo(
            f"✔ {output}: {result.summary.selected.docs:,} documents. Scores and charts: "
            f"{output.with_suffix('.jsonl')}, {output.with_suffix('.html')}"
        )
    else:
        typer.echo(f"✔ {output} is up to date")


def _parse_share(text: str) -> float:
    if text == "all":
        return 1.0
    try:
        return float(text)
    except ValueError:
        raise WeltError(
            f"--keep-negatives is {text!r}: use 'all' or a share between 0 and 1"
        ) from None


def _print_summary(title: str, summary: "SelectionSummary") -> None:
    from ..training.selection.report import QUANTILES

    everything, selected = summary.all, summary.selected
    rows = [
        ["documents", everything.docs, selected.docs],
        ["documents with entities", everything.positive, selected.positive],
        ["documents without entities", everything.negative, selected.negative],
        ["tokens", everything.tokens, selected.tokens],
    ]
    rows += [
        [f"mentions of {label}", n, selected.mentions[label]]
        for label, n in everything.mentions.items()
    ]
    print_table(title, ["", "all", "selected"], rows)
    if not summary.ifd:
        return
    quantiles = {"all": summary.ifd, "selected": summary.ifd_selected}
    print_table(
        "IFD of documents with entities",
        ["", *(f"{100 * q:g} %" for q in QUANTILES)],
        [
            [name, *(f"{value:.3f}" for value in values)]
            for name, values in quantiles.items()
            if values
        ],
    )
    for name, value in summary.correlations.items():
        if value is not None:
            typer.echo(f"Rank correlation of IFD with {name}: {value:+.2f}")
    typer.echo(
        f"At IFD 1 or above: {summary.n_at_or_above_1:,}; truncated to the model's length: "
        f"{summary.n_truncated:,}"
    )
