"""Windows for spacy-transformers that no encoder cuts."""

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
    """Cut docs into overlapping windows that fit an encoder for certain.

    Registered as `welt_spacy.strided_spans.v1` in `@span_getters`. It differs
    from `spacy-transformers.strided_spans.v1` in counting characters beside
    tokens: a token has no more word pieces than it has bytes, so a window of at
    most `max_length` bytes is never cut by the encoder, however rare its words.
    Windows are shorter for it only in long docs; sentences usually fit into one.

    window (int): Most tokens in a window.
    stride (int): Tokens between the starts of two full windows; the overlap of
        shorter ones is in proportion.
    max_length (int): Word pieces that the encoder takes, special ones left out.
    by_sentence (bool): Whether no window has parts of two sentences, where a component
        before has found them, e.g. `welt_sentencizer`.
    RETURNS (Callable[[Iterable[Doc]], list[list[Span]]]): The span getter.
    RAISES (WeltError): If windows would leave gaps.
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
    """Cut docs into windows. See `configure_strided_spans`.

    docs (Iterable[Doc]): The docs.
    RETURNS (list[list[Span]]): The windows of each doc; together they cover
        every token, and none is longer than the encoder takes unless a single
        token is.
    """
    spans: list[list[Span]] = []
    for doc in docs:
        # Bytes up to each token, white space between tokens not counted.
        size = starts_of(np.array([len(t.text.encode("utf8")) for t in doc], "int64"))
        parts = [(0, len(doc))]
        if by_sentence and doc.has_annotation("SENT_START"):
            parts = [(sent.start, sent.end) for sent in doc.sents]
        spans.append([])
        for start, last in parts:
            while start < last:
                fits = int(np.searchsorted(size, size[start] + max_length, "right")) - 1
                end = min(max(fits, start + 1), start + window, last)
                spans[-1].append(doc[start:end])
                if end == last:
                    break
                start += max(1, (end - start) * stride // window)
    return spans
