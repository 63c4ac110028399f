"""Corpora that are annotated for a part of the labels: counts, loss and scores."""

import numpy as np
import pytest
from spacy.tokens import DocBin, Span
from spacy.training import Example

from welt_spacy.evaluation.evaluate import evaluate
from welt_spacy.evaluation.tuning.decoding import tune_decoding
from welt_spacy.evaluation.tuning.objective import parse_objective
from welt_spacy.evaluation.tuning.predictions import predict_dev
from welt_spacy.ml.losses import MaskedClasses, WeightedCrossEntropy, WeightedFocalLoss
from welt_spacy.tagging.gold import count_tags
from welt_spacy.tokens.annotated_labels import (
    get_annotated_labels,
    is_annotated,
    set_annotated_labels,
)

from ..factories import TRAIN_DATA, ents, make_examples, make_nlp, train


def part(nlp, label, data=TRAIN_DATA):
    """Create the examples of a corpus that is annotated for one label."""
    examples = make_examples(nlp, data)
    for eg in examples:
        of_label = [ent for ent in eg.reference.ents if ent.label_ == label]
        eg.reference.set_ents(of_label, default="outside")
        set_annotated_labels(eg.reference, [label])
    return examples


def test_annotated_labels_are_saved(tmp_path):
    nlp = make_nlp()
    doc = part(nlp, "Disease")[0].reference
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "a.spacy")
    (read,) = DocBin().from_disk(tmp_path / "a.spacy").get_docs(nlp.vocab)
    assert get_annotated_labels(read) == {"Disease"}
    assert is_annotated(read, "Disease") and not is_annotated(read, "Chemical")
    other = nlp.make_doc("x")
    assert get_annotated_labels(other) is None and is_annotated(other, "Chemical")


def test_counts_are_scaled_to_all_tokens():
    nlp = make_nlp()
    whole = count_tags(make_examples(nlp)).counts
    # Each text occurs once per label, so there are twice as many tokens
    split = count_tags([*part(nlp, "Chemical"), *part(nlp, "Disease")]).counts
    assert split == {tag: 2 * n for tag, n in whole.items()}
    assert count_tags(make_examples(nlp)).counts == whole


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("loss", [WeightedCrossEntropy(), WeightedFocalLoss(gamma=1.5)])
def test_marginal_likelihood_against_torch_and_differences(loss):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 5))
    truths = np.array([0, 0, 1, 0, 2, -1])
    masked = np.zeros((6, 5), dtype=bool)
    masked[[0, 2, 5], 3:] = True
    masked[1, 1:] = True  # All labels are masked
    weights = np.array([0.5, 2.0, 1.0, 1.5, 3.0])

    def value(x):
        merged = MaskedClasses(softmax(x), masked)
        d, loss_value = loss(merged.merged, truths, weights)
        return merged.unmerge(d), loss_value

    d, loss_value = value(logits)
    for i in range(6):
        for k in range(5):
            step = np.zeros_like(logits)
            step[i, k] = 1e-5
            slope = (value(logits + step)[1] - value(logits - step)[1]) / 2e-5
            assert d[i, k] == pytest.approx(slope, abs=1e-7)
    if isinstance(loss, WeightedCrossEntropy):
        torch = pytest.importorskip("torch")
        x = torch.tensor(logits, requires_grad=True)
        log_p = torch.log_softmax(x, dim=1)
        terms, total = [], 0.0
        for i, y in enumerate(truths.tolist()):
            if y < 0:
                continue
            allowed = [y, *np.flatnonzero(masked[i]).tolist()] if y == 0 else [y]
            terms.append(-weights[y] * torch.logsumexp(log_p[i, allowed], dim=0))
            total += weights[y]
        expected = sum(terms) / total
        expected.backward()
        assert loss_value == pytest.approx(expected.item())
        np.testing.assert_allclose(d, x.grad.numpy(), atol=1e-9)
    assert np.abs(d[[1, 5]]).max() < 1e-12


def test_learns_both_labels_from_corpora_of_one_label_each():
    nlp = make_nlp(weighting={"@misc": "welt_spacy.vanilla_weights.v1"})
    # "Aspirin and ..." is not annotated for diseases, so its O tags are not negatives
    diseases = [TRAIN_DATA[i] for i in (0, 2, 3)]
    examples = [*part(nlp, "Chemical"), *part(nlp, "Disease", diseases)]
    train(nlp, examples)
    for text, entities in TRAIN_DATA:
        expected = [(text[a:b], label) for a, b, label in entities]
        assert ents(nlp(text)) == expected


def test_scores_leave_out_labels_that_were_not_annotated():
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    examples = part(nlp, "Disease")
    fresh = [Example(nlp.make_doc(eg.reference.text), eg.reference) for eg in examples]
    scores = nlp.evaluate(fresh)
    assert scores["ents_f"] == 1.0
    assert list(scores["ents_per_type"]) == ["Disease"]
    fresh = [Example(nlp.make_doc(eg.reference.text), eg.reference) for eg in examples]
    evaluation = evaluate(nlp, fresh, score_raw_text=True)
    assert evaluation.strict.f == evaluation.text.strict.f == 1.0
    assert evaluation.predicted == evaluation.gold == 3
    fresh = [Example(nlp.make_doc(eg.reference.text), eg.reference) for eg in examples]
    dev = predict_dev(nlp, fresh)
    outcomes = dev.judge(dev.decode())
    assert len(outcomes.confidences) == 3 and outcomes.right.all()
    assert tune_decoding(dev, parse_objective("f1")).best.f == 1.0
    # A wrong entity of an annotated label counts
    doc = nlp(examples[3].reference.text)
    doc.set_ents([Span(doc, 0, 1, label="Disease"), Span(doc, 1, 2, label="Chemical")])
    scorer = nlp.get_pipe("welt_ner").scorer
    assert scorer([Example(doc, examples[3].reference)])["ents_p"] == 0.0
    assert len(doc.ents) == 2
