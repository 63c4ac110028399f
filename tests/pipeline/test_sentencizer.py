"""The component `welt_sentencizer`."""

import pytest
import spacy
from spacy.tokens import Doc

from welt_spacy.corpora.convert import convert_file
from welt_spacy.pipeline.sentencizer import WeltSentencizer

from ..factories import BIO, copies

TEXT = (
    "Levels rose by 0.5 mg (p < 0.05). Dr. Smith vs. placebo: no effect! "
    "E. coli K-12 was used."
)
SENTENCES = [
    "Levels rose by 0.5 mg (p < 0.05).",
    "Dr. Smith vs. placebo: no effect!",
    "E. coli K-12 was used.",
]


@pytest.fixture
def nlp():
    nlp = spacy.blank("en", config=BIO)
    nlp.add_pipe("welt_sentencizer")
    return nlp


def sentences(doc):
    return [sent.text for sent in doc.sents]


def test_decimals_and_abbreviations_end_no_sentence(nlp):
    assert sentences(nlp(TEXT)) == SENTENCES


def test_sentencizer_of_spacy_splits_decimals():
    nlp = spacy.blank("en", config=BIO)
    nlp.add_pipe("sentencizer")
    assert sentences(nlp(TEXT)) != SENTENCES


def test_empty_documents(nlp):
    assert [sentences(doc) for doc in nlp.pipe(["", TEXT])] == [[], SENTENCES]


def test_copies(nlp, tmp_path):
    nlp.to_disk(tmp_path / "model")
    for copied in copies(nlp, tmp_path / "model"):
        assert sentences(copied(TEXT)) == SENTENCES


def test_processes(nlp):
    docs = nlp.pipe([TEXT] * 4, n_process=2, batch_size=2)
    assert [sentences(doc) for doc in docs] == [SENTENCES] * 4


def test_other_languages():
    nlp = spacy.blank("de", config=BIO)
    nlp.add_pipe("welt_sentencizer")
    assert len(sentences(nlp("Es waren z. B. 0.5 mg. Dann mehr."))) == 2


def test_existing_sentences_stay(nlp):
    words = ["a", ".", "b", "."]
    doc = Doc(nlp.vocab, words=words, sent_starts=[1, 0, 0, 0], spaces=[False] * 4)
    assert sentences(nlp(doc)) == ["a.b."]


def test_existing_sentences_are_overwritten(nlp):
    pipe = WeltSentencizer(nlp.vocab, overwrite=True)
    text = nlp.make_doc(TEXT)
    for token in text:
        token.is_sent_start = token.i == 0
    assert sentences(pipe(text)) == SENTENCES


def test_tokenized_text_is_one_sentence(nlp):
    # In a corpus with one token per line, "0.5" has three tokens, each followed by a space
    words = ["0", ".", "5", "mg", "."]
    assert sentences(nlp(Doc(nlp.vocab, words=words))) == ["0 . 5 mg ."]


def test_sentences_equal_those_of_converted_corpora(nlp, tmp_path):
    path = tmp_path / "one.pubtator"
    path.write_text(f"1|t|A title.\n1|a|{TEXT}\n\n", encoding="utf8")
    converted = convert_file(path, "pubtator", n_sents=1).docs
    assert [doc.text.strip() for doc in converted] == ["A title.", *SENTENCES]
    assert sentences(nlp(f"A title. {TEXT}")) == ["A title.", *SENTENCES]


def test_no_sentence_begins_in_an_entity(nlp):
    doc = nlp.make_doc(TEXT)
    doc.set_ents([doc.char_span(26, 38, label="X", alignment_mode="expand")])
    assert len(sentences(nlp.get_pipe("welt_sentencizer")(doc))) == 2


def test_memory_zones_release_the_vocabulary(nlp):
    size = len(nlp.vocab)
    for i in range(3):
        with nlp.memory_zone():
            nlp(f"word{i}x saw thing{i}y. It was other{i}z.")
        assert len(nlp.vocab) <= size + 20
