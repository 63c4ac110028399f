"""`spacy welt corpora list|fetch|convert|stats|combine|overlap|names`: the corpora of the paper."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import typer
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..corpora.catalog import CATALOG, SPLITS, Corpus, get_corpus
from ..corpora.combine import RENAMED, Part, combine_corpora
from ..corpora.convert import convert_corpus, convert_splits, is_converted
from ..corpora.fetch import fetch
from ..corpora.names import collect_names
from ..corpora.overlap import find_overlap, index_docs
from ..corpora.stats import CorpusStats, corpus_stats
from ..errors import WeltError
from ..tokens.docs import read_docs
from ..util.files import write_atomically
from ._util import one_line_errors, print_report, print_table, warn

corpora_app = typer.Typer(
    help="List, fetch, convert and count the corpora.", no_args_is_help=True
)

IDS = typer.Argument(None, help="Corpus ids; all corpora if none is given.")
CACHE = typer.Option(
    None, "--cache", help="Where files are kept; default WELT_CORPORA_CACHE."
)
MIRROR = typer.Option(
    None, "--mirror", help="Folder or address asked first; default WELT_CORPORA_MIRROR."
)
OFFLINE = typer.Option(False, "--offline", help="Don't download from the publisher.")
REACHABLE = typer.Option(
    False, "--reachable", help="Skip corpora that can't be fetched."
)


@corpora_app.command("list")
@one_line_errors
def list_cli() -> None:
    """List the corpora that this package knows."""
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
    typer.echo("* as table 11 of the paper has them")


@corpora_app.command("fetch")
@one_line_errors
def fetch_cli(
    ids: list[str] | None = IDS,
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
    reachable: bool = REACHABLE,
) -> None:
    """Fetch corpora: from a mirror, the cache or the publisher, checksummed."""
    for corpus, files in _fetched(ids, cache, mirror, offline, reachable):
        folder = next(iter(files.values())).parent
        typer.echo(f"✔ {corpus.id}: {len(files)} files in {folder}")


@corpora_app.command("convert")
@one_line_errors
def convert_cli(
    ids: list[str] | None = IDS,
    output: Path = typer.Option(
        Path("corpus"), "--output", "-o", help="Each corpus gets a folder in here."
    ),
    n_sents: int | None = typer.Option(
        None,
        "--n-sents",
        "-n",
        help="Sentences in a doc; 0 for whole documents. By default 1, and 0 for corpora "
        "of whole abstracts.",
    ),
    strict: bool = typer.Option(
        False, "--strict", help="Fail at the first problem instead of repairing it."
    ),
    force: bool = typer.Option(
        False, "--force", "-F", help="Convert again what is up to date."
    ),
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
    reachable: bool = REACHABLE,
) -> None:
    """Convert corpora to train.spacy, dev.spacy, test.spacy and train_dev.spacy."""
    for corpus, files in _fetched(ids, cache, mirror, offline, reachable):
        folder = output / corpus.id
        if not (force or strict) and is_converted(
            corpus, files, folder, n_sents=n_sents
        ):
            typer.echo(f"✔ {corpus.id}: {folder} is up to date")
            continue
        about, report = convert_corpus(
            corpus, files, folder, n_sents=n_sents, strict=strict
        )
        print_report(report)
        splits = about["splits"].items()
        sizes = ", ".join(f"{name} {part['sentences']}" for name, part in splits)
        typer.echo(f"✔ {corpus.id}: {folder} ({sizes} sentences)")


@corpora_app.command("stats")
@one_line_errors
def stats_cli(
    ids: list[str] | None = IDS,
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
    reachable: bool = REACHABLE,
) -> None:
    """Count corpora beside the paper's tables 1 and 11, and weigh their classes."""
    for corpus, files in _fetched(ids, cache, mirror, offline, reachable):
        _print_stats(corpus, corpus_stats(corpus, files))


@corpora_app.command("combine")
@one_line_errors
def combine_cli(
    ids: list[str] = typer.Argument(..., help="Corpus ids, two or more."),
    output: Path = typer.Option(..., "--output", "-o", help="The folder to write."),
    n_sents: int = typer.Option(
        1, "--n-sents", "-n", min=0, help="Sentences in a doc; 0 for whole documents."
    ),
    renamed: list[str] | None = typer.Option(
        None, "--rename", help="A label to rename, as OLD=NEW; GENE=Gene is always."
    ),
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
) -> None:
    """Make one corpus of several, for one pipeline that finds all of their labels.

    Each doc knows the labels that its corpus annotates. What stands in the dev or test
    data of any of the corpora is left out of training.
    """
    rename = dict(RENAMED)
    for item in renamed or []:
        old, _, new = item.partition("=")
        if not old or not new:
            raise WeltError(f"--rename {item!r} is not of the form OLD=NEW")
        rename[old] = new
    parts = [
        Part(corpus, files)
        for corpus, files in _fetched(ids, cache, mirror, offline, reachable=False)
    ]
    about, report = combine_corpora(parts, output, n_sents=n_sents, rename=rename)
    print_report(report)
    print_table(
        str(output),
        ["corpus", "labels", *SPLITS, "left out of train"],
        [
            [name, ", ".join(told["labels"]), *told["docs"].values(), told["left_out_of_train"]]
            for name, told in about["parts"].items()
        ],
    )  # fmt: skip
    typer.echo(f"✔ {output}")


@corpora_app.command("overlap")
@one_line_errors
def overlap_cli(
    one: str = typer.Argument(..., help="A corpus id, or a .spacy file."),
    other: str = typer.Argument(..., help="A corpus id, or a .spacy file."),
    cache: Path | None = CACHE,
    mirror: str | None = MIRROR,
    offline: bool = OFFLINE,
) -> None:
    """Find documents that stand in two corpora, by id and by text.

    Of a format with documents these are compared, else sentences. What is in both must
    not be trained on for one and reported on for the other.
    """
    parts = _splits(one, cache, mirror, offline)
    indices = {
        name: index_docs(docs)
        for name, docs in _splits(other, cache, mirror, offline).items()
    }
    rows = []
    for name, docs in parts.items():
        for other_name, index in indices.items():
            found = find_overlap(docs, index)
            told = f"{100 * found.either / max(found.n, 1):.1f}"
            rows.append([name, other_name, *found, told])
    header = ["docs of", "in", "docs", "by id", "by text", "either", "%"]
    print_table(f"{one} in {other}", header, rows)


@corpora_app.command("names")
@one_line_errors
def names_cli(
    data: list[Path] = typer.Argument(..., help=".spacy files."),
    output: Path = typer.Argument(..., help="The JSONL file to write."),
) -> None:
    """Write the names of the entities of docs as a list, with their labels.

    It is one for 'spacy welt config --lexicon', and for spaCy's rulers.
    """
    vocab = Vocab()
    names = collect_names(doc for path in data for doc in read_docs(path, vocab))
    if not names:
        raise WeltError(f"{', '.join(map(str, data))}: there are no entities")
    lines = (json.dumps(name, ensure_ascii=False) + "\n" for name in names)
    write_atomically(output, "".join(lines))
    by_label = Counter(name["label"] for name in names)
    told = ", ".join(f"{n:,} {label}" for label, n in by_label.items())
    typer.echo(f"✔ {output}: {told}")


def _splits(
    name: str, cache: Path | None, mirror: str | None, offline: bool
) -> dict[str, list[Doc]]:
    """The docs of each split of a corpus, or of a file."""
    if name.endswith(".spacy"):
        return {name: read_docs(Path(name), Vocab())}
    corpus = get_corpus(name)
    files = fetch(corpus, cache=cache, mirror=mirror, progress=True, offline=offline)
    parts = convert_splits(corpus, files, n_sents=1 if corpus.format == "iob" else 0)
    return {f"{name} {split}": part.docs for split, part in parts.items()}


def _fetched(
    ids: list[str] | None,
    cache: Path | None,
    mirror: str | None,
    offline: bool,
    reachable: bool,
) -> Iterator[tuple[Corpus, dict[str, Path]]]:
    # All names first: a typing error shows before any work is done.
    corpora = [get_corpus(corpus_id) for corpus_id in ids or CATALOG]
    missing = 0
    for corpus in corpora:
        try:
            files = fetch(
                corpus, cache=cache, mirror=mirror, progress=True, offline=offline
            )
        except WeltError as err:
            if not reachable:
                raise
            missing += 1
            warn(str(err))
        else:
            yield corpus, files
    if missing == len(corpora):
        raise WeltError("None of these corpora can be reached.")


def _print_stats(corpus: Corpus, stats: CorpusStats) -> None:
    print_table(
        f"{corpus.id}: sizes",
        ["split", "sentences", "+ 1*", "paper, table 11", "tokens", "mentions"],
        [
            [
                split,
                stats.sentences[split],
                stats.sentences[split] + 1,
                (corpus.paper_sizes or {}).get(split),
                stats.tokens[split],
                stats.mentions[split],
            ]
            for split in SPLITS
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
