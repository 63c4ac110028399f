"""The page of docs about `Doc.user_data`."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin

from welt_spacy.tagging.soft_labels import get_soft_labels, set_soft_labels
from welt_spacy.tokens.annotated_labels import (
    get_annotated_labels,
    set_annotated_labels,
)
from welt_spacy.tokens.confidence import (
    get_confidence,
    install_extensions,
    set_confidence,
)
from welt_spacy.tokens.document_id import get_document_id, set_document_id
from welt_spacy.tokens.llm_responses import (
    LLMResponses,
    add_llm_responses,
    get_llm_responses,
)


@pytest.fixture
def doc():
    install_extensions()
    doc = spacy.blank("en")("Nausea is rare.")
    doc.ents = [doc.char_span(0, 6, label="Disease")]
    set_document_id(doc, "7")
    set_annotated_labels(doc, ["Disease"])
    set_soft_labels(doc, np.full((len(doc), 3), 1 / 3), ["Disease"])
    set_confidence(doc.ents[0], 0.5, "welt_ner")
    add_llm_responses(doc, "llm", LLMResponses(["[]"], [], 0, {}))
    return doc


def read_all(doc):
    return (
        get_document_id(doc),
        get_annotated_labels(doc),
        get_soft_labels(doc) is not None,
        get_confidence(doc.ents[0]),
        list(get_llm_responses(doc)),
    )


def test_page_names_every_key(doc, root):
    page = (root / "docs" / "user-data.md").read_text("utf8")
    for key in doc.user_data:
        name = key[1] if isinstance(key, tuple) else key
        assert f'"{name}"' in page


def test_everything_survives_bytes_copies_and_docbin_with_user_data(doc):
    saved = DocBin(docs=[doc], attrs=["ENT_IOB", "ENT_TYPE"], store_user_data=True)
    copies = [
        Doc(doc.vocab).from_bytes(doc.to_bytes()),
        doc.copy(),
        next(DocBin().from_bytes(saved.to_bytes()).get_docs(doc.vocab)),
    ]
    for copy in copies:
        assert read_all(copy) == ("7", {"Disease"}, True, 0.5, ["llm"])


def test_nothing_survives_docbin_without_user_data(doc):
    saved = DocBin(docs=[doc], attrs=["ENT_IOB", "ENT_TYPE"])
    (copy,) = DocBin().from_bytes(saved.to_bytes()).get_docs(doc.vocab)
    assert read_all(copy) == ("", None, False, None, [])
