"""Documents that stand in several corpora, found by id and by text."""

import re
from typing import List, Set

from spacy.strings import get_string_id

from ..errors import check_number

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
        self.ids: Set[str] = set()
        self._runs: Set[int] = set()

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

    def _of(self, text: str) -> List[int]:
        words = _WORD.findall(text.lower().replace("_", " "))
        if not words:
            return []
        if len(words) < self.shingle:
            return [get_string_id("\n".join(words))]
        return [
            get_string_id(" ".join(words[i : i + self.shingle]))
            for i in range(len(words) - self.shingle + 1)
        ]
