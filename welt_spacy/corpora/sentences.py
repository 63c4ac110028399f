"""Cut documents into docs of a few sentences."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

from spacy.attrs import ENT_IOB, ENT_TYPE, ORTH, SENT_START, SPACY
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..pipeline.sentencizer import Splitter, set_sentences


def cut_into_sentences(
    doc: Doc, parts: Sequence[int], n_sents: int
) -> tuple[int, list[Doc]]:
    """Find the sentences of a document and cut it. No doc ends inside an entity."""
    set_sentences(doc, [*_splitter()(doc.text), *parts])
    sentences = _sentence_docs(doc)
    return len(sentences), _join(sentences, n_sents)


def cut_at_boundaries(doc: Doc, n_sents: int) -> list[Doc]:
    """Cut a doc into docs of `n_sents` sentences (0: all) at the boundaries that it has.
    Without boundaries, it is returned as it is.
    """
    if not n_sents or not doc.has_annotation("SENT_START"):
        return [doc]
    sentences = _sentence_docs(doc)
    if len(sentences) <= n_sents:
        return [doc]
    docs = _join(sentences, n_sents)
    for part in docs:
        part.has_unknown_spaces = doc.has_unknown_spaces
    return docs


def _join(sentences: list[Doc], n_sents: int) -> list[Doc]:
    remaining = iter(sentences)
    docs = []
    while group := list(islice(remaining, n_sents or len(sentences))):
        docs.append(group[0] if len(group) == 1 else Doc.from_docs(group, False))
    return docs


def _sentence_docs(doc: Doc) -> list[Doc]:
    # `Span.as_doc` would make the array of the whole doc for every sentence
    attrs = [ORTH, SPACY, SENT_START, ENT_IOB, ENT_TYPE]
    array = doc.to_array(attrs)
    return [sent.as_doc(array_head=attrs, array=array) for sent in doc.sents]  # type: ignore[call-arg]


@lru_cache(maxsize=1)
def _splitter() -> Splitter:
    return Splitter(Vocab())
