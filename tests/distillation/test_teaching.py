"""What teachers say: combined, written once, taken up again."""

import json

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import DocBin

from welt_spacy.annotated import set_annotated_labels
from welt_spacy.corpora.overlap import TextIndex
from welt_spacy.distillation.teaching import combine, teach, union
from welt_spacy.errors import WeltError
from welt_spacy.pipeline.soft_tags import get_soft_tags

from ..util import TRAIN_DATA, ents, make_examples, make_nlp, train


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def teacher():
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    return nlp


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(text for text, _ in TRAIN_DATA) + "\n", "utf8")
    return path


def read(folder, nlp):
    found = []
    for path in sorted(folder.glob("*.spacy")):
        found.extend(DocBin().from_disk(path).get_docs(nlp.vocab))
    return found


def test_soft_tags_are_what_the_teacher_predicts(teacher, texts, tmp_path):
    taught = teach([teacher], [texts], tmp_path / "out", shard=3)
    docs = read(taught.folder, teacher)
    assert taught.counts == {"docs": 4, "excluded": 0, "repeated": 0}
    assert len(list(taught.folder.glob("*.spacy"))) == 2
    pipe = teacher.get_pipe("welt_ner")
    for doc, (text, _) in zip(docs, TRAIN_DATA):
        assert doc.text == text
        probs, labels = get_soft_tags(doc)
        assert labels == list(pipe.labels)
        np.testing.assert_allclose(
            probs, pipe.predict([teacher.make_doc(text)])[0], atol=1e-3
        )
        # the entities are the teacher's own, for components without soft tags
        assert ents(doc) == ents(teacher(text))


def test_top_tags_share_the_rest(teacher, texts, tmp_path):
    (doc, *_) = read(
        teach([teacher], [texts], tmp_path / "out", most=2).folder, teacher
    )
    probs, _ = get_soft_tags(doc)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    full = teacher.get_pipe("welt_ner").predict([teacher.make_doc(doc.text)])[0]
    top = np.sort(full, axis=1)[:, -2:]
    np.testing.assert_allclose(np.sort(probs, axis=1)[:, -2:], top, atol=1e-3)


def test_it_is_taken_up_where_it_was_killed(teacher, texts, tmp_path, monkeypatch):
    whole = teach([teacher], [texts], tmp_path / "whole", shard=1).folder

    def die(done):
        if done == 2:
            raise KeyboardInterrupt

    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        teach([teacher], [texts], folder, shard=1, report=die)
    assert len(list(folder.glob("*.spacy"))) == 2
    # one that is damaged is made again, one that is whole is not
    (folder / "000000.spacy").write_bytes(b"damaged")
    before = (folder / "000001.spacy").stat().st_mtime_ns
    teach([teacher], [texts], folder, shard=1)
    assert (folder / "000001.spacy").stat().st_mtime_ns == before
    for path in whole.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    calls = []
    monkeypatch.setattr(
        "welt_spacy.distillation.teaching.annotate", lambda *a: calls.append(a)
    )
    teach([teacher], [texts], folder, shard=1)
    assert not calls


def test_other_work_is_not_mixed_in(teacher, texts, tmp_path):
    folder = tmp_path / "out"
    teach([teacher], [texts], folder)
    with pytest.raises(WeltError, match="most differ"):
        teach([teacher], [texts], folder, most=3)
    texts.write_text("Another text.\n", "utf8")
    with pytest.raises(WeltError, match="texts differ"):
        teach([teacher], [texts], folder)
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(WeltError, match="is not what"):
        teach([teacher], [texts], folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(WeltError, match="has not written"):
        teach([teacher], [texts], folder)


def test_texts_to_be_scored_on_are_left_out(teacher, texts, tmp_path):
    index = TextIndex()
    index.add("NO patient had nausea .")
    texts.write_text(texts.read_text("utf8") * 2, "utf8")
    taught = teach([teacher], [texts], tmp_path / "out", exclude=index)
    assert taught.counts == {"docs": 3, "excluded": 2, "repeated": 3}
    manifest = json.loads((taught.folder / "manifest.json").read_text())
    assert manifest["counts"] == taught.counts
    for text, _ in TRAIN_DATA:
        index.add(text)
    with pytest.raises(WeltError, match="No text is left"):
        teach([teacher], [texts], tmp_path / "other", exclude=index)


@given(st.integers(0, 10_000))
def test_teachers_of_the_same_labels_are_averaged(seed):
    rng = np.random.default_rng(seed)
    one, other = (softmax(rng.normal(size=(6, 5))) for _ in range(2))
    # the second one has its labels in another order
    swapped = other[:, [0, 3, 4, 1, 2]]
    found = combine([(["A", "B"], one), (["B", "A"], swapped)], ["A", "B"])
    np.testing.assert_allclose(found, (one + other) / 2, atol=1e-6)


def test_teachers_of_different_labels():
    # The first is sure of A, the second sees no B: both agree on A
    a = np.array([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.5, 0.5, 0.0]])
    b = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.5, 0.5, 0.0]])
    labels = union([["A"], ["B"]])
    found = combine([(["A"], a), (["B"], b)], labels)
    # O, B-A, I-A, B-B, I-B: by hand
    expected = np.array(
        [
            [0.09, 0.81, 0, 0.01, 0],
            [0.18, 0.02, 0, 0.72, 0],
            [0.25, 0.25, 0, 0.25, 0],
        ]
    )
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gold_is_completed(teacher, tmp_path):
    """Diseases are gold; the teacher says of chemicals, and is not asked of diseases."""
    doc = teacher.make_doc("Aspirin and N-acetylcysteine were given.")
    doc.set_ents([doc.char_span(34, 39, label="Disease")], default="outside")  # "given"
    set_annotated_labels(doc, ["Disease"])
    other = teacher.make_doc(TRAIN_DATA[0][0])
    path = tmp_path / "gold.spacy"
    DocBin(docs=[doc, other], store_user_data=True).to_disk(path)
    taught = teach([teacher], [path], tmp_path / "out", complete=True)
    one, plain = read(taught.folder, teacher)
    found = [("Aspirin", "Chemical"), ("N-acetylcysteine", "Chemical")]
    assert ents(one) == [*found, ("given", "Disease")]
    probs, labels = get_soft_tags(one)
    assert labels == ["Chemical", "Disease"]
    given = next(token.i for token in one if token.text == "given")
    np.testing.assert_allclose(probs[given], [0, 0, 0, 1, 0], atol=1e-3)
    # nobody thinks of diseases elsewhere
    assert probs[:given, 3:].max() < 1e-3
    # a text without annotation has what the teacher says of all labels
    assert ents(plain) == ents(teacher(plain.text)) != []
    # labels that nobody else has are there too
    set_annotated_labels(doc, ["Disease", "Gene"])
    DocBin(docs=[doc], store_user_data=True).to_disk(path)
    (one,) = read(
        teach([teacher], [path], tmp_path / "more", complete=True).folder, teacher
    )
    assert get_soft_tags(one)[1] == ["Chemical", "Disease", "Gene"]


def test_labels_of_teachers_are_renamed(texts, tmp_path):
    nlp = make_nlp()
    data = [(text, [(a, b, "GENE") for a, b, _ in spans]) for text, spans in TRAIN_DATA]
    train(nlp, make_examples(nlp, data))
    (doc, *_) = read(teach([nlp], [texts], tmp_path / "out").folder, nlp)
    assert {ent.label_ for ent in doc.ents} == {"Gene"}


def test_a_pipeline_without_the_component(texts, tmp_path):
    with pytest.raises(WeltError, match="0 components welt_ner"):
        teach([spacy.blank("en")], [texts], tmp_path / "out")
