"""`spacy welt corpora`: list, fetch, convert, count, combine and compare corpora."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import WeltError
from ._util import one_line_errors, print_report, print_table, warn

if TYPE_CHECKING:
    from ..corpora.catalog import Corpus
    from ..corpora.stats import CorpusStats

corpora_app = typer.Typer(
    help="List, fetch, convert and count corpora.", no_args_is_help=True
)

IDS = typer.Argument(None, help="Corpus ids; all corpora by default.")
CACHE = typer.Option(
    None, "--cache", help="Folder of downloaded files; default WELT_CORPORA_CACHE."
)
MIRROR = typer.Option(
    None,
    "--mirror",
    help="Folder or address that is tried first; default WELT_CORPORA_MIRROR.",
)
OFFLINE = typer.Option(False, "--offline", help="Don't download from the publisher.")
SKIP_UNAVAILABLE = typer.Option(
    False, "--skip-unavailable", help="Skip corpora that can't be fetched."
)
FORCE = typer.Option(
    False, "--force", "-F", help="Convert again even if the output is up to date."
)


@corpora_app.command("list")
@one_line_errors
def list_cli() -> None:
    """List the corpora of the catalogue."""
    from ..corpora.catalog import CATALOG

    print_table(
        "Corpora",
        ["id", "entity types", "format", "licence", "train / dev / test sentences*"],
        [
            [
                corpus.id,
                ", ".join(dict.fromkeys(corpus.types.values())),
                corpus.format,
                corpus.licence,
                " / ".join(str(n) for n in (corpus.paper_sizes or {}).values()) or "-",
            ]
            for corpus in CATALOG.values()
        ],
    )
    typer.echo("* as in table 11 of the paper")


@corpora_app.command("fetch")
@one_line_errors
def fetch_cli(
    ids: list[str] | None = IDS,
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
    skip_unavailable: bool = SKIP_UNAVAILABLE,
) -> None:
    """Fetch corpora from a mirror, the cache or the publisher, and verify checksums."""
    for corpus, files in _fetch(ids, cache, mirror, offline, skip_unavailable):
        folder = next(iter(files.values())).parent
        typer.echo(f"✔ {corpus.id}: {len(files)} files in {folder}")


@corpora_app.command("convert")
@one_line_errors
def convert_cli(
    ids: list[str] | None = IDS,
    output: Path = typer.Option(
        Path("corpus"), "--output", "-o", help="Folder of a folder for each corpus."
    ),
    n_sents: int | None = typer.Option(
        None,
        "--n-sents",
        "-n",
        help="Number of sentences of a doc; 0 for whole documents. By default 1, and 0 for "
        "corpora of whole abstracts.",
    ),
    strict: bool = typer.Option(
        False, "--strict", help="Fail at the first problem instead of repairing it."
    ),
    force: bool = FORCE,
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
    skip_unavailable: bool = SKIP_UNAVAILABLE,
) -> None:
    """Convert corpora to train.spacy, dev.spacy, test.spacy and train_dev.spacy."""
    from ..corpora.corpus_folder import convert_corpus

    for corpus, files in _fetch(ids, cache, mirror, offline, skip_unavailable):
        folder = output / corpus.id
        result = convert_corpus(
            corpus, files, folder, n_sents=n_sents, strict=strict, force=force
        )
        if not result.is_new:
            typer.echo(f"✔ {corpus.id}: {folder} is up to date")
            continue
        print_report(result.report)
        splits = result.summary["splits"].items()
        sizes = ", ".join(f"{name} {split['sentences']}" for name, split in splits)
        typer.echo(f"✔ {corpus.id}: {folder} ({sizes} sentences)")


@corpora_app.command("stats")
@one_line_errors
def stats_cli(
    ids: list[str] | None = IDS,
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
    skip_unavailable: bool = SKIP_UNAVAILABLE,
) -> None:
    """Count corpora beside tables 1 and 11 of the paper, and compute class weights."""
    from ..corpora.stats import corpus_stats

    for corpus, files in _fetch(ids, cache, mirror, offline, skip_unavailable):
        _print_stats(corpus, corpus_stats(corpus, files))


@corpora_app.command("combine")
@one_line_errors
def combine_cli(
    ids: list[str] = typer.Argument(..., help="Corpus ids, two or more."),
    output: Path = typer.Option(..., "--output", "-o", help="The folder to write."),
    n_sents: int = typer.Option(
        1,
        "--n-sents",
        "-n",
        min=0,
        help="Number of sentences of a doc; 0 for whole documents.",
    ),
    renamed: list[str] | None = typer.Option(
        None, "--rename", help="A label to rename, as OLD=NEW, besides GENE=Gene."
    ),
    force: bool = FORCE,
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
) -> None:
    """Combine corpora into one, for a pipeline with the labels of all.

    Each doc stores the labels that its corpus annotates. Documents in the dev or test data
    of any of the corpora are left out of train.
    """
    from ..corpora.catalog import SPLITS
    from ..corpora.combine import RENAMED, Part, combine_corpora

    rename = dict(RENAMED)
    for item in renamed or []:
        old, _, new = item.partition("=")
        if not old or not new:
            raise WeltError(f"--rename {item!r} is not of the form OLD=NEW")
        rename[old] = new
    fetched = _fetch(ids, cache, mirror, offline, skip_unavailable=False)
    result = combine_corpora(
        [Part(corpus, files) for corpus, files in fetched],
        output,
        n_sents=n_sents,
        rename=rename,
        force=force,
    )
    print_report(result.report)
    print_table(
        str(output),
        ["corpus", "labels", *SPLITS, "left out of train"],
        [
            [
                name,
                ", ".join(part["labels"]),
                *part["docs"].values(),
                part["left_out_of_train"],
            ]
            for name, part in result.summary["parts"].items()
        ],
    )
    typer.echo(f"✔ {output}{'' if result.is_new else ' is up to date'}")


@corpora_app.command("overlap")
@one_line_errors
def overlap_cli(
    first: str = typer.Argument(..., help="A corpus id, or a .spacy file."),
    second: str = typer.Argument(..., help="A corpus id, or a .spacy file."),
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
) -> None:
    """Find documents that are in two corpora, by id and by text.

    Documents are compared where the format has them, else sentences. A document in both
    corpora must not be trained on in one and tested on in the other.
    """
    from ..corpora.corpus_folder import read_splits
    from ..corpora.overlap import find_overlap, index_docs

    splits = read_splits(first, cache=cache, mirror=mirror, offline=offline)
    others = read_splits(second, cache=cache, mirror=mirror, offline=offline)
    indices = {name: index_docs(docs) for name, docs in others.items()}
    rows = []
    for name, docs in splits.items():
        for other, index in indices.items():
            overlap = find_overlap(docs, index)
            share = f"{100 * overlap.either / max(overlap.n, 1):.1f}"
            rows.append([name, other, *overlap, share])
    header = ["docs of", "in", "docs", "by id", "by text", "either", "%"]
    print_table(f"{first} in {second}", header, rows)


@corpora_app.command("names")
@one_line_errors
def names_cli(
    data: list[Path] = typer.Argument(..., help=".spacy files."),
    output: Path = typer.Argument(..., help="The JSONL file to write."),
) -> None:
    """Write the entities of docs as a lexicon: names with their labels.

    'spacy welt config --lexicon' and spaCy's rulers read it.
    """
    from ..corpora.names import write_names

    counts = write_names(data, output)
    labels = ", ".join(f"{n:,} {label}" for label, n in counts.items())
    typer.echo(f"✔ {output}: {labels}")


def _fetch(
    ids: list[str] | None,
    cache: Path | None,
    mirror: str | None,
    offline: bool,
    skip_unavailable: bool,
) -> Iterator[tuple["Corpus", dict[str, Path]]]:
    from ..corpora.catalog import CATALOG, get_corpus
    from ..corpora.fetch import fetch

    # All ids first, so that a typing error shows before any work is done
    corpora = [get_corpus(corpus_id) for corpus_id in ids or CATALOG]
    n_missing = 0
    for corpus in corpora:
        try:
            files = fetch(
                corpus, cache=cache, mirror=mirror, progress=True, offline=offline
            )
        except WeltError as err:
            if not skip_unavailable:
                raise
            n_missing += 1
            warn(str(err))
        else:
            yield corpus, files
    if n_missing == len(corpora):
        raise WeltError("None of these corpora can be fetched")


def _print_stats(corpus: "Corpus", stats: "CorpusStats") -> None:
    print_table(
        f"{corpus.id}: sizes",
        ["split", "sentences", "+ 1*", "paper, table 11", "tokens", "mentions"],
        [
            [
                split,
                n_sentences,
                n_sentences + 1,
                (corpus.paper_sizes or {}).get(split),
                stats.tokens[split],
                stats.mentions[split],
            ]
            for split, n_sentences in stats.sentences.items()
        ],
    )
    paper = corpus.paper_shares or {}
    print_table(
        f"{corpus.id}: classes of train",
        ["class", "tokens", "%", "paper, table 1, %"],
        [
            [name, n, f"{share:.2f}", f"{paper[name]:.2f}" if paper else None]
            for name, (n, share) in stats.shares.items()
        ],
    )
    tags = list(next(iter(stats.weights.values())))
    print_table(
        f"{corpus.id}: class weights (mean over the training tokens: 1)",
        ["scheme", *tags],
        [
            [scheme, *(float(f"{weights[tag]:.4g}") for tag in tags)]
            for scheme, weights in stats.weights.items()
        ],
    )
    for note in stats.notes:
        typer.echo(note)
    typer.echo()
