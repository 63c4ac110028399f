"""`spacy welt config`: complete training configs."""

from pathlib import Path

import typer

from ..errors import WeltError
from ..training.config import make_config
from ..util.files import write_atomically
from ._util import one_line_errors


@one_line_errors
def config_cli(
    output: Path = typer.Argument(
        Path("-"), help="Where to write the config; - for standard output."
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
        help="Train on train and dev, as the paper did. Scores on dev mean nothing then.",
    ),
    data: str = typer.Option("corpus", "--data", help="Folder of converted corpora."),
    vectors: Path | None = typer.Option(
        None,
        "--vectors",
        help="For encoder cpu: static vectors of word pieces, made by 'spacy welt "
        "vectors'.",
    ),
    lexicon: Path | None = typer.Option(
        None,
        "--lexicon",
        help="A list of names that becomes a feature: JSONL with label and pattern, as "
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
    text = make_config(
        corpus=corpus,
        encoder=encoder,
        scheme=scheme,
        settings=dict(_setting(item) for item in setting or []),
        seed=seed,
        train_on_dev=train_on_dev,
        data=data,
        piece_vectors=None if vectors is None else str(vectors),
        spacy_transformers=spacy_transformers,
        lexicon=lexicon,
    )
    if str(output) == "-":
        typer.echo(text, nl=False)
    else:
        write_atomically(output, text)
        typer.echo(f"Wrote {output}: spacy train {output} --output training")


def _setting(item: str) -> tuple:
    name, _, value = item.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise WeltError(
            f"--setting {item!r} is not of the form name=number, e.g. beta=0.9999"
        ) from None
