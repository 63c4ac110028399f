"""Convert corpora of the catalogue, to docs or to folders of `.spacy` files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..errors import WeltError
from ..formats.problems import Report
from ..tokens.docs import read_docs
from ..util.fingerprint import Fingerprint, checksum, checksum_bytes, fingerprint
from ..util.output_folder import OutputFolder
from .catalog import SPLITS, Corpus, get_corpus
from .convert import Conversion, convert_splits
from .docbin import count_tags, to_bytes
from .fetch import fetch

COMMAND = "spacy welt corpora convert"
# The summary of the folder, which `spacy welt package` reads
SUMMARY = "corpus.json"


@dataclass(frozen=True)
class CorpusFolder:
    """A folder with a converted corpus.

    summary (dict[str, Any]): The content of `corpus.json`.
    report (Report): The problems of reading; empty if nothing was read.
    is_new (bool): Whether the folder was written; if not, it was up to date.
    """

    summary: dict[str, Any]
    report: Report
    is_new: bool


def convert_corpus(
    corpus: Corpus,
    files: dict[str, Path],
    output: Path,
    *,
    n_sents: int | None = None,
    strict: bool = False,
    force: bool = False,
) -> CorpusFolder:
    """Convert a corpus of the catalogue to `train.spacy`, `dev.spacy`, `test.spacy`,
    `train_dev.spacy` (the paper trains on both) and `corpus.json`, a summary.

    corpus (Corpus): The corpus.
    files (dict[str, Path]): The file of each split.
    output (Path): The folder to write.
    n_sents (int | None): Number of sentences of a doc; 0 for whole documents; None for that of
        the corpus.
    strict (bool): Whether the first problem is an error. The folder is then converted even if
        it is up to date.
    force (bool): Whether a folder that is up to date is converted again.
    RETURNS (CorpusFolder): The summary and the problems.
    RAISES (WeltError): If a file can't be read; for any problem if strict; if the folder has
        files of others with these names. Then nothing is written.
    """
    n_sents = corpus.n_sents if n_sents is None else n_sents

    def run(report: Report) -> tuple[dict[str, bytes], dict[str, Any]]:
        splits = convert_splits(corpus, files, n_sents=n_sents, report=report)
        outputs = {f"{name}.spacy": to_bytes(s.docs) for name, s in splits.items()}
        train_dev = [*splits["train"].docs, *splits["dev"].docs]
        outputs["train_dev.spacy"] = to_bytes(train_dev)
        return outputs, {
            "corpus": corpus.id,
            "title": corpus.title,
            "licence": corpus.licence,
            "citation": corpus.citation,
            "source": corpus.homepage,
            "n_sents": n_sents,
            "sha256": {split: checksum(path) for split, path in files.items()},
            "splits": {name: _summarize(split) for name, split in splits.items()},
        }

    return write_corpus(
        OutputFolder(output, COMMAND),
        _fingerprint(corpus, files, n_sents),
        [f"{split}.spacy" for split in (*SPLITS, "train_dev")],
        run,
        strict=strict,
        force=force,
    )


def is_converted(
    corpus: Corpus, files: dict[str, Path], output: Path, *, n_sents: int | None = None
) -> bool:
    """Return whether a folder has the corpus, undamaged, as `convert_corpus` would write
    it.
    """
    n_sents = corpus.n_sents if n_sents is None else n_sents
    current = _fingerprint(corpus, files, n_sents)
    return OutputFolder(output, COMMAND).is_current(current)


def write_corpus(
    folder: OutputFolder,
    current: Fingerprint,
    names: list[str],
    run: Callable[[Report], tuple[Mapping[str, bytes], dict[str, Any]]],
    *,
    strict: bool = False,
    force: bool = False,
) -> CorpusFolder:
    """Write the files of a corpus, and their summary, unless they are up to date."""
    report = Report(strict=strict)
    with folder:
        if not (strict or force) and folder.is_current(current):
            return CorpusFolder(_read_summary(folder.path), report, is_new=False)
        folder.check([*names, SUMMARY])
        outputs, summary = run(report)
        summary["problems"] = dict(sorted(report.counts.items()))
        folder.start(current)
        # It describes files that are replaced from here on
        (folder.path / SUMMARY).unlink(missing_ok=True)
        for name, content in outputs.items():
            folder.add(name, content)
        folder.add(SUMMARY, json.dumps(summary, indent=2) + "\n")
        folder.finish()
    return CorpusFolder(summary, report, is_new=True)


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / SUMMARY).read_text("utf8"))
    except (OSError, ValueError):
        raise WeltError(
            f"{folder / SUMMARY}: can't read this file. Use --force"
        ) from None


def _fingerprint(corpus: Corpus, files: dict[str, Path], n_sents: int) -> Fingerprint:
    documents = {split: corpus.documents(split) for split in SPLITS}
    settings = {
        "corpus": corpus.id,
        "types": corpus.types,
        "n_sents": n_sents,
        "documents": {
            split: checksum_bytes("\n".join(sorted(ids)).encode("utf8"))
            for split, ids in documents.items()
            if ids is not None
        },
    }
    return fingerprint(settings, files=files)


def _summarize(split: Conversion) -> dict[str, Any]:
    return {
        "docs": len(split.docs),
        "sentences": split.n_sentences,
        "mentions": split.n_mentions,
        "unaligned_mentions": split.n_unaligned,
        "tags": dict(sorted(count_tags(split.docs).items())),
    }


def read_splits(
    name: str,
    *,
    cache: Path | None = None,
    mirror: str | None = None,
    offline: bool = False,
) -> dict[str, list[Doc]]:
    """Read the docs of each split of a corpus, or of a `.spacy` file. Docs are documents where
    the format has them, else sentences.
    """
    if name.endswith(".spacy"):
        return {name: read_docs(Path(name), Vocab())}
    corpus = get_corpus(name)
    files = fetch(corpus, cache=cache, mirror=mirror, progress=True, offline=offline)
    splits = convert_splits(corpus, files, n_sents=1 if corpus.format == "iob" else 0)
    return {f"{name} {split}": part.docs for split, part in splits.items()}
