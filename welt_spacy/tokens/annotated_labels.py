"""Track which labels a document was annotated for, so that a missing label is not treated
as a negative.
"""

from collections.abc import Iterable

from spacy.tokens import Doc

# Key in `doc.user_data`; saved by `DocBin(store_user_data=True)`
ANNOTATED_LABELS = "welt_spacy.labels"


def set_annotated_labels(doc: Doc, labels: Iterable[str]) -> None:
    """Store the labels that the annotators of a document looked for."""
    doc.user_data[ANNOTATED_LABELS] = sorted(set(labels))


def get_annotated_labels(doc: Doc) -> frozenset[str] | None:
    """Return the annotated labels of a document; None if all labels were annotated."""
    labels = doc.user_data.get(ANNOTATED_LABELS)
    return None if labels is None else frozenset(labels)


def is_annotated(doc: Doc, label: str) -> bool:
    """Return whether the annotators of a document looked for a label."""
    labels = doc.user_data.get(ANNOTATED_LABELS)
    return labels is None or label in labels
