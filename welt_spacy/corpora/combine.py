"""Combine corpora with different labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spacy.attrs import SENT_START
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..errors import WeltError
from ..formats.problems import Report
from ..tokens.annotated_labels import set_annotated_labels
from ..tokens.document_id import get_document_id
from ..util.fingerprint import fingerprint
from ..util.output_folder import OutputFolder
from .catalog import SPLITS, Corpus
from .convert import convert_splits
from .corpus_folder import CorpusFolder, write_corpus
from .docbin import count_tags, to_bytes
from .overlap import index_docs

COMMAND = "spacy welt corpora combine"
# Different names of corpora for one label
RENAMED = {"GENE": "Gene"}


@dataclass(frozen=True)
class Part:
    """A corpus of a combination.

    corpus (Corpus): The corpus.
    files (dict[str, Path]): The file of each split.
    """

    corpus: Corpus
    files: dict[str, Path]


@dataclass
class _ConvertedPart:
    """The docs of a part by split, and the number of those left out of train."""

    corpus: Corpus
    labels: list[str]
    docs: dict[str, list[Doc]] = field(default_factory=dict)
    n_left_out: int = 0


def combine_corpora(
    parts: Sequence[Part],
    output: Path,
    *,
    n_sents: int = 1,
    rename: Mapping[str, str] = RENAMED,
    force: bool = False,
) -> CorpusFolder:
    """Write `train.spacy`, `dev.spacy` and `test.spacy` with the docs of all corpora, `dev`
    and `test` of each corpus (`dev-bc5cdr.spacy`), and `corpus.json`, a summary.

    Each doc stores the labels that its corpus annotates (`tokens/annotated_labels.py`).
    Documents in the dev or test data of any of the corpora are left out of train.

    parts (Sequence[Part]): The corpora. Those that are one publication with different types,
        such as BioRED's chemicals and diseases, become one.
    output (Path): The folder to write.
    n_sents (int): Number of sentences of a doc; 0 for whole documents.
    rename (Mapping[str, str]): Labels to rename, so that corpora agree.
    force (bool): Whether a folder that is up to date is written again.
    RETURNS (CorpusFolder): The summary and the problems.
    RAISES (WeltError): As `convert_corpus`; if there are fewer than two corpora.
    """
    parts = merge_types(parts)
    if len(parts) < 2:
        raise WeltError("There is nothing to combine: name two corpora or more")
    settings = {
        "corpora": {part.corpus.id: part.corpus.types for part in parts},
        "n_sents": n_sents,
        "rename": rename,
    }
    files = {
        f"{part.corpus.id}.{split}": path
        for part in parts
        for split, path in part.files.items()
    }
    names = [f"{split}.spacy" for split in SPLITS]
    names += [f"{s}-{part.corpus.id}.spacy" for s in ("dev", "test") for part in parts]

    def run(report: Report) -> tuple[dict[str, bytes], dict[str, Any]]:
        converted = _convert_parts(parts, n_sents, rename, report)
        _leave_out_of_train(converted)
        return _to_outputs(converted), _summarize(converted, output.name, n_sents)

    return write_corpus(
        OutputFolder(output, COMMAND),
        fingerprint(settings, files=files),
        names,
        run,
        force=force,
    )


def _convert_parts(
    parts: Sequence[Part], n_sents: int, rename: Mapping[str, str], report: Report
) -> list[_ConvertedPart]:
    vocab = Vocab()
    converted = []
    for part in parts:
        types = {
            name: rename.get(label, label) for name, label in part.corpus.types.items()
        }
        result = _ConvertedPart(part.corpus, sorted(set(types.values())))
        splits = convert_splits(
            part.corpus,
            part.files,
            n_sents=n_sents,
            types=types,
            report=report,
            vocab=vocab,
        )
        for name, split in splits.items():
            for doc in split.docs:
                set_annotated_labels(doc, result.labels)
            result.docs[name] = split.docs
        converted.append(result)
    return converted


def _leave_out_of_train(parts: Sequence[_ConvertedPart]) -> None:
    """Remove the docs from train that are in dev or test of any part."""
    index = index_docs(
        doc for split in ("dev", "test") for part in parts for doc in part.docs[split]
    )
    for part in parts:
        train = part.docs["train"]
        part.docs["train"] = [
            doc for doc in train if not index.has(doc.text, get_document_id(doc))
        ]
        part.n_left_out = len(train) - len(part.docs["train"])


def _to_outputs(parts: Sequence[_ConvertedPart]) -> dict[str, bytes]:
    outputs = {f"{split}.spacy": to_bytes(_all_docs(parts, split)) for split in SPLITS}
    for split in ("dev", "test"):
        for part in parts:
            outputs[f"{split}-{part.corpus.id}.spacy"] = to_bytes(part.docs[split])
    return outputs


def _all_docs(parts: Sequence[_ConvertedPart], split: str) -> list[Doc]:
    return [doc for part in parts for doc in part.docs[split]]


def _summarize(
    parts: Sequence[_ConvertedPart], name: str, n_sents: int
) -> dict[str, Any]:
    corpora = [part.corpus for part in parts]
    return {
        "corpus": name,
        "title": " + ".join(corpus.title for corpus in corpora),
        "licence": "; ".join(dict.fromkeys(corpus.licence for corpus in corpora)),
        "citation": " ".join(dict.fromkeys(corpus.citation for corpus in corpora)),
        "source": ", ".join(dict.fromkeys(corpus.homepage for corpus in corpora)),
        "n_sents": n_sents,
        "parts": {
            part.corpus.id: {
                "labels": part.labels,
                "licence": part.corpus.licence,
                "citation": part.corpus.citation,
                "left_out_of_train": part.n_left_out,
                "docs": {split: len(part.docs[split]) for split in SPLITS},
            }
            for part in parts
        },
        "splits": {
            split: {
                "docs": len(docs),
                "sentences": sum(map(_count_sentences, docs)),
                "mentions": sum(len(doc.ents) for doc in docs),
                "tags": dict(sorted(count_tags(docs).items())),
            }
            for split, docs in ((split, _all_docs(parts, split)) for split in SPLITS)
        },
    }


def _count_sentences(doc: Doc) -> int:
    return int((doc.to_array(SENT_START) == 1).sum())  # type: ignore[attr-defined]


def merge_types(parts: Sequence[Part]) -> list[Part]:
    """Merge corpora that are the same files with different types: each publication once, with
    all types that were requested.
    """
    merged: dict[str, Part] = {}
    for part in parts:
        corpus, source = part.corpus, part.corpus.source
        if source in merged:
            first = merged[source].corpus
            corpus = replace(
                first,
                id=source,
                title=f"{first.title} + {corpus.title}",
                types={**first.types, **corpus.types},
            )
        merged[source] = Part(corpus, part.files)
    return list(merged.values())
