"""Several corpora in one, in which each doc knows the labels that were looked for in it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from spacy.attrs import SENT_START
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..about import __version__
from ..errors import WeltError
from ..formats.problems import Report
from ..tokens.annotated_labels import set_annotated_labels
from ..tokens.document_id import get_document_id
from .catalog import SPLITS, Corpus
from .convert import convert_splits, count_docs, sha256, to_bytes, write_corpus
from .overlap import index_docs

# Corpora name the same thing differently
RENAMED = {"GENE": "Gene"}


class Part(NamedTuple):
    """A corpus of a combination.

    corpus (Corpus): The corpus; those that are one publication with different types, such
        as BioRED's chemicals and diseases, are one part.
    files (dict[str, Path]): The file of each split.
    """

    corpus: Corpus
    files: dict[str, Path]


def combine_corpora(
    parts: Sequence[Part],
    output: Path,
    *,
    n_sents: int = 1,
    rename: Mapping[str, str] = RENAMED,
) -> tuple[dict[str, Any], Report]:
    """Write `train.spacy`, `dev.spacy` and `test.spacy` with the docs of all corpora, `dev`
    and `test` of each beside them (`dev-bc5cdr.spacy`), and `corpus.json`.

    Each doc has the labels that its corpus annotates as `annotated_labels`. What stands in
    the dev or test data of any of the corpora is left out of training.

    parts (Sequence[Part]): The corpora.
    output (Path): The folder.
    n_sents (int): Sentences in a doc; 0: as many as the document has.
    rename (Mapping[str, str]): Labels to rename, so that they agree.
    RETURNS (tuple[dict[str, Any], Report]): What `corpus.json` says, and the problems.
    RAISES (WeltError): As `convert_corpus`, or if there are fewer than two corpora.
    """
    parts = merge_types(parts)
    if len(parts) < 2:
        raise WeltError("There is nothing to combine: name two corpora or more")
    report = Report()
    vocab = Vocab()
    docs: dict[str, dict[str, list[Doc]]] = {split: {} for split in SPLITS}
    for corpus, files in parts:
        types = {name: rename.get(new, new) for name, new in corpus.types.items()}
        converted = convert_splits(
            corpus, files, n_sents=n_sents, types=types, report=report, vocab=vocab
        )
        for split, part in converted.items():
            for doc in part.docs:
                set_annotated_labels(doc, types.values())
            docs[split][corpus.id] = part.docs
    index = index_docs(
        doc
        for split in ("dev", "test")
        for found in docs[split].values()
        for doc in found
    )
    told: dict[str, Any] = {}
    for corpus, _ in parts:
        found = docs["train"][corpus.id]
        kept = [doc for doc in found if not index.has(doc.text, get_document_id(doc))]
        docs["train"][corpus.id] = kept
        told[corpus.id] = {
            "labels": sorted({rename.get(new, new) for new in corpus.types.values()}),
            "licence": corpus.licence,
            "citation": corpus.citation,
            "left_out_of_train": len(found) - len(kept),
            "docs": {split: len(docs[split][corpus.id]) for split in SPLITS},
        }
    whole = {
        split: [doc for found in docs[split].values() for doc in found]
        for split in SPLITS
    }
    outputs = {f"{split}.spacy": to_bytes(found) for split, found in whole.items()}
    for split in ("dev", "test"):
        for name, found in docs[split].items():
            outputs[f"{split}-{name}.spacy"] = to_bytes(found)
    about = {
        "corpus": output.name,
        "title": " + ".join(corpus.title for corpus, _ in parts),
        "licence": "; ".join(dict.fromkeys(corpus.licence for corpus, _ in parts)),
        "citation": " ".join(dict.fromkeys(corpus.citation for corpus, _ in parts)),
        "source": ", ".join(dict.fromkeys(corpus.homepage for corpus, _ in parts)),
        "made_by": f"welt-spacy {__version__}",
        "n_sents": n_sents,
        "parts": told,
        "splits": {
            split: {
                "docs": len(found),
                "sentences": sum(map(_n_sents, found)),
                "mentions": sum(len(doc.ents) for doc in found),
                "tags": dict(sorted(count_docs(found).items())),
            }
            for split, found in whole.items()
        },
        "problems": dict(sorted(report.counts.items())),
        "outputs": {name: sha256(content) for name, content in outputs.items()},
    }
    write_corpus(output, outputs, about)
    return about, report


def _n_sents(doc: Doc) -> int:
    return int((doc.to_array(SENT_START) == 1).sum())  # type: ignore[attr-defined]


def merge_types(parts: Sequence[Part]) -> list[Part]:
    """Make one part of corpora that are the same files with different types.

    parts (Sequence[Part]): The corpora.
    RETURNS (list[Part]): Each publication once, with all types that were asked for.
    """
    merged: dict[str, Part] = {}
    for corpus, files in parts:
        before = merged.get(corpus.source)
        if before is not None:
            corpus = replace(
                before.corpus,
                id=corpus.source,
                title=f"{before.corpus.title} + {corpus.title}",
                types={**before.corpus.types, **corpus.types},
            )
        merged[corpus.source] = Part(corpus, files)
    return list(merged.values())
