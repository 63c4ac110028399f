"""Find documents that are in several corpora, by id and by text."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from spacy.strings import get_string_id
from spacy.tokens import Doc

from ..errors import check_number
from ..tokens.document_id import get_document_id

# Number of words of a shingle: few texts share one by chance
SHINGLE = 8
# Minimum share of the shingles of a text that is the same document
SHARE = 0.5
_WORD = re.compile(r"\w+")


class TextIndex:
    """Index of texts by shingles (sequences of words). White space, punctuation and case are
    ignored, so an abstract is recognised as a whole document and cut into sentences and tokens.

    shingle (int): Number of words of a shingle.
    RAISES (WeltError): If that is not above 0.
    """

    def __init__(self, shingle: int = SHINGLE):
        check_number("shingle", shingle, low=1)
        self.shingle = shingle
        self.ids: set[str] = set()
        self._shingles: set[int] = set()

    def add(self, text: str, document_id: str = "") -> None:
        """Add a text, with the id of its document if it is known."""
        self._shingles.update(self._hash_shingles(text))
        if document_id:
            self.ids.add(document_id)

    def share(self, text: str) -> float:
        """Return the share of the shingles of a text that are in the index, in [0, 1]. A text
        shorter than a shingle must have been added as a whole.
        """
        shingles = self._hash_shingles(text)
        n_known = sum(shingle in self._shingles for shingle in shingles)
        return n_known / len(shingles) if shingles else 0.0

    def has(self, text: str, document_id: str = "") -> bool:
        """Return whether a document is in the index, by its id or by half of its text."""
        has_id = bool(document_id) and document_id in self.ids
        return has_id or self.share(text) >= SHARE

    def _hash_shingles(self, text: str) -> list[int]:
        words = _WORD.findall(text.lower().replace("_", " "))
        if not words:
            return []
        if len(words) < self.shingle:
            return [get_string_id("\n".join(words))]
        return [
            get_string_id(" ".join(words[i : i + self.shingle]))
            for i in range(len(words) - self.shingle + 1)
        ]


class Overlap(NamedTuple):
    """Number of docs that are in other data, too.

    n (int): All docs.
    by_id (int): Docs whose document id is in the other data.
    by_text (int): Docs at least half of whose text is in the other data.
    either (int): Docs of which one or the other is true.
    """

    n: int
    by_id: int
    by_text: int
    either: int


def index_docs(docs: Iterable[Doc]) -> TextIndex:
    """Index docs by text and document id."""
    index = TextIndex()
    for doc in docs:
        index.add(doc.text, get_document_id(doc))
    return index


def find_overlap(docs: Iterable[Doc], others: TextIndex) -> Overlap:
    """Count the docs that are in other data."""
    n = by_id = by_text = either = 0
    for doc in docs:
        same_id = get_document_id(doc) in others.ids
        same_text = others.share(doc.text) >= SHARE
        n += 1
        by_id += same_id
        by_text += same_text
        either += same_id or same_text
    return Overlap(n, by_id, by_text, either)
