"""Which labels were looked for in a doc. In a corpus of genes, a chemical without a tag
says nothing of chemicals.
"""

from typing import FrozenSet, Iterable, Optional

from spacy.tokens import Doc

# In `doc.user_data`, which a DocBin keeps if it is asked to
KEY = "welt_spacy.labels"


def set_annotated_labels(doc: Doc, labels: Iterable[str]) -> None:
    """Note which labels were looked for in a doc. `DocBin(store_user_data=True)` saves it.

    doc (Doc): The doc.
    labels (Iterable[str]): The labels.
    """
    doc.user_data[KEY] = sorted(set(labels))


def annotated_labels(doc: Doc) -> Optional[FrozenSet[str]]:
    """Get the labels that were looked for in a doc.

    doc (Doc): The doc.
    RETURNS (Optional[FrozenSet[str]]): The labels; None if all were, as in a doc of which
        nothing else is known.
    """
    found = doc.user_data.get(KEY)
    return None if found is None else frozenset(found)


def is_annotated(doc: Doc, label: str) -> bool:
    """Tell whether a label was looked for in a doc.

    doc (Doc): The doc.
    label (str): The label.
    RETURNS (bool): Whether it was.
    """
    found = doc.user_data.get(KEY)
    return found is None or label in found
