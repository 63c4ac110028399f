"""Turning corpora into spaCy's `.spacy` files."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import (
    Any,
)

import spacy
from spacy.attrs import ENT_IOB, ENT_TYPE, ORTH, SENT_START, SPACY
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from ..about import __version__
from ..errors import WeltError
from ..formats.documents import Document, Mention, Sentence, select_mentions
from ..formats.iob import read_iob
from ..formats.problems import Report
from ..formats.registry import CORPUS_FORMATS, OFFSET_READERS
from ..pipeline.sentencizer import Splitter, set_sentences
from ..pipeline.tokenizer import make_bio_tokenizer
from ..tokens.document_id import set_document_id
from ..util.files import exclusive_lock, write_atomically
from .catalog import SPLITS, Corpus, Format

# In the folder while a corpus is written: its files are known as ours
STARTED = ".converting"
# What a converted split keeps of a doc. Nothing else is annotated.
ATTRS = ("ENT_IOB", "ENT_TYPE", "SENT_START")


@dataclass
class Converted:
    """A file as docs.

    docs (list[Doc]): The docs, with entities.
    n_sentences (int): Sentences in them.
    n_mentions (int): Mentions that the file has, after the choice of types.
    n_unaligned (int): Mentions of those whose boundaries are not token boundaries.
    types (Counter): Mentions by type, as the file has them.
    """

    docs: list[Doc] = field(default_factory=list)
    n_sentences: int = 0
    n_mentions: int = 0
    n_unaligned: int = 0
    types: Counter = field(default_factory=Counter)


def convert_file(
    path: Path,
    format: Format,
    *,
    types: dict[str, str] | None = None,
    label: str | None = None,
    n_sents: int = 1,
    documents: Collection[str] | None = None,
    report: Report | None = None,
    vocab: Vocab | None = None,
) -> Converted:
    """Read a file as docs for training.

    path (Path): The file (for brat: or the folder).
    format (str): "iob", "pubtator", "bioc" or "brat".
    types (dict[str, str] | None): Types to keep -> their labels; all types
        as they are if not set.
    label (str | None): The label of bare IOB tags.
    n_sents (int): Sentences in a doc; 0: as many as the document has.
    documents (Collection[str] | None): The ids of the documents to read, of a format
        that has ids; all if not set.
    report (Report | None): Where problems go. A mention whose boundaries are not
        token boundaries is widened to whole tokens.
    vocab (Vocab | None): The vocabulary of the docs.
    RETURNS (Converted): The docs. Those of tokenised formats have unknown
        spaces, so that spaCy trains on the tokens of the file.
    RAISES (WeltError): If the file can't be read; for any problem if the report
        is strict.
    """
    report = Report() if report is None else report
    vocab = Vocab() if vocab is None else vocab
    if n_sents < 0:
        raise WeltError(f"n_sents is {n_sents}: use 0 for whole documents, or more")
    if format == "iob":
        return _from_sentences(
            read_iob(path, label=label, report=report), types, n_sents, vocab
        )
    if format not in OFFSET_READERS:
        raise WeltError(
            f"Unknown format {format!r}: use one of {', '.join(CORPUS_FORMATS)}"
        )
    found = OFFSET_READERS[format](path, report=report)
    if documents is not None:
        found = (document for document in found if document.id in documents)
    return _from_documents(found, types, n_sents, report, vocab)


def convert_splits(
    corpus: Corpus,
    files: dict[str, Path],
    *,
    n_sents: int | None = None,
    types: dict[str, str] | None = None,
    report: Report | None = None,
    vocab: Vocab | None = None,
) -> dict[str, Converted]:
    """Read the splits of a corpus of the catalogue as docs for training.

    corpus (Corpus): The corpus.
    files (dict[str, Path]): The file of each split.
    n_sents (int | None): Sentences in a doc; that of the corpus if not set.
    types (dict[str, str] | None): Types -> labels; those of the corpus if not set.
    report, vocab: See `convert_file`.
    RETURNS (dict[str, Converted]): Train, dev and test.
    RAISES (WeltError): As `convert_file`.
    """
    types = corpus.types if types is None else types
    return {
        split: convert_file(
            files[split],
            corpus.format,
            types=types,
            # The only label, should another edition of the file have bare tags.
            label=next(iter(types.values())) if len(types) == 1 else None,
            n_sents=corpus.n_sents if n_sents is None else n_sents,
            documents=corpus.documents(split),
            report=report,
            vocab=vocab,
        )
        for split in SPLITS
    }


def convert_corpus(
    corpus: Corpus,
    files: dict[str, Path],
    output: Path,
    *,
    n_sents: int | None = None,
    strict: bool = False,
) -> tuple[dict[str, Any], Report]:
    """Convert a corpus of the catalogue: `train.spacy`, `dev.spacy`,
    `test.spacy`, `train_dev.spacy` (the paper's protocol trains on both) and
    `corpus.json`, which tells what is in them and comes last.

    corpus (Corpus): The corpus.
    files (dict[str, Path]): The file of each split.
    output (Path): The folder.
    n_sents (int | None): Sentences in a doc; 0: as many as the document has; that
        of the corpus if not set.
    strict (bool): Whether the first problem is an error.
    RETURNS (tuple[dict[str, Any], Report]): What `corpus.json` says, and the
        problems.
    RAISES (WeltError): As `convert_file`, or if the folder has files of these names
        that no conversion has written. Then nothing is written.
    """
    report = Report(strict=strict)
    n_sents = corpus.n_sents if n_sents is None else n_sents
    converted = convert_splits(corpus, files, n_sents=n_sents, report=report)
    outputs = {
        f"{split}.spacy": to_bytes(part.docs) for split, part in converted.items()
    }
    outputs["train_dev.spacy"] = to_bytes(
        [*converted["train"].docs, *converted["dev"].docs]
    )
    about = {
        "corpus": corpus.id,
        "title": corpus.title,
        "licence": corpus.licence,
        "citation": corpus.citation,
        "source": corpus.homepage,
        **_inputs(files, n_sents),
        "splits": {
            split: {
                "docs": len(part.docs),
                "sentences": part.n_sentences,
                "mentions": part.n_mentions,
                "unaligned_mentions": part.n_unaligned,
                "tags": dict(sorted(count_docs(part.docs).items())),
            }
            for split, part in converted.items()
        },
        "problems": dict(sorted(report.counts.items())),
        "outputs": {name: sha256(content) for name, content in outputs.items()},
    }
    write_corpus(output, outputs, about)
    return about, report


def write_corpus(
    output: Path, outputs: dict[str, bytes], about: dict[str, Any]
) -> None:
    """Write the files of a converted corpus, and `corpus.json` last.

    output (Path): The folder.
    outputs (dict[str, bytes]): Names of files -> their content.
    about (dict[str, Any]): What `corpus.json` says.
    RAISES (WeltError): If the folder has files of these names that no conversion has
        written, or it can't be written to. Then nothing is written.
    """
    done, started = output / "corpus.json", output / STARTED
    with exclusive_lock(output):
        if not done.is_file() and not started.is_file():
            others = [name for name in outputs if (output / name).exists()]
            if others:
                raise WeltError(
                    f"{output / others[0]} was not written by a conversion, so it is not "
                    "replaced: move it away, or use another --output"
                )
        write_atomically(started, "")
        try:
            done.unlink(missing_ok=True)  # what it says is not true from here on
        except OSError as err:
            raise WeltError(f"{done}: can't write this file: {err.strerror}") from None
        for name, content in outputs.items():
            write_atomically(output / name, content)
        write_atomically(done, json.dumps(about, indent=2) + "\n")
        started.unlink(missing_ok=True)


def is_converted(
    corpus: Corpus,
    files: dict[str, Path],
    output: Path,
    *,
    n_sents: int | None = None,
) -> bool:
    """Tell whether a folder holds a corpus converted from just these files in just
    this way, undamaged.

    corpus (Corpus): The corpus.
    files (dict[str, Path]): The file of each split.
    output (Path): The folder.
    n_sents (int | None): Sentences in a doc; that of the corpus if not set.
    RETURNS (bool): Whether a conversion would do nothing new.
    """
    try:
        about = json.loads((output / "corpus.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return False
    if not isinstance(about, dict) or not isinstance(about.get("outputs"), dict):
        return False
    n_sents = corpus.n_sents if n_sents is None else n_sents
    inputs = _inputs(files, n_sents).items()
    try:
        return all(about.get(key) == value for key, value in inputs) and all(
            sha256((output / name).read_bytes()) == about["outputs"].get(name)
            for name in (f"{split}.spacy" for split in (*SPLITS, "train_dev"))
        )
    except OSError:
        return False


def _inputs(files: dict[str, Path], n_sents: int) -> dict[str, Any]:
    return {
        "n_sents": n_sents,
        "sha256": {split: sha256(path.read_bytes()) for split, path in files.items()},
        "made_by": f"welt-spacy {__version__}",
    }


def sha256(content: bytes) -> str:
    """RETURNS (str): The SHA-256 of bytes.

    content (bytes): The bytes.
    """
    return hashlib.sha256(content).hexdigest()


def write_docs(path: Path, docs: Iterable[Doc]) -> None:
    """Write docs as a `.spacy` file; the same docs give the same bytes.

    path (Path): The file, written under a temporary name first.
    docs (Iterable[Doc]): The docs.
    """
    write_atomically(path, to_bytes(docs))


def to_bytes(docs: Iterable[Doc]) -> bytes:
    """RETURNS (bytes): The content of a `.spacy` file with these docs, and with what is
    known of them in `doc.user_data`.

    docs (Iterable[Doc]): The docs.
    """
    docs = list(docs)
    known = any(doc.user_data for doc in docs)
    return DocBin(attrs=ATTRS, docs=docs, store_user_data=known).to_bytes()


def count_docs(docs: Iterable[Doc]) -> Counter:
    """Count the tags of docs.

    docs (Iterable[Doc]): The docs.
    RETURNS (Counter): Tokens by tag, e.g. "B-Disease"; tokens without
        annotation are left out.
    """
    counts: Counter = Counter()
    for doc in docs:
        counts["O"] += sum(token.ent_iob_ == "O" for token in doc)
        for ent in doc.ents:
            counts[f"B-{ent.label_}"] += 1
            counts[f"I-{ent.label_}"] += len(ent) - 1
    return counts


def _from_sentences(
    sentences: Iterable[Sentence],
    types: dict[str, str] | None,
    n_sents: int,
    vocab: Vocab,
) -> Converted:
    result = Converted()
    for group in _groups(sentences, n_sents):
        result.types.update(
            tag[2:]
            for sentence in group
            for tag in sentence.tags
            if tag is not None and tag.startswith("B-")
        )
        words = [word for sentence in group for word in sentence.words]
        tags = [_chosen(tag, types) for sentence in group for tag in sentence.tags]
        starts: list[bool | int | None] = [
            i == 0 for sentence in group for i in range(len(sentence.words))
        ]
        doc = Doc(vocab, words=words, ents=tags, sent_starts=starts)
        result.docs.append(doc)
        result.n_sentences += len(group)
        result.n_mentions += len(doc.ents)
    return result


def _groups(sentences: Iterable[Sentence], n_sents: int) -> Iterator[list[Sentence]]:
    group: list[Sentence] = []
    for sentence in sentences:
        if group and (sentence.starts_document or len(group) == n_sents):
            yield group
            group = []
        group.append(sentence)
    if group:
        yield group


def _chosen(tag: str | None, types: dict[str, str] | None) -> str:
    if tag is None:
        return ""  # spaCy's own sign for "not annotated"
    if tag == "O" or types is None:
        return tag
    label = types.get(tag[2:])
    return "O" if label is None else f"{tag[:2]}{label}"


def _from_documents(
    documents: Iterable[Document],
    types: dict[str, str] | None,
    n_sents: int,
    report: Report,
    vocab: Vocab,
) -> Converted:
    result = Converted()
    tokenizer = make_bio_tokenizer(spacy.blank("en", vocab=vocab))
    for document in documents:
        doc = tokenizer(document.text)
        result.types.update(mention.label for mention in document.mentions)
        mentions = select_mentions(document, types, report)
        result.n_mentions += len(mentions)
        spans: list[Span] = []
        for mention in mentions:
            span = doc.char_span(mention.start, mention.end, label=mention.label)
            if span is None:
                result.n_unaligned += 1
                span = _widen(document, doc, mention, report)
            # Widening may have made neighbours touch the same token.
            if span is not None and not (spans and spans[-1].end > span.start):
                spans.append(span)
        doc.set_ents(spans, default="outside")
        n, docs = cut_into_sentences(doc, document.parts, n_sents)
        for part in docs:
            set_document_id(part, document.id)
        result.n_sentences += n
        result.docs.extend(docs)
    return result


def cut_into_sentences(
    doc: Doc, parts: Sequence[int], n_sents: int
) -> tuple[int, list[Doc]]:
    """Cut a document into docs of so many sentences. None ends inside an entity.

    doc (Doc): The document; it gets sentence boundaries.
    parts (list[int]): Offsets where a sentence begins in any case.
    n_sents (int): Sentences in a doc; 0: as many as the document has.
    RETURNS (tuple[int, list[Doc]]): How many sentences there are, and the docs.
    """
    set_sentences(doc, [*_splitter()(doc.text), *parts])
    sentences = _sentence_docs(doc)
    return len(sentences), _join(sentences, n_sents)


def cut_at_boundaries(doc: Doc, n_sents: int) -> list[Doc]:
    """Cut a doc at the sentence boundaries that it has.

    doc (Doc): The doc.
    n_sents (int): Sentences in a doc; 0: all.
    RETURNS (list[Doc]): The docs; the doc itself if there is nothing to cut.
    """
    if not n_sents or not doc.has_annotation("SENT_START"):
        return [doc]
    sentences = _sentence_docs(doc)
    if len(sentences) <= n_sents:
        return [doc]
    parts = _join(sentences, n_sents)
    for part in parts:
        part.has_unknown_spaces = doc.has_unknown_spaces
    return parts


def _join(sentences: list[Doc], n_sents: int) -> list[Doc]:
    todo = iter(sentences)
    docs = []
    while group := list(islice(todo, n_sents or len(sentences))):
        docs.append(group[0] if len(group) == 1 else Doc.from_docs(group, False))
    return docs


def _sentence_docs(doc: Doc) -> list[Doc]:
    # `Span.as_doc` would make the array of the whole doc for every sentence
    attrs = [ORTH, SPACY, SENT_START, ENT_IOB, ENT_TYPE]
    array = doc.to_array(attrs)
    return [sent.as_doc(array_head=attrs, array=array) for sent in doc.sents]  # type: ignore[call-arg]


def _widen(document: Document, doc: Doc, mention: Mention, report: Report):
    text = document.text
    quoted = text[mention.start : mention.end]
    around = text[max(0, mention.start - 15) : mention.end + 15]
    report.problem(
        "unaligned mention",
        document.path,
        mention.line,
        f"{mention.label} {quoted!r} in {around!r} (document {document.id}) does not "
        "begin and end where a token does",
        "widened to whole tokens",
    )
    return doc.char_span(
        mention.start, mention.end, label=mention.label, alignment_mode="expand"
    )


@lru_cache(maxsize=1)
def _splitter() -> Splitter:
    return Splitter(Vocab())
