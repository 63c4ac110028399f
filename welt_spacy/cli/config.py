"""`spacy welt config`: write training configs."""

from pathlib import Path

import typer

from ..errors import WeltError
from ._util import one_line_errors


@one_line_errors
def config_cli(
    output: Path = typer.Argument(
        Path("-"), help="The config to write; - for standard output."
    ),
    corpus: str = typer.Option("bc5cdr", "--corpus", "-c", help="Corpus id."),
    encoder: str = typer.Option(
        "biobert",
        "--encoder",
        "-e",
        help="biobert, bluebert, pubmedbert, scibert or bioelectra; cpu for a small "
        "network without transformer; any other hub name or folder.",
    ),
    scheme: str = typer.Option(
        "welt",
        "--scheme",
        "-s",
        help="vanilla, ins, isns, ens, welt, power; see the docs for explicit.",
    ),
    setting: list[str] | None = typer.Option(
        None, "--setting", help="A setting of the scheme, e.g. beta=0.9999."
    ),
    seed: int = typer.Option(0, "--seed", min=0, max=2**32 - 1, help="Random seed."),
    train_on_dev: bool = typer.Option(
        False,
        "--train-on-dev",
        help="Train on train and dev, as in the paper. Scores on dev are meaningless then.",
    ),
    data: str = typer.Option("corpus", "--data", help="Folder of converted corpora."),
    vectors: Path | None = typer.Option(
        None,
        "--vectors",
        help="Static vectors of word pieces from 'spacy welt vectors', for encoder cpu.",
    ),
    lexicon: Path | None = typer.Option(
        None,
        "--lexicon",
        help="A list of names to use as a feature: JSONL with label and pattern, as "
        "'spacy welt corpora names' writes it.",
    ),
    spacy_transformers: bool = typer.Option(
        False,
        "--spacy-transformers",
        help="Run the encoder with spacy-transformers, e.g. to share it.",
    ),
) -> None:
    """Write a training config.

    It is complete, with the paper's hyper-parameters for the corpus and the encoder.
    """
    from ..training.config import ConfigSettings, make_config
    from ..util.files import write_atomically

    settings = ConfigSettings(
        corpus=corpus,
        encoder=encoder,
        scheme=scheme,
        scheme_settings=dict(_parse_setting(item) for item in setting or []),
        seed=seed,
        train_on_dev=train_on_dev,
        data=data,
        piece_vectors=None if vectors is None else str(vectors),
        spacy_transformers=spacy_transformers,
        lexicon=lexicon,
    )
    text = make_config(settings)
    if str(output) == "-":
        typer.echo(text, nl=False)
    else:
        write_atomically(output, text)
        typer.echo(f"Wrote {output}: spacy train {output} --output training")


def _parse_setting(item: str) -> tuple[str, float]:
    name, _, value = item.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise WeltError(
            f"--setting {item!r} is not of the form name=number, e.g. beta=0.9999"
        ) from None
