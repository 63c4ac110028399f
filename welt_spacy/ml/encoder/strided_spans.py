"""Windows for spacy-transformers that its encoder never truncates."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from spacy.tokens import Doc, Span

from ...errors import WeltError
from ...util.arrays import starts_of


def configure_strided_spans(
    window: int = 128,
    stride: int = 96,
    max_length: int = 510,
    by_sentence: bool = False,
) -> Callable[[Iterable[Doc]], list[list[Span]]]:
    """Create a function that cuts documents into overlapping windows that fit an encoder.

    Registered as `welt_spacy.strided_spans.v1` in `@span_getters`.
    `spacy-transformers.strided_spans.v1` counts tokens; this function counts bytes, too. A token
    has no more word pieces than bytes, so the encoder never truncates a window of at most
    `max_length` bytes, however rare its words. Windows of long documents are shorter because of
    that; a sentence usually fits into one.

    window (int): Maximum number of tokens in a window.
    stride (int): Number of tokens between the starts of two full windows. Shorter windows
        overlap in proportion.
    max_length (int): Maximum number of word pieces of the encoder, special ones excluded.
    by_sentence (bool): Whether a window has tokens of one sentence only. An earlier component
        must set sentences, e.g. `welt_sentencizer`.
    RETURNS (Callable[[Iterable[Doc]], list[list[Span]]]): The span getter.
    RAISES (WeltError): If there would be gaps between windows.
    """
    if not 0 < stride <= window or max_length < 1:
        raise WeltError(
            "strided spans need 0 < stride <= window and max_length > 0, but got "
            f"window {window}, stride {stride}, max_length {max_length}"
        )
    return partial(
        get_strided_spans,
        window=window,
        stride=stride,
        max_length=max_length,
        by_sentence=by_sentence,
    )


def get_strided_spans(
    docs: Iterable[Doc],
    *,
    window: int,
    stride: int,
    max_length: int,
    by_sentence: bool = False,
) -> list[list[Span]]:
    """Cut documents into windows that cover all tokens; see `configure_strided_spans`. A window
    is too long for the encoder only if it is a single token.
    """
    spans: list[list[Span]] = []
    for doc in docs:
        # Without the white space between tokens
        offsets = starts_of(
            np.array([len(t.text.encode("utf8")) for t in doc], "int64")
        )
        stretches = [(0, len(doc))]
        if by_sentence and doc.has_annotation("SENT_START"):
            stretches = [(sent.start, sent.end) for sent in doc.sents]
        spans.append([])
        for start, last in stretches:
            while start < last:
                limit = offsets[start] + max_length
                fits = int(np.searchsorted(offsets, limit, "right")) - 1
                end = min(max(fits, start + 1), start + window, last)
                spans[-1].append(doc[start:end])
                if end == last:
                    break
                start += max(1, (end - start) * stride // window)
    return spans
