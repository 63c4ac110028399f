"""Convert annotated files to docs for training."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import spacy
from spacy.tokens import Doc, Span
from spacy.vocab import Vocab

from ..errors import WeltError
from ..formats.documents import Document, Mention, Sentence, select_mentions
from ..formats.iob import read_iob
from ..formats.problems import Report
from ..formats.registry import CORPUS_FORMATS, OFFSET_READERS, detect_corpus_format
from ..pipeline.tokenizer import make_bio_tokenizer
from ..tokens.annotated_labels import set_annotated_labels
from ..tokens.document_id import set_document_id
from .catalog import SPLITS, Corpus
from .docbin import write_docs
from .sentences import cut_into_sentences


@dataclass
class Conversion:
    """The docs of a file, with counts.

    docs (list[Doc]): The docs, with entities.
    n_sentences (int): Number of sentences.
    n_mentions (int): Number of mentions in the file, after the selection of types.
    n_unaligned (int): Number of mentions whose boundaries are not token boundaries.
    types (Counter[str]): Number of mentions by type, before the selection of types.
    """

    docs: list[Doc] = field(default_factory=list)
    n_sentences: int = 0
    n_mentions: int = 0
    n_unaligned: int = 0
    types: Counter[str] = field(default_factory=Counter)


def convert(
    path: Path,
    output: Path,
    *,
    format: str | None = None,
    types: dict[str, str] | None = None,
    label: str | None = None,
    n_sents: int = 1,
    report: Report | None = None,
) -> Conversion:
    """Convert an annotated file to a `.spacy` file.

    path (Path): The file; for brat a folder or an .ann file.
    output (Path): The `.spacy` file to write.
    format (str | None): "iob", "pubtator", "bioc" or "brat"; None to detect it.
    types, label, n_sents, report: See `convert_file`.
    RETURNS (Conversion): The docs, with counts.
    RAISES (WeltError): As `convert_file`; if none of the types occurs, or the output can't be
        written.
    """
    format = detect_corpus_format(path) if format is None else format
    conversion = convert_file(
        path, format, types=types, label=label, n_sents=n_sents, report=report
    )
    if types and conversion.types and not set(types) & set(conversion.types):
        message = describe_missing_types(path, types, conversion.types)
        raise WeltError(f"{message}: use --type with one of these")
    write_docs(output, conversion.docs)
    return conversion


def describe_missing_types(
    path: Path, types: Iterable[str], counts: Mapping[str, int]
) -> str:
    """Describe which types do not occur in a file, and which do; "" if none is missing."""
    missing = [name for name in types if name not in counts]
    if not missing:
        return ""
    frequent = sorted(counts.items(), key=lambda item: -item[1])[:10]
    present = ", ".join(f"{name[:40]} ({n})" for name, n in frequent) or "none"
    return f"{path} has no mention of the type {', '.join(missing)}; it has {present}"


def convert_file(
    path: Path,
    format: str,
    *,
    types: dict[str, str] | None = None,
    label: str | None = None,
    n_sents: int = 1,
    documents: Collection[str] | None = None,
    report: Report | None = None,
    vocab: Vocab | None = None,
) -> Conversion:
    """Read a file as docs for training.

    path (Path): The file; for brat a folder or an .ann file.
    format (str): "iob", "pubtator", "bioc" or "brat".
    types (dict[str, str] | None): Type -> label of the types to keep; None for all, as they
        are.
    label (str | None): The label of bare IOB tags.
    n_sents (int): Number of sentences of a doc; 0 for whole documents.
    documents (Collection[str] | None): The ids of the documents to read, of a format that has
        ids; None for all.
    report (Report | None): Counts the problems. A mention whose boundaries are not token
        boundaries is widened to whole tokens.
    vocab (Vocab | None): The vocabulary of the docs.
    RETURNS (Conversion): The docs, with counts. Docs of tokenised formats have unknown spaces,
        so that spaCy trains on the tokens of the file.
    RAISES (WeltError): If the file can't be read; for any problem if the report is strict.
    """
    report = Report() if report is None else report
    vocab = Vocab() if vocab is None else vocab
    if n_sents < 0:
        raise WeltError(f"n_sents is {n_sents}: use 0 for whole documents, or more")
    if format == "iob":
        sentences = read_iob(path, label=label, report=report)
        return _convert_sentences(sentences, types, n_sents, vocab)
    if format not in OFFSET_READERS:
        raise WeltError(
            f"Unknown format {format!r}: use one of {', '.join(CORPUS_FORMATS)}"
        )
    selected = (
        document
        for document in OFFSET_READERS[format](path, report=report)
        if documents is None or document.id in documents
    )
    return convert_documents(selected, types, n_sents, report, vocab)


def convert_splits(
    corpus: Corpus,
    files: dict[str, Path],
    *,
    n_sents: int | None = None,
    types: dict[str, str] | None = None,
    report: Report | None = None,
    vocab: Vocab | None = None,
) -> dict[str, Conversion]:
    """Read the splits of a corpus of the catalogue as docs for training."""
    types = corpus.types if types is None else types
    return {
        split: convert_file(
            files[split],
            corpus.format,
            types=types,
            # For editions of the file with bare tags
            label=next(iter(types.values())) if len(types) == 1 else None,
            n_sents=corpus.n_sents if n_sents is None else n_sents,
            documents=corpus.documents(split),
            report=report,
            vocab=vocab,
        )
        for split in SPLITS
    }


def _convert_sentences(
    sentences: Iterable[Sentence],
    types: dict[str, str] | None,
    n_sents: int,
    vocab: Vocab,
) -> Conversion:
    result = Conversion()
    for group in _group(sentences, n_sents):
        result.types.update(
            tag[2:]
            for sentence in group
            for tag in sentence.tags
            if tag is not None and tag.startswith("B-")
        )
        words = [word for sentence in group for word in sentence.words]
        tags = [_select_tag(tag, types) for sentence in group for tag in sentence.tags]
        starts: list[bool | int | None] = [
            i == 0 for sentence in group for i in range(len(sentence.words))
        ]
        doc = Doc(vocab, words=words, ents=tags, sent_starts=starts)
        result.docs.append(doc)
        result.n_sentences += len(group)
        result.n_mentions += len(doc.ents)
    return result


def _group(sentences: Iterable[Sentence], n_sents: int) -> Iterator[list[Sentence]]:
    group: list[Sentence] = []
    for sentence in sentences:
        if group and (sentence.starts_document or len(group) == n_sents):
            yield group
            group = []
        group.append(sentence)
    if group:
        yield group


def _select_tag(tag: str | None, types: dict[str, str] | None) -> str:
    if tag is None:
        return ""  # spaCy's sign for "not annotated"
    if tag == "O" or types is None:
        return tag
    label = types.get(tag[2:])
    return "O" if label is None else f"{tag[:2]}{label}"


def convert_documents(
    documents: Iterable[Document],
    types: dict[str, str] | None,
    n_sents: int,
    report: Report,
    vocab: Vocab,
) -> Conversion:
    """Tokenize documents, set their entities and cut them into sentences."""
    result = Conversion()
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
            # Widening may have made neighbours touch the same token
            if span is not None and not (spans and spans[-1].end > span.start):
                spans.append(span)
        doc.set_ents(spans, default="outside")
        n_sentences, docs = cut_into_sentences(doc, document.parts, n_sents)
        for part in docs:
            set_document_id(part, document.id)
            if document.annotated_labels is not None:
                set_annotated_labels(part, document.annotated_labels)
        result.n_sentences += n_sentences
        result.docs.extend(docs)
    return result


def _widen(
    document: Document, doc: Doc, mention: Mention, report: Report
) -> Span | None:
    text = document.text
    quote = text[mention.start : mention.end]
    context = text[max(0, mention.start - 15) : mention.end + 15]
    report.problem(
        "unaligned mention",
        document.path,
        mention.line,
        f"{mention.label} {quote!r} in {context!r} (document {document.id}) does not "
        "begin and end where a token does",
        "widened to whole tokens",
    )
    return doc.char_span(
        mention.start, mention.end, label=mention.label, alignment_mode="expand"
    )
