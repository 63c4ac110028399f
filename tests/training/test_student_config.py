"""Configs of students, and the loss on soft labels."""

import numpy as np
import pytest
from spacy.tokens import DocBin
from spacy.training import Corpus, Example
from spacy.util import load_model_from_config, registry
from thinc.api import Config

from welt_spacy.errors import WeltError
from welt_spacy.ml.losses import DistillationLoss
from welt_spacy.tagging.soft_labels import set_soft_labels
from welt_spacy.training.config import ConfigSettings, make_config
from welt_spacy.training.distillation import write_soft_labels
from welt_spacy.training.readers import JoinedCorpora, create_joined_corpora
from welt_spacy.training.student_config import StudentSettings, student_config

from ..factories import TRAIN_DATA, ents, make_examples, make_nlp, train

SOFT = {"@losses": "welt_spacy.DistillationLoss.v1", "alpha": 0.5, "temperature": 2.0}


@pytest.fixture(scope="module")
def teacher():
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    return nlp


def make_config_for(tmp_path, **settings):
    config = Config().from_str(
        make_config(ConfigSettings(encoder="cpu")), interpolate=False
    )
    return student_config(config, tmp_path / "soft_labels", StudentSettings(**settings))


def test_a_student_reads_gold_and_soft_labels(teacher, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(text for text, _ in TRAIN_DATA), "utf8")
    teacher.to_disk(tmp_path / "teacher")
    write_soft_labels([tmp_path / "teacher"], [texts], tmp_path / "soft_labels")
    gold = tmp_path / "gold.spacy"
    DocBin(docs=[eg.reference for eg in make_examples(teacher)[:1]]).to_disk(gold)
    config = make_config_for(tmp_path, gold_epochs=3, alpha=0.3, temperature=2.0)
    path = tmp_path / "config.cfg"
    config.to_disk(path)
    read = Config().from_disk(path, overrides={"paths.train": str(gold)})
    nlp = load_model_from_config(read, auto_fill=True)
    loss = nlp.get_pipe("welt_ner").distillation
    assert (loss.alpha, loss.temperature) == (0.3, 2.0)
    resolved = registry.resolve({"train": nlp.config.interpolate()["corpora"]["train"]})
    reader = resolved["train"]
    assert isinstance(reader, JoinedCorpora) and reader.repeats == [3, 1]
    examples = list(reader(nlp))
    assert len(examples) == 3 + 4
    nlp.initialize(lambda: reader(nlp))
    # Class weights are those of the gold annotation alone
    counts = nlp.get_pipe("welt_ner").class_counts
    assert sum(counts.values()) == 3 * len(examples[0].reference)
    assert np.isfinite(nlp.update(examples)["welt_ner"])


def test_hard_labels_and_no_gold(tmp_path):
    hard = make_config_for(tmp_path, hard_labels=True)
    assert hard["components"]["welt_ner"]["distillation"] is None
    alone = make_config_for(tmp_path, gold_epochs=0)
    assert list(alone["corpora"]["train"]["*"]) == ["soft_labels"]


def test_configs_without_welt_ner_or_gold_corpus(tmp_path):
    with pytest.raises(WeltError, match="0 components welt_ner"):
        student_config(Config({"components": {}}), tmp_path)
    block = {"components": {"x": {"factory": "welt_ner"}}, "corpora": {}}
    with pytest.raises(WeltError, match="gold corpus"):
        student_config(Config(block), tmp_path)


def test_wrong_settings():
    with pytest.raises(WeltError, match="alpha is 2"):
        StudentSettings(alpha=2)


def test_wrong_numbers_of_corpora():
    with pytest.raises(WeltError, match="no corpus"):
        create_joined_corpora()
    with pytest.raises(WeltError, match="1 corpora and 2 repeats"):
        create_joined_corpora(Corpus("x"), repeats=[1, 2])


def test_loss_of_a_mixed_batch(teacher):
    # Gold tokens weigh alpha, tokens with soft labels the rest
    nlp = make_nlp(distillation=SOFT, weighting={"@misc": "welt_spacy.ins_weights.v1"})
    gold, labelled = make_examples(nlp, TRAIN_DATA[:2])
    nlp.initialize(lambda: make_examples(nlp))
    pipe = nlp.get_pipe("welt_ner")
    target = teacher.get_pipe("welt_ner").predict([labelled.reference])[0]
    set_soft_labels(labelled.reference, target, pipe.labels, max_tags=99)
    scores, _ = pipe.model.begin_update([gold.predicted, labelled.predicted])
    loss, d = pipe.get_loss([gold, labelled], scores)
    gold_loss, d_gold = pipe.get_loss([gold], scores[:1])
    d_soft, soft_loss = pipe.distillation(scores[1], target)
    n, m = len(gold.predicted), len(labelled.predicted)
    assert loss == pytest.approx((n * gold_loss + m * soft_loss) / (n + m), rel=1e-2)
    np.testing.assert_allclose(d[0], d_gold[0] * n / (n + m), atol=1e-6)
    np.testing.assert_allclose(d[1], d_soft * m / (n + m), atol=1e-3)
    # without the setting, the doc's own entities are learned
    pipe.distillation = None
    assert pipe.get_loss([gold, labelled], scores)[0] != pytest.approx(loss)


def test_different_tokens_of_teacher_and_student(teacher):
    nlp = make_nlp(distillation=SOFT)
    (eg, *_) = make_examples(nlp)
    nlp.initialize(lambda: make_examples(nlp))
    words = ["Selegiline-induced"] + [t.text for t in eg.reference[3:]]
    other = Example(
        nlp.tokenizer(eg.reference.text), type(eg.reference)(nlp.vocab, words=words)
    )
    probs = np.full((len(words), 5), 0.2, dtype="float32")
    set_soft_labels(other.reference, probs, ["Chemical", "Disease"])
    scores, _ = nlp.get_pipe("welt_ner").model.begin_update([other.predicted])
    _, d = nlp.get_pipe("welt_ner").get_loss([other], scores)
    assert not d[0][:3].any() and d[0][3:].any(axis=1).all()


@pytest.mark.parametrize("n_soft, expected", [(2, "gold"), (4, "all")])
def test_initialize_reads_the_corpus_once_and_counts_gold_annotation(n_soft, expected):
    nlp = make_nlp(distillation=SOFT)
    examples = make_examples(nlp)
    for eg in examples[:n_soft]:
        probs = np.full((len(eg.reference), 5), 0.2)
        set_soft_labels(eg.reference, probs, ["Chemical", "Disease"])
    read = []

    def get_examples():
        for eg in examples * 10:
            read.append(eg)
            yield eg

    pipe = nlp.get_pipe("welt_ner")
    pipe.add_label("Chemical")
    pipe.initialize(get_examples, nlp=nlp)
    counted = examples[n_soft:] if expected == "gold" else examples
    n_tokens = sum(len(eg.reference) for eg in counted)
    assert sum(pipe.class_counts.values()) == 10 * n_tokens
    assert len(read) == 10 * len(examples)


def test_student_learns_from_soft_labels_alone(teacher):
    nlp = make_nlp(distillation=SOFT)
    examples = make_examples(nlp)
    pipe = teacher.get_pipe("welt_ner")
    for eg in examples:
        eg.reference.set_ents([])
        set_soft_labels(eg.reference, pipe.predict([eg.reference])[0], pipe.labels)
    nlp.get_pipe("welt_ner").add_label("Chemical")
    nlp.get_pipe("welt_ner").add_label("Disease")
    train(nlp, examples)
    for text, _ in TRAIN_DATA:
        assert ents(nlp(text)) == ents(teacher(text))


def test_labels_that_the_teacher_does_not_know():
    # The teacher knows Disease and Gene; the student knows Chemical and Disease
    nlp = make_nlp(distillation=SOFT)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("welt_ner")
    doc = examples[2].reference
    # O, B-Disease, I-Disease, B-Gene, I-Gene
    probs = np.tile(np.array([[0.2, 0.5, 0.0, 0.3, 0.0]], "float32"), (len(doc), 1))
    set_soft_labels(doc, probs, ["Disease", "Gene"])
    scores, _ = pipe.model.begin_update([examples[2].predicted])
    loss, d = pipe.get_loss(examples[2:3], scores)
    # O or a chemical; B-Disease; I-Disease: genes are outside for the student
    merged = np.stack([scores[0][:, :3].sum(axis=1), *scores[0].T[3:]], axis=1)
    target = np.tile(np.array([[0.5, 0.5, 0.0]], "float32"), (len(doc), 1))
    expected = DistillationLoss(temperature=2.0)(merged, target)[1]
    assert loss == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(d[0].sum(axis=1), 0, atol=1e-5)


def test_soft_labels_of_another_document():
    nlp = make_nlp(distillation=SOFT)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    set_soft_labels(
        examples[0].reference, np.full((2, 5), 0.2), ["Chemical", "Disease"]
    )
    with pytest.raises(WeltError, match="do not belong"):
        nlp.update(examples)
