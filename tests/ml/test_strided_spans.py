"""Windows for spacy-transformers."""

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from welt_spacy.ml.encoder.strided_spans import configure_strided_spans

VOCAB = spacy.blank("en").vocab
words = st.lists(st.text(alphabet="abé漢", min_size=1, max_size=12), max_size=60)


@given(words, st.integers(1, 20), st.integers(1, 20), st.integers(1, 40))
@settings(deadline=None)
def test_windows_cover_everything_and_fit(words, window, stride, max_length):
    if stride > window:
        window, stride = stride, window
    get_spans = configure_strided_spans(window, stride, max_length)
    doc = Doc(VOCAB, words=words)
    (spans,) = get_spans([doc])
    covered = set()
    for span in spans:
        covered.update(range(span.start, span.end))
        assert 0 < len(span) <= window
        size = sum(len(token.text.encode("utf8")) for token in span)
        assert len(span) == 1 or size <= max_length
    assert covered == set(range(len(doc)))
    starts = [span.start for span in spans]
    assert starts == sorted(set(starts))


def test_a_sentence_is_one_window():
    doc = Doc(VOCAB, words=["word"] * 100)
    assert len(configure_strided_spans(128, 96, 510)([doc])[0]) == 1


def test_windows_of_sentences():
    words, starts = ["word"] * 9, [i in (0, 2) for i in range(9)]
    doc = Doc(VOCAB, words=words, sent_starts=starts)
    (spans,) = configure_strided_spans(4, 3, 510, by_sentence=True)([doc])
    assert [(s.start, s.end) for s in spans] == [(0, 2), (2, 6), (5, 9)]


@pytest.mark.parametrize("starts", [None, [i in (0, 2) for i in range(9)]])
def test_windows_that_ignore_sentences(starts):
    doc = Doc(VOCAB, words=["word"] * 9, sent_starts=starts)
    (spans,) = configure_strided_spans(4, 3, 510)([doc])
    assert [(s.start, s.end) for s in spans] == [(0, 4), (3, 7), (6, 9)]


def test_gaps_between_windows_are_refused():
    with pytest.raises(ValueError, match="stride"):
        configure_strided_spans(10, 11)
