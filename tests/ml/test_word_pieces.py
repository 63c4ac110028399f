"""Word pieces of words."""

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import spacy
from spacy.tokens import Doc

from welt_spacy.ml.lexeme_table import MAX_WORDS
from welt_spacy.ml.word_pieces import WordPieces

VOCAB = spacy.blank("en").vocab


class Letters:
    """A tokenizer with letters as word pieces."""

    n_words = 0

    def encode_batch(self, words, **settings):
        assert settings == {"is_pretokenized": True, "add_special_tokens": False}
        self.n_words += len(words)
        return [
            SimpleNamespace(ids=[ord(c) for c in w if not c.isspace()])
            for (w,) in words
        ]


def test_words_are_tokenized_once():
    tokenizer = Letters()
    pieces = WordPieces(tokenizer, 1, max_pieces=3)
    docs = [Doc(VOCAB, words=["ab", "c", "ab"]), Doc(VOCAB), Doc(VOCAB, words=["c"])]
    for _ in range(2):
        flat, lengths = pieces(docs)
        assert lengths.tolist() == [2, 1, 2, 1]
        assert "".join(map(chr, flat)) == "abcabc"
    assert tokenizer.n_words == 2


def test_long_words_are_cut_and_spaces_are_unknown():
    pieces = WordPieces(Letters(), 1, max_pieces=3)
    flat, lengths = pieces([Doc(VOCAB, words=["abcdef", " ", "ab"])])
    assert lengths.tolist() == [3, 1, 2]
    assert flat.tolist()[3] == 1
    assert pieces([])[0].tolist() == []


def test_the_table_has_a_maximum_size(monkeypatch):
    monkeypatch.setattr("welt_spacy.ml.lexeme_table.MAX_WORDS", 10)
    tokenizer = Letters()
    pieces = WordPieces(tokenizer, 1, max_pieces=5)
    for i in range(50):
        words = [f"{i}a", f"{i}b", "same"]
        flat, lengths = pieces([Doc(VOCAB, words=words)])
        assert "".join(map(chr, flat)) == "".join(words)
        assert len(pieces.table) <= 10
    assert MAX_WORDS > 10_000


def test_many_threads_and_a_small_table(monkeypatch):
    # Each call gets the pieces of its own words while others add and drop words
    monkeypatch.setattr("welt_spacy.ml.lexeme_table.MAX_WORDS", 40)
    pieces = WordPieces(Letters(), 1, max_pieces=30)
    words = [[f"{i}a{j}" for j in range(i % 7 + 1)] for i in range(200)]
    docs = [Doc(VOCAB, words=doc_words) for doc_words in words]
    failures = []

    def call(i):
        flat, lengths = pieces([docs[i]])
        if "".join(map(chr, flat)) != "".join(words[i]) or len(lengths) != len(docs[i]):
            failures.append(i)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(call, [i % 200 for i in range(4000)]))
    finally:
        sys.setswitchinterval(interval)
    assert failures == [] and len(pieces.table) <= 40


def test_copies_have_their_own_lock():
    pieces = WordPieces(Letters(), 1, max_pieces=3)
    for copied in (copy.deepcopy(pieces), pickle.loads(pickle.dumps(pieces))):
        assert copied([Doc(VOCAB, words=["ab"])])[1].tolist() == [2]
