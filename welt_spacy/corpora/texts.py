"""Texts without annotation, or of whose annotation nothing is wanted, from files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import srsly
from spacy.language import Language
from spacy.tokens import Doc

from ..errors import WeltError
from ..formats.lines import read_lines
from ..formats.problems import Report
from ..tokens.docs import bare_doc, read_docs
from ..tokens.document_id import get_document_id
from .convert import OFFSET_READERS, cut_at_boundaries, cut_into_sentences

# What is read in which way; the rest of the formats of `convert` are of annotation
SUFFIXES = {".pubtator": "pubtator", ".xml": "bioc"}


class Text(NamedTuple):
    """A text.

    id (str): Its id, such as a PubMed id; empty if it has none.
    doc (Doc): Its tokens, and nothing else.
    gold (Doc | None): The same tokens with the annotation of the file, if it has any
        that a student could learn from: that of a `.spacy` file.
    """

    id: str
    doc: Doc
    gold: Doc | None = None


def read_texts(path: Path, nlp: Language, *, n_sents: int = 1) -> Iterator[Text]:
    """Read the texts of a file, one by one.

    path (Path): By its ending: `.txt`, a text a line; `.jsonl`, an object a line with
        "text" and maybe "id"; `.pubtator`; `.xml`, BioC; `.spacy`.
    nlp (Language): The pipeline whose tokenizer takes them. Docs of a `.spacy` file keep
        their own tokens.
    n_sents (int): Sentences in a doc; 0: whole texts. Docs of a `.spacy` file are cut where
        they have sentence boundaries.
    YIELDS (Text): The texts.
    RAISES (WeltError): If the file can't be read, or a line is not as it should be.
    """
    suffix = path.suffix.lower()
    if suffix == ".spacy":
        for doc in read_docs(path, nlp.vocab):
            doc_id = get_document_id(doc)
            for part in cut_at_boundaries(doc, n_sents):
                part.user_data.update(doc.user_data)
                yield Text(doc_id, bare_doc(part), part)
    elif suffix in SUFFIXES:
        reader = OFFSET_READERS[SUFFIXES[suffix]]
        # A lenient report: what is wrong with the annotation does not matter here
        for document in reader(path, report=Report()):
            yield from _cut(nlp, document.text, document.parts, document.id, n_sents)
    elif suffix in (".txt", ".jsonl"):
        for number, line in read_lines(path):
            if not line.strip():
                continue
            doc_id, text = "", line
            if suffix == ".jsonl":
                doc_id, text = _parse(path, number, line)
            yield from _cut(nlp, text, [], doc_id, n_sents)
    else:
        raise WeltError(
            f"{path}: texts are read from .txt, .jsonl, .pubtator, .xml (BioC) and "
            ".spacy files"
        )


def _parse(path: Path, number: int, line: str) -> tuple:
    try:
        row = srsly.json_loads(line)
        text = row["text"]
        assert isinstance(text, str)
    except (ValueError, KeyError, TypeError, AssertionError):
        raise WeltError(
            f'{path}:{number}: not an object with a "text", such as {{"text": "..."}}'
        ) from None
    return str(row.get("id", "")), text


def _cut(
    nlp: Language, text: str, parts: Sequence[int], doc_id: str, n_sents: int
) -> Iterator[Text]:
    doc = nlp.make_doc(text) if len(text) <= nlp.max_length else nlp.tokenizer(text)
    for part in cut_into_sentences(doc, parts, n_sents)[1]:
        yield Text(doc_id, part)
