"""Words to word pieces: a word is tokenised once and looked up ever after."""

from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc

from ..util.arrays import Ints
from .lexeme_table import PieceTable


class WordPieces:
    """Looks up the pieces of words. It can be called from many threads.

    Words are tokenised one by one: the pieces of a word depend neither on its
    neighbours nor on the white space around it, so raw and tokenised text give the same.

    tokenizer (tokenizers.Tokenizer): The tokenizer, without padding and truncation.
    unknown (int): The piece of a word that has none.
    max_pieces (int): Pieces that are kept of one word.
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
        """Get the pieces of all words.

        docs (Sequence[Doc]): The docs, n words together.
        RETURNS (tuple[ndarray, ndarray]): The pieces, shape (n_pieces,), int64, and
            the number of pieces of each word, shape (n,), int64, at least 1.
        """
        return self.table.gather(*self.table(docs))

    def _tokenize(self, words: list[str]) -> list[list[int]]:
        # White space and control characters have no piece of their own.
        return [
            ids[: self.max_pieces] or [self.unknown]
            for ids in tokenize_words(self.tokenizer, words)
        ]


def tokenize_words(tokenizer: Any, words: list[str]) -> list[list[int]]:
    """Tokenise words one by one.

    tokenizer (tokenizers.Tokenizer): The tokenizer.
    words (list[str]): The words.
    RETURNS (list[list[int]]): The pieces of each.
    """
    encoded = tokenizer.encode_batch(
        [[word] for word in words], is_pretokenized=True, add_special_tokens=False
    )
    return [one.ids for one in encoded]


def read_tokenizer(text: str) -> Any:
    """Make a tokenizer that neither pads nor cuts.

    text (str): The tokenizer, as JSON of the tokenizers library.
    RETURNS (tokenizers.Tokenizer): The tokenizer.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
