"""Write docs as `.spacy` files, and count their tags."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from spacy.tokens import Doc, DocBin

from ..util.files import write_atomically

# Attributes of tokens in converted corpora; nothing else is annotated
ATTRS = ("ENT_IOB", "ENT_TYPE", "SENT_START")


def write_docs(path: Path, docs: Iterable[Doc]) -> None:
    """Write docs as a `.spacy` file. The same docs give the same bytes."""
    write_atomically(path, to_bytes(docs))


def to_bytes(docs: Iterable[Doc]) -> bytes:
    """Return the content of a `.spacy` file with these docs and their `user_data`."""
    docs = list(docs)
    has_user_data = any(doc.user_data for doc in docs)
    return DocBin(attrs=ATTRS, docs=docs, store_user_data=has_user_data).to_bytes()


def count_tags(docs: Iterable[Doc]) -> Counter[str]:
    """Count the tokens of each tag, e.g. "B-Disease". Tokens without annotation are left
    out.
    """
    counts: Counter[str] = Counter()
    for doc in docs:
        counts["O"] += sum(token.ent_iob_ == "O" for token in doc)
        for ent in doc.ents:
            counts[f"B-{ent.label_}"] += 1
            counts[f"I-{ent.label_}"] += len(ent) - 1
    return counts
