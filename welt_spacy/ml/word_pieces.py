"""Word pieces of the words of documents."""

from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc

from ..util.arrays import Ints
from .lexeme_table import PieceTable


class WordPieces:
    """Look up the word pieces of words from any number of threads.

    Words are tokenized one by one, so the pieces of a word do not depend on its neighbors or
    on white space, and raw and tokenized text give the same result.

    tokenizer (tokenizers.Tokenizer): The tokenizer, without padding and truncation.
    unknown (int): The piece of words that have none.
    max_pieces (int): Maximum number of pieces per word.
    """

    def __init__(self, tokenizer: Any, unknown: int, max_pieces: int):
        self.tokenizer = tokenizer
        self.unknown = unknown
        self.max_pieces = max_pieces
        self.table = PieceTable(self._tokenize)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "tokenizer": self.tokenizer,
            "unknown": self.unknown,
            "max_pieces": self.max_pieces,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, docs: Sequence[Doc]) -> tuple[Ints, Ints]:
        """Return the pieces of the n words of documents, shape (n_pieces,), and the number of
        pieces of each word, shape (n,), at least 1.
        """
        return self.table.gather(*self.table(docs))

    def _tokenize(self, words: list[str]) -> list[list[int]]:
        # White space and control characters have no pieces
        return [
            ids[: self.max_pieces] or [self.unknown]
            for ids in tokenize_words(self.tokenizer, words)
        ]


def tokenize_words(tokenizer: Any, words: list[str]) -> list[list[int]]:
    """Return the ids of the word pieces of each word."""
    encoded = tokenizer.encode_batch(
        [[word] for word in words], is_pretokenized=True, add_special_tokens=False
    )
    return [encoding.ids for encoding in encoded]


def read_tokenizer(text: str) -> Any:
    """Create a tokenizer without padding and truncation from its JSON."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
