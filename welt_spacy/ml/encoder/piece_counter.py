"""How long an example is in word pieces, for batches of like cost."""

from collections.abc import Callable

from spacy.tokens import Doc
from spacy.training import Example

from ...errors import extra_needed


def configure_piece_counter(name: str) -> Callable[[Doc | Example], int]:
    """Count the word pieces of an example, special ones included.

    Registered as `welt_spacy.piece_counter.v1` in `@misc`, for `get_length` of
    `spacy.batch_by_padded.v1`: batches are then of like cost, and what is long in
    pieces is not padded to what is long in words.

    name (str): The encoder whose pieces are counted: a name on the hub, or a
        local folder.
    RETURNS (Callable[[Doc | Example], int]): The counter.
    RAISES (WeltError): If torch or transformers are missing, or the encoder.
    """
    with extra_needed("welt_spacy.piece_counter.v1", "transformers"):
        from ..word_pieces import WordPieces, read_tokenizer
        from .pretrained import load_tokenizer, special_pieces
    tokenizer = load_tokenizer(name)
    n_special = sum(map(len, special_pieces(tokenizer)))
    backend = read_tokenizer(tokenizer.backend_tokenizer.to_str())
    pieces = WordPieces(backend, int(tokenizer.unk_token_id or 0), max_pieces=10**6)

    def count(item: Doc | Example) -> int:
        doc = item if isinstance(item, Doc) else item.predicted
        return int(pieces([doc])[1].sum()) + n_special

    return count
