"""Words to word pieces: a word is tokenised once and looked up ever after."""

from typing import Any, Dict, List, Sequence, Tuple

from spacy.tokens import Doc

from ..arrays import Ints
from .lexeme_table import PieceTable


class WordPieces:
    """Looks up the pieces of words. It can be called from many threads.

    Words are tokenised one by one, as `is_split_into_words=True` does in a fast
    tokenizer: the pieces of a word depend neither on its neighbours nor on the
    white space around it, so raw and tokenised text give the same.

    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    max_pieces (int): Pieces that are kept of one word.
    """

    def __init__(self, tokenizer: Any, max_pieces: int):
        self.tokenizer = tokenizer
        self.max_pieces = max_pieces
        self.table = PieceTable(self._tokenize)

    def __getstate__(self) -> Dict[str, Any]:
        return {"tokenizer": self.tokenizer, "max_pieces": self.max_pieces}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, docs: Sequence[Doc]) -> Tuple[Ints, Ints]:
        """Get the pieces of all words.

        docs (Sequence[Doc]): The docs, n words together.
        RETURNS (Tuple[ndarray, ndarray]): The pieces, shape (n_pieces,), int64, and
            the number of pieces of each word, shape (n,), int64, at least 1.
        """
        return self.table.gather(*self.table(docs))

    def _tokenize(self, words: List[str]) -> List[List[int]]:
        encoded = self.tokenizer(
            [[word] for word in words],
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        # White space and control characters have no piece of their own.
        unknown = [self.tokenizer.unk_token_id or 0]
        return [ids[: self.max_pieces] or unknown for ids in encoded]
