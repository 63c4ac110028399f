"""Lengths of examples in word pieces, for batches of similar cost."""

from collections.abc import Callable

from spacy.tokens import Doc
from spacy.training import Example

from ...errors import extra_needed


def configure_piece_counter(name: str) -> Callable[[Doc | Example], int]:
    """Create a function that counts the word pieces of an example, special ones included.

    Registered as `welt_spacy.piece_counter.v1` in `@misc`, for `get_length` of
    `spacy.batch_by_padded.v1`. Batches of similar numbers of word pieces have similar cost and
    little padding.

    name (str): The encoder whose word pieces are counted: a name on the hub, or a local folder.
    RETURNS (Callable[[Doc | Example], int]): The function.
    RAISES (WeltError): If torch or transformers are missing, or the encoder can't be loaded.
    """
    with extra_needed("welt_spacy.piece_counter.v1", "transformers"):
        from ..word_pieces import WordPieces, read_tokenizer
        from .pretrained import find_special_pieces, load_tokenizer
    tokenizer = load_tokenizer(name)
    n_special = sum(map(len, find_special_pieces(tokenizer)))
    backend = read_tokenizer(tokenizer.backend_tokenizer.to_str())
    pieces = WordPieces(backend, int(tokenizer.unk_token_id or 0), max_pieces=10**6)

    def count(item: Doc | Example) -> int:
        doc = item if isinstance(item, Doc) else item.predicted
        return int(pieces([doc])[1].sum()) + n_special

    return count
