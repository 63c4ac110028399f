"""Documents that stand in several corpora, found by id and by text."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from spacy.strings import get_string_id
from spacy.tokens import Doc

from ..errors import check_number
from ..tokens.document_id import get_document_id

# Words that follow one another: two texts that share so many by chance are rare
SHINGLE = 8
# The share of its shingles from which on a text counts as known
SHARE = 0.5
_WORD = re.compile(r"\w+")


class TextIndex:
    """Texts, as a set of the runs of words in them. White space, punctuation and case do
    not matter, so the same abstract is found whether a corpus has it as a document or cut
    into sentences and tokens.

    shingle (int): How many words a run has.
    RAISES (WeltError): If that is not above 0.
    """

    def __init__(self, shingle: int = SHINGLE):
        check_number("shingle", shingle, low=1)
        self.shingle = shingle
        self.ids: set[str] = set()
        self._runs: set[int] = set()

    def add(self, text: str, doc_id: str = "") -> None:
        """Add a text.

        text (str): The text.
        doc_id (str): The id of its document, such as a PubMed id, if it is known.
        """
        self._runs.update(self._of(text))
        if doc_id:
            self.ids.add(doc_id)

    def share(self, text: str) -> float:
        """Find how much of a text is in those that were added.

        text (str): The text.
        RETURNS (float): The share of its runs of words that is, in [0, 1]. A text with
            fewer words than a run has must be one that was added, as a whole.
        """
        runs = self._of(text)
        return sum(run in self._runs for run in runs) / len(runs) if runs else 0.0

    def has(self, text: str, doc_id: str = "") -> bool:
        """Tell whether a document is known, by its id or by half of its text.

        text (str): The text.
        doc_id (str): Its id, if it is known.
        RETURNS (bool): Whether it is.
        """
        return (bool(doc_id) and doc_id in self.ids) or self.share(text) >= SHARE

    def _of(self, text: str) -> list[int]:
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
    """Docs of one file that another one has, too.

    n (int): Docs of the first file.
    by_id (int): Those whose document's id is in the other.
    by_text (int): Those of whose text at least half is in the other.
    either (int): Those of which one or the other is true.
    """

    n: int
    by_id: int
    by_text: int
    either: int


def index_docs(docs: Iterable[Doc]) -> TextIndex:
    """Index docs.

    docs (Iterable[Doc]): The docs; those of a format with ids have theirs.
    RETURNS (TextIndex): The index.
    """
    index = TextIndex()
    for doc in docs:
        index.add(doc.text, get_document_id(doc))
    return index


def find_overlap(docs: Iterable[Doc], others: TextIndex) -> Overlap:
    """Find the docs that stand in other data.

    docs (Iterable[Doc]): The docs.
    others (TextIndex): The other data.
    RETURNS (Overlap): How many they are.
    """
    n = by_id = by_text = either = 0
    for doc in docs:
        same_id = get_document_id(doc) in others.ids
        same_text = others.share(doc.text) >= SHARE
        n += 1
        by_id += same_id
        by_text += same_text
        either += same_id or same_text
    return Overlap(n, by_id, by_text, either)
