import re

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from ..factories import BIO

NLP = spacy.blank("en", config=BIO)


@pytest.mark.parametrize(
    "text, words",
    [
        ("Selegiline-induced", ["Selegiline", "-", "induced"]),
        (
            "tris(2,2'-bipyridyl)",
            ["tris", "(", "2", ",", "2", "'", "-", "bipyridyl", ")"],
        ),
        ("(3.5 mg/kg)", ["(", "3", ".", "5", "mg", "/", "kg", ")"]),
        ("Parkinson's disease.", ["Parkinson", "'", "s", "disease", "."]),
        ("IFN-γ and Sjögren", ["IFN", "-", "γ", "and", "Sjögren"]),
        ("p<0.05;n_1", ["p", "<", "0", ".", "05", ";", "n", "_", "1"]),
        ("don't U.S. :-)", ["don", "'", "t", "U", ".", "S", ".", ":", "-", ")"]),
        ("http://x.org", ["http", ":", "/", "/", "x", ".", "org"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),  # combining accents stay
    ],
)
def test_splits_as_the_corpora_do(text, words):
    assert [token.text for token in NLP(text)] == words


@given(st.text(max_size=60))
@settings(deadline=None)
def test_is_lossless(text):
    assert NLP(text).text == text


@given(st.text(alphabet="abZ09 .-()/'_%αé\u0301\n\t", max_size=60))
@settings(deadline=None)
def test_equals_a_regular_expression(text):
    pattern = r"(?:[^\W_]|[\u0300-\u036f])+|[^\w\s]|_"
    words = [token.text for token in NLP(text) if not token.is_space]
    assert words == re.findall(pattern, text)


def test_is_saved_with_the_pipeline(tmp_path):
    NLP.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert len(loaded("Selegiline-induced")) == 3


def test_agrees_with_the_tokens_of_the_corpora(mirror):
    lines = (
        (mirror / "mtl-bioinformatics-2016/data/BC5CDR-IOB/devel.tsv")
        .read_text(encoding="utf8")
        .split("\n")
    )
    words = [line.split("\t")[0] for line in lines if line]
    tokenizer = NLP.tokenizer
    wrong = [word for word in set(words) if len(tokenizer(word)) != 1]
    assert not wrong
    assert isinstance(tokenizer("x"), Doc)
