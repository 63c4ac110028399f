"""Read texts for distillation from files of all formats."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc

from ..formats.problems import Report
from ..formats.readers import NO_LIMITS
from ..formats.registry import make_reader
from ..tokens.docs import read_docs
from ..tokens.document_id import set_document_id
from .sentences import cut_at_boundaries, cut_into_sentences


def read_texts(path: Path, nlp: Language, *, n_sents: int = 1) -> Iterator[Doc]:
    """Read the texts of a file, one by one."""
    if path.suffix.lower() == ".spacy":
        for doc in read_docs(path, nlp.vocab):
            for part in cut_at_boundaries(doc, n_sents):
                part.user_data.update(doc.user_data)
                yield part
        return
    # A report that is not strict, because the annotation of texts is not used
    reader = make_reader(str(path), limits=NO_LIMITS, report=Report())
    for document in reader.read_all():
        for part in _cut(nlp, document.text, document.parts, n_sents):
            if document.id:
                set_document_id(part, document.id)
            yield part


def _cut(nlp: Language, text: str, parts: Sequence[int], n_sents: int) -> list[Doc]:
    is_short = len(text) <= nlp.max_length
    doc = nlp.make_doc(text) if is_short else nlp.tokenizer(text)
    return cut_into_sentences(doc, parts, n_sents)[1]
