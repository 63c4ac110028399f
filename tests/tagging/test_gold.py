import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example, biluo_tags_to_offsets

from welt_spacy.tagging.gold import aligned_ents, count_tags, gold_tags
from welt_spacy.tagging.tags import tag_names

from ..factories import BIO, make_examples

NLP = spacy.blank("en", config=BIO)
LABELS = ["Chemical", "Disease"]


def names_of(examples):
    names = [*tag_names(LABELS), "-"]  # MISSING is -1, the last
    return [names[tag] for tag in gold_tags(examples, LABELS, NLP.vocab)]


def example(predicted, words, ents):
    return Example(
        Doc(NLP.vocab, words=predicted), Doc(NLP.vocab, words=words, ents=ents)
    )


def test_tags_of_a_batch_are_concatenated():
    words = ["aspirin", "for", "chest", "pain"]
    ents = ["B-Chemical", "O", "B-Disease", "I-Disease"]
    empty = example([], [], [])
    assert names_of(
        [example(words, words, ents), empty, example(words, words, ents)]
    ) == (ents * 2)


def test_missing_annotation_is_missing():
    words = ["a", "b", "c"]
    assert names_of([example(words, words, ["B-Disease", "", "O"])]) == [
        "B-Disease",
        "-",
        "O",
    ]
    unannotated = Example(Doc(NLP.vocab, words=words), Doc(NLP.vocab, words=words))
    assert names_of([unannotated]) == ["-"] * 3
    annotated = Example.from_dict(Doc(NLP.vocab, words=words), {"entities": []})
    assert names_of([annotated]) == ["O"] * 3


def test_blocked_tokens_are_outside():
    doc = Doc(NLP.vocab, words=["a", "b"])
    doc.set_ents([], blocked=[doc[0:1]], default="missing")
    assert names_of([Example(Doc(NLP.vocab, words=["a", "b"]), doc)]) == ["O", "-"]


def test_different_tokens_are_aligned():
    eg = example(
        ["acetylsalicylic", "acid", "tablets"],
        ["acetyl", "salicylic", "acid", "tablets"],
        ["B-Chemical", "I-Chemical", "I-Chemical", "O"],
    )
    assert names_of([eg]) == ["B-Chemical", "I-Chemical", "O"]


def test_mentions_inside_of_a_token_are_masked_and_counted():
    eg = example(
        ["Selegiline-induced", "nausea"],
        ["Selegiline", "-", "induced", "nausea"],
        ["B-Chemical", "O", "O", "B-Disease"],
    )
    assert names_of([eg]) == ["-", "B-Disease"]
    corpus = count_tags([eg])
    assert (corpus.n_mentions, corpus.n_unaligned) == (2, 1)
    assert "Selegiline" in corpus.unaligned[0]


def test_counts():
    corpus = count_tags(make_examples(NLP))
    assert corpus.labels == LABELS
    assert corpus.counts == {
        "O": 17,
        "B-Chemical": 3,
        "I-Chemical": 2,
        "B-Disease": 3,
        "I-Disease": 4,
    }
    assert corpus.n_unaligned == 0


def test_unknown_labels_are_refused():
    eg = example(["a"], ["a"], ["B-Gene"])
    with pytest.raises(ValueError, match="'Gene'.*Chemical, Disease"):
        gold_tags([eg], LABELS, NLP.vocab)


def test_fast_path_equals_alignment():
    for eg in make_examples(NLP):
        iob, types = aligned_ents(eg)
        expected = biluo_tags_to_offsets(eg.predicted, eg.get_aligned_ner())
        doc = Doc(
            NLP.vocab,
            words=[token.text for token in eg.predicted],
            spaces=[bool(token.whitespace_) for token in eg.predicted],
        )
        doc.set_ents([doc.char_span(s, e, label) for s, e, label in expected])
        assert np.array_equal(iob, doc.to_array("ENT_IOB"))
        assert np.array_equal(types, doc.to_array("ENT_TYPE"))
