"""Soft labels and students."""

import shutil

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import DocBin
from thinc.api import Config

from welt_spacy.errors import WeltError
from welt_spacy.tagging.soft_labels import get_soft_labels
from welt_spacy.tokens.annotated_labels import set_annotated_labels
from welt_spacy.training.config import ConfigSettings, make_config
from welt_spacy.training.distillation import LabelSettings, distill, write_soft_labels
from welt_spacy.training.teacher_outputs import (
    TeacherOutput,
    combine_outputs,
    union_labels,
)
from welt_spacy.util.fingerprint import get_versions

from ..factories import TRAIN_DATA, ents, make_examples, make_nlp, train


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def teacher():
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    return nlp


@pytest.fixture(scope="module")
def teacher_path(teacher, tmp_path_factory):
    path = tmp_path_factory.mktemp("pipelines") / "teacher"
    teacher.to_disk(path)
    return path


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(text for text, _ in TRAIN_DATA) + "\n", "utf8")
    return path


def read(folder, nlp):
    docs = []
    for path in sorted(folder.glob("*.spacy")):
        docs.extend(DocBin().from_disk(path).get_docs(nlp.vocab))
    return docs


def test_soft_labels_are_the_predictions_of_the_teacher(
    teacher, teacher_path, texts, tmp_path
):
    settings = LabelSettings(shard_size=3)
    labels = write_soft_labels([teacher_path], [texts], tmp_path / "out", settings)
    docs = read(labels.folder, teacher)
    assert labels.counts == {"docs": 4, "excluded": 0, "repeated": 0}
    assert len(list(labels.folder.glob("*.spacy"))) == 2
    pipe = teacher.get_pipe("welt_ner")
    for doc, (text, _) in zip(docs, TRAIN_DATA):
        assert doc.text == text
        probs, names = get_soft_labels(doc)
        assert names == list(pipe.labels)
        expected = pipe.predict([teacher.make_doc(text)])[0]
        np.testing.assert_allclose(probs, expected, atol=1e-3)
        # The entities are the teacher's own, for components without soft labels
        assert ents(doc) == ents(teacher(text))


def test_tags_that_are_not_stored_share_the_rest(
    teacher, teacher_path, texts, tmp_path
):
    settings = LabelSettings(max_tags=2)
    labels = write_soft_labels([teacher_path], [texts], tmp_path / "out", settings)
    (doc, *_) = read(labels.folder, teacher)
    probs, _ = get_soft_labels(doc)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    full = teacher.get_pipe("welt_ner").predict([teacher.make_doc(doc.text)])[0]
    top = np.sort(full, axis=1)[:, -2:]
    np.testing.assert_allclose(np.sort(probs, axis=1)[:, -2:], top, atol=1e-3)


SHARDS = LabelSettings(shard_size=1)


def test_work_is_resumed_after_a_kill(teacher_path, texts, tmp_path):
    whole = write_soft_labels(
        [teacher_path], [texts], tmp_path / "whole", SHARDS
    ).folder

    def kill(n_docs):
        if n_docs == 2:
            raise KeyboardInterrupt

    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        write_soft_labels([teacher_path], [texts], folder, SHARDS, report=kill)
    assert len(list(folder.glob("*.spacy"))) == 2
    # A damaged file is written again, an intact one is not
    (folder / "000000.spacy").write_bytes(b"damaged")
    before = (folder / "000001.spacy").stat().st_mtime_ns
    write_soft_labels([teacher_path], [texts], folder, SHARDS)
    assert (folder / "000001.spacy").stat().st_mtime_ns == before
    for path in whole.glob("*.spacy"):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_teachers_are_not_loaded_for_work_that_is_up_to_date(
    teacher_path, texts, tmp_path, monkeypatch
):
    first = write_soft_labels([teacher_path], [texts], tmp_path / "out")
    monkeypatch.delattr("welt_spacy.training.distillation.load_pipeline")
    assert write_soft_labels([teacher_path], [texts], tmp_path / "out") == first


@pytest.mark.parametrize("change", ["texts", "exclude", "settings", "teacher"])
def test_labels_of_other_inputs_are_replaced(teacher_path, texts, tmp_path, change):
    teacher = shutil.copytree(teacher_path, tmp_path / "teacher")
    excluded = tmp_path / "exclude.txt"
    excluded.write_text("Nothing of the texts.\n")
    folder, settings = tmp_path / "out", LabelSettings(shard_size=1)

    def write():
        write_soft_labels([teacher], [texts], folder, settings, exclude=[excluded])
        return {path.name: path.read_bytes() for path in folder.glob("*.spacy")}

    before = write()
    if change == "texts":
        texts.write_text("Aspirin helps.\n", "utf8")
    elif change == "exclude":
        excluded.write_text(TRAIN_DATA[0][0] + "\n")
    elif change == "settings":
        settings = LabelSettings(shard_size=1, max_tags=1)
    else:
        # Retrained at the same version
        nlp = make_nlp()
        train(nlp, make_examples(nlp), steps=1)
        nlp.to_disk(teacher)
    after = write()
    assert after != before
    shutil.rmtree(folder)
    assert write() == after


def test_files_of_others_are_refused(teacher_path, texts, tmp_path):
    # Because a student would read them as soft labels
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.spacy").write_bytes(b"precious")
    with pytest.raises(WeltError, match="mine.spacy: .* did not write this"):
        write_soft_labels([teacher_path], [texts], tmp_path / "out")
    assert (tmp_path / "out" / "mine.spacy").read_bytes() == b"precious"


def test_excluded_texts_are_left_out(teacher_path, texts, tmp_path):
    excluded = tmp_path / "test.txt"
    excluded.write_text("NO patient had nausea .\n")
    texts.write_text(texts.read_text("utf8") * 2, "utf8")
    out = tmp_path / "out"
    labels = write_soft_labels([teacher_path], [texts], out, exclude=[excluded])
    assert labels.counts == {"docs": 3, "excluded": 2, "repeated": 3}
    with pytest.raises(WeltError, match="No text is left"):
        write_soft_labels([teacher_path], [texts], tmp_path / "x", exclude=[texts])


@pytest.fixture
def project(teacher_path, texts, tmp_path):
    """Write gold data and a lexicon, and return a function that trains a student."""
    teacher = shutil.copytree(teacher_path, tmp_path / "teacher")
    nlp = spacy.load(teacher)
    for split in ("train", "dev"):
        docs = [eg.reference for eg in make_examples(nlp)[:2]]
        DocBin(docs=docs).to_disk(tmp_path / f"{split}.spacy")
    (tmp_path / "names.jsonl").write_text(
        '{"label": "Chemical", "pattern": "aspirin"}\n'
    )
    text = make_config(ConfigSettings(encoder="cpu", lexicon=tmp_path / "names.jsonl"))
    config = Config().from_str(text, interpolate=False)
    config["paths"]["train"] = str(tmp_path / "train.spacy")
    config["paths"]["dev"] = str(tmp_path / "dev.spacy")
    config["training"]["max_steps"] = 1

    def run():
        return distill([teacher], [texts], config, tmp_path / "out").is_new

    return run


def test_a_student_that_is_up_to_date_is_not_trained_again(project):
    assert project() and not project()


def change_gold(tmp_path, split):
    nlp = spacy.blank("en")
    docs = [eg.reference for eg in make_examples(nlp)[:3]]
    DocBin(docs=docs).to_disk(tmp_path / f"{split}.spacy")


@pytest.mark.parametrize("name", ["train", "dev", "lexicon", "teacher", "student"])
def test_a_student_follows_every_input(project, tmp_path, name):
    # Files keep their names, and the teacher its version
    assert project()
    if name in ("train", "dev"):
        change_gold(tmp_path, name)
    elif name == "lexicon":
        line = '{"label": "Disease", "pattern": "nausea"}\n'
        (tmp_path / "names.jsonl").write_text(line)
    elif name == "teacher":
        nlp = make_nlp()
        train(nlp, make_examples(nlp), steps=1)
        nlp.to_disk(tmp_path / "teacher")
    else:
        (tmp_path / "out/model-best/welt_ner/model").write_bytes(b"damaged")
    assert project() and not project()


def test_a_student_follows_the_versions_of_packages(project, monkeypatch):
    assert project()
    monkeypatch.setitem(get_versions(), "spacy", "0.0.0")
    assert project()


def test_a_model_of_others_is_not_replaced(project, tmp_path):
    (tmp_path / "out/model-best").mkdir(parents=True)
    with pytest.raises(WeltError, match="model-best: .* did not write this"):
        project()


@given(st.integers(0, 10_000))
def test_teachers_of_the_same_labels_are_averaged(seed):
    rng = np.random.default_rng(seed)
    a, b = (softmax(rng.normal(size=(6, 5))) for _ in range(2))
    # The second teacher has its labels in another order
    outputs = [
        TeacherOutput(["A", "B"], a),
        TeacherOutput(["B", "A"], b[:, [0, 3, 4, 1, 2]]),
    ]
    combined = combine_outputs(outputs, ["A", "B"])
    np.testing.assert_allclose(combined, (a + b) / 2, atol=1e-6)


def test_teachers_of_different_labels_are_multiplied():
    # At the first token, the first teacher predicts A, and the second no B
    a = np.array([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.5, 0.5, 0.0]])
    b = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.5, 0.5, 0.0]])
    labels = union_labels([["A"], ["B"]])
    outputs = [TeacherOutput(["A"], a), TeacherOutput(["B"], b)]
    combined = combine_outputs(outputs, labels)
    # O, B-A, I-A, B-B, I-B
    expected = np.array(
        [
            [0.09, 0.81, 0, 0.01, 0],
            [0.18, 0.02, 0, 0.72, 0],
            [0.25, 0.25, 0, 0.25, 0],
        ]
    )
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(combined, expected, atol=1e-6)


@pytest.fixture
def gold_doc(teacher):
    """Make a document that was annotated for diseases alone, with "given" as one."""
    doc = teacher.make_doc("Aspirin and N-acetylcysteine were given.")
    doc.set_ents([doc.char_span(34, 39, label="Disease")], default="outside")
    set_annotated_labels(doc, ["Disease"])
    return doc


@pytest.fixture
def complete(teacher, teacher_path, tmp_path):
    """Return a function that completes gold annotation by that of the teacher."""

    def complete(*docs):
        path = tmp_path / "gold.spacy"
        DocBin(docs=docs, store_user_data=True).to_disk(path)
        settings = LabelSettings(keep_gold=True)
        labels = write_soft_labels([teacher_path], [path], tmp_path / "out", settings)
        return read(labels.folder, teacher)

    return complete


def test_gold_annotation_is_kept_and_completed(complete, gold_doc):
    (doc,) = complete(gold_doc)
    chemicals = [("Aspirin", "Chemical"), ("N-acetylcysteine", "Chemical")]
    assert ents(doc) == [*chemicals, ("given", "Disease")]
    probs, labels = get_soft_labels(doc)
    assert labels == ["Chemical", "Disease"]
    given = next(token.i for token in doc if token.text == "given")
    np.testing.assert_allclose(probs[given], [0, 0, 0, 1, 0], atol=1e-3)
    # The teacher's diseases elsewhere do not count
    assert probs[:given, 3:].max() < 1e-3


def test_documents_without_annotation_have_all_labels_of_the_teacher(complete, teacher):
    (doc,) = complete(teacher.make_doc(TRAIN_DATA[0][0]))
    assert ents(doc) == ents(teacher(doc.text)) != []


def test_annotated_labels_that_the_teacher_does_not_know(complete, gold_doc):
    set_annotated_labels(gold_doc, ["Disease", "Gene"])
    (doc,) = complete(gold_doc)
    assert get_soft_labels(doc)[1] == ["Chemical", "Disease", "Gene"]


def test_labels_of_teachers_are_renamed(texts, tmp_path):
    nlp = make_nlp()
    data = [(text, [(a, b, "GENE") for a, b, _ in spans]) for text, spans in TRAIN_DATA]
    train(nlp, make_examples(nlp, data))
    nlp.to_disk(tmp_path / "teacher")
    labels = write_soft_labels([tmp_path / "teacher"], [texts], tmp_path / "out")
    (doc, *_) = read(labels.folder, nlp)
    assert {ent.label_ for ent in doc.ents} == {"Gene"}


def test_a_pipeline_without_the_component(texts, tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(WeltError, match="0 components welt_ner"):
        write_soft_labels([tmp_path / "blank"], [texts], tmp_path / "out")
