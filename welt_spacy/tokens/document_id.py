"""The id of the document that a `Doc` belongs to, such as a PubMed id."""

from spacy.tokens import Doc

# Key in `doc.user_data`; saved by `DocBin(store_user_data=True)`
DOCUMENT_ID = "welt_spacy.document"


def set_document_id(doc: Doc, document_id: str) -> None:
    """Store the id of the document that a `Doc` belongs to."""
    doc.user_data[DOCUMENT_ID] = document_id


def get_document_id(doc: Doc) -> str:
    """Return the id of the document that a `Doc` belongs to; "" if it is not known."""
    return doc.user_data.get(DOCUMENT_ID, "")
