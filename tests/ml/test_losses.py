"""Losses, compared with torch and with finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinc.api import registry

from welt_spacy.errors import WeltError
from welt_spacy.ml.losses import (
    DistillationLoss,
    WeightedCrossEntropy,
    WeightedFocalLoss,
)

cases = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.integers(2, 7),
    st.sampled_from(["mean", "sum"]),
    st.sampled_from([0.0, 0.1, 0.5]),
)


def draw(seed, n_tokens, n_classes):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(n_tokens, n_classes))
    truths = rng.integers(0, n_classes, size=n_tokens)
    truths[rng.random(n_tokens) < 0.2] = -1
    weights = rng.gamma(1.0, size=n_classes) + 1e-3
    return logits, truths, weights


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def by_torch(make_loss, logits, truths, weights):
    torch = pytest.importorskip("torch")
    x = torch.tensor(logits, requires_grad=True)
    y, w = torch.tensor(truths), torch.tensor(weights)
    loss = make_loss(torch, x, y, w)
    loss.backward()
    return loss.item(), x.grad.numpy()


@given(cases)
@settings(deadline=None)
def test_cross_entropy_equals_torch(case):
    seed, n_tokens, n_classes, reduction, smoothing = case
    logits, truths, weights = draw(seed, n_tokens, n_classes)
    loss = WeightedCrossEntropy(reduction=reduction, label_smoothing=smoothing)
    d, value = loss(softmax(logits), truths, weights)
    if (truths == -1).all():  # torch divides 0 by 0
        assert value == 0.0 and not d.any()
        return
    expected, d_expected = by_torch(
        lambda torch, x, y, w: torch.nn.CrossEntropyLoss(
            weight=w, reduction=reduction, ignore_index=-1, label_smoothing=smoothing
        )(x, y),
        logits,
        truths,
        weights,
    )
    assert value == pytest.approx(expected, rel=1e-6)
    scale = np.abs(d_expected).max()
    np.testing.assert_allclose(d, d_expected, rtol=1e-6, atol=1e-9 * scale)
    assert not d[truths == -1].any()


@given(cases, st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
@settings(deadline=None)
def test_focal_loss_equals_autograd(case, gamma):
    seed, n_tokens, n_classes, reduction, _ = case
    logits, truths, weights = draw(seed, n_tokens, n_classes)
    if (truths == -1).all():
        return
    d, value = WeightedFocalLoss(gamma=gamma, reduction=reduction)(
        softmax(logits), truths, weights
    )

    def focal(torch, x, y, w):
        known = y != -1
        log_p = torch.log_softmax(x, dim=1)[known, y[known]]
        w_y = w[y[known]]
        total = (w_y * (1 - log_p.exp()) ** gamma * -log_p).sum()
        return total / w_y.sum() if reduction == "mean" else total

    expected, d_expected = by_torch(focal, logits, truths, weights)
    assert value == pytest.approx(expected, rel=1e-6)
    scale = np.abs(d_expected).max()
    np.testing.assert_allclose(d, d_expected, rtol=1e-6, atol=1e-9 * scale)


def test_focal_with_gamma_zero_is_cross_entropy():
    logits, truths, weights = draw(1, 20, 5)
    focal = WeightedFocalLoss(gamma=0.0)(softmax(logits), truths, weights)
    plain = WeightedCrossEntropy()(softmax(logits), truths, weights)
    np.testing.assert_allclose(focal[0], plain[0], atol=1e-12)
    assert focal[1] == pytest.approx(plain[1])


@given(cases)
@settings(max_examples=30, deadline=None)
def test_gradient_is_the_slope_of_the_loss(case):
    seed, n_tokens, n_classes, reduction, smoothing = case
    logits, truths, weights = draw(seed, n_tokens, n_classes)
    for loss in (
        WeightedCrossEntropy(reduction=reduction, label_smoothing=smoothing),
        WeightedFocalLoss(gamma=2.0, reduction=reduction),
    ):
        direction = np.random.default_rng(seed).normal(size=logits.shape)
        step = 1e-5
        up = loss.get_loss(softmax(logits + step * direction), truths, weights)
        down = loss.get_loss(softmax(logits - step * direction), truths, weights)
        slope = (loss.get_grad(softmax(logits), truths, weights) * direction).sum()
        assert slope == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-7)


def test_mean_does_not_depend_on_the_scale_of_the_weights():
    logits, truths, weights = draw(3, 20, 5)
    loss = WeightedCrossEntropy(reduction="mean")
    result = loss(softmax(logits), truths, weights)
    scaled = loss(softmax(logits), truths, 1000 * weights)
    np.testing.assert_allclose(result[0], scaled[0])
    assert result[1] == pytest.approx(scaled[1])


def test_float32_stays_float32_and_finite():
    probs = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype="float32")
    truths = np.array([1, 1])
    for loss in (WeightedCrossEntropy(), WeightedFocalLoss()):
        d, value = loss(probs, truths)
        assert d.dtype == "float32" and np.isfinite(d).all() and np.isfinite(value)


def test_no_tokens_no_loss():
    d, value = WeightedCrossEntropy()(
        np.zeros((0, 3), dtype="float32"), np.zeros(0, int)
    )
    assert d.shape == (0, 3) and value == 0.0


def test_losses_are_configured_by_name():
    make = registry.losses.get("welt_spacy.WeightedCrossEntropy.v1")
    assert make(reduction="sum", label_smoothing=0.1).label_smoothing == 0.1
    assert registry.losses.get("welt_spacy.WeightedFocalLoss.v1")(gamma=1.0).gamma == 1


@pytest.mark.parametrize(
    "settings",
    [{"reduction": "max"}, {"label_smoothing": 1.0}, {"label_smoothing": -1}],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        WeightedCrossEntropy(**settings)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="truths"):
        WeightedCrossEntropy()(np.ones((2, 3)), np.array([1]))
    with pytest.raises(ValueError, match="weights"):
        WeightedCrossEntropy()(np.ones((2, 3)), np.array([1, 1]), np.ones(2))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_settings_are_finite(value):
    with pytest.raises(ValueError, match="gamma"):
        WeightedFocalLoss(gamma=value)
    with pytest.raises(ValueError, match="label_smoothing"):
        WeightedCrossEntropy(label_smoothing=value)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.sampled_from([0.5, 1.0, 4.0]))
def test_distillation_loss_equals_torch(seed, n_tokens, temperature):
    rng = np.random.default_rng(seed)
    logits, target = rng.normal(scale=3.0, size=(2, n_tokens, 5))
    loss = DistillationLoss(temperature=temperature)
    d, value = loss(softmax(logits), softmax(target))
    torch = pytest.importorskip("torch")
    x = torch.tensor(logits, requires_grad=True)
    expected = temperature**2 * torch.nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(x / temperature, dim=1),
        torch.softmax(torch.tensor(target) / temperature, dim=1),
    )
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(d, x.grad.numpy(), atol=1e-8)
    assert loss.get_loss(softmax(logits), softmax(target)) == value


CERTAIN = np.array([[1, 0, 0]], dtype="float32")


def test_distillation_loss_of_certain_teachers_is_finite():
    d, value = DistillationLoss(temperature=3.0)(CERTAIN[:, ::-1].copy(), CERTAIN)
    assert np.isfinite(value) and np.isfinite(d).all() and value > 1


def test_distillation_loss_without_tokens():
    empty = np.zeros((0, 3), "float32")
    d, value = DistillationLoss(temperature=3.0)(empty, empty)
    assert value == 0 and d.shape == (0, 3)


def test_mixing_weights_of_gold_and_soft_labels():
    assert DistillationLoss(alpha=0.25).get_mixing_weights(3, 1) == (0.5, 0.5)
    assert DistillationLoss(alpha=1.0).get_mixing_weights(0, 5) == (0.0, 0.0)


@pytest.mark.parametrize(
    "options", [{"alpha": 1.5}, {"temperature": 0}, {"temperature": np.nan}]
)
def test_settings_of_distillation_are_checked(options):
    with pytest.raises(WeltError):
        DistillationLoss(**options)


def test_shapes_of_distillation_are_checked():
    with pytest.raises(ValueError, match="as many truths"):
        DistillationLoss()(CERTAIN, CERTAIN[:, :2])
