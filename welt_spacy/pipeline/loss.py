"""Losses of `welt_ner` and their gradients, computed on the device of the model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Ops
from thinc.types import Floats1d, Floats2d, Ints1d

from ..ml.class_weights import scale_weights
from ..ml.losses import DistillationLoss, MaskedClasses
from ..tagging.gold import gold_tags, unannotated_tags
from ..tagging.soft_labels import SoftTargets, soft_targets
from ..tagging.tags import MISSING, tag_names

TagLoss = Callable[[Floats2d, Ints1d, Floats1d], tuple[Floats2d, float]]


def get_loss_weights(
    labels: Sequence[str], weights: Mapping[str, float], counts: Mapping[str, int]
) -> NDArray[np.float32]:
    """Return the class weights in the order of the tags, shape (2K + 1,), scaled to a mean
    of 1 over the training tokens.
    """
    tags = tag_names(labels)
    return scale_weights(
        np.array([weights.get(tag, 1.0) for tag in tags]),
        np.array([counts.get(tag, 0) for tag in tags]),
    ).astype("float32")


def compute_loss(
    ops: Ops,
    examples: Sequence[Example],
    scores: Sequence[Floats2d],
    *,
    labels: Sequence[str],
    vocab: Vocab,
    weights: NDArray[np.float32],
    loss: TagLoss,
    distillation: DistillationLoss | None,
) -> tuple[float, list[Floats2d]]:
    """Compute the loss of a batch and its gradient with respect to the logits. Tokens of
    documents with soft labels are learned with `distillation`, if it is set, all others
    with `loss`.
    """
    tags = gold_tags(examples, labels, vocab)
    soft = None if distillation is None else soft_targets(examples, labels)
    if soft is not None:
        tags[soft.soft_labelled] = MISSING
    probs: Any = ops.flatten(scores)  # type: ignore[arg-type]
    device_tags = ops.asarray1i(tags)  # type: ignore[arg-type]
    device_weights = ops.asarray1f(weights)  # type: ignore[arg-type]
    gradient, value = _apply_masked(
        ops,
        probs,
        unannotated_tags(examples, labels),
        lambda merged: loss(merged, device_tags, device_weights),
    )
    if soft is not None:
        assert distillation is not None
        n_gold = int((tags != MISSING).sum())
        gradient, value = _add_soft_loss(
            ops, probs, soft, distillation, n_gold, (gradient, value)
        )
    return value, _unflatten(ops, gradient, scores)


def compute_rehearsal_loss(
    ops: Ops, scores: Sequence[Floats2d], targets: Sequence[Floats2d]
) -> tuple[float, list[Floats2d]]:
    """Compute the cross entropy to earlier predictions for the same batch, and its gradient
    with respect to the logits.
    """
    probs, target_probs = ops.flatten(scores), ops.flatten(targets)  # type: ignore[arg-type]
    gradient = (probs - target_probs) / len(probs)
    tiny = ops.xp.finfo(probs.dtype).tiny
    log_probs = ops.xp.log(ops.xp.maximum(probs, tiny))
    value = -(target_probs * log_probs).sum() / len(probs)
    return float(value), _unflatten(ops, gradient, scores)


def _add_soft_loss(
    ops: Ops,
    probs: Floats2d,
    soft: SoftTargets,
    loss: DistillationLoss,
    n_gold: int,
    gold: tuple[Floats2d, float],
) -> tuple[Floats2d, float]:
    gradient, gold_value = gold
    gold_weight, soft_weight = loss.get_mixing_weights(
        n_gold, int(soft.has_target.sum())
    )
    rows: Any = ops.asarray(np.flatnonzero(soft.has_target))  # type: ignore[arg-type]
    targets = ops.asarray2f(soft.probs[soft.has_target])  # type: ignore[arg-type]
    soft_gradient, soft_value = _apply_masked(
        ops,
        probs[rows],
        soft.masked[soft.has_target],
        lambda merged: loss(merged, targets),
    )
    gradient *= gold_weight
    gradient[rows] += soft_weight * soft_gradient
    return gradient, gold_weight * gold_value + soft_weight * soft_value


def _apply_masked(
    ops: Ops,
    probs: Floats2d,
    masked: NDArray[np.bool_] | None,
    loss: Callable[[Floats2d], tuple[Floats2d, float]],
) -> tuple[Floats2d, float]:
    if masked is None or not masked.any():
        return loss(probs)
    classes = MaskedClasses(probs, ops.asarray(masked))  # type: ignore[arg-type]
    gradient, value = loss(classes.merged)
    return classes.unmerge(gradient), value


def _unflatten(ops: Ops, flat: Floats2d, scores: Sequence[Floats2d]) -> list[Floats2d]:
    # The lengths stay on the CPU: reading each from a device would wait for it
    lengths: Any = np.array([len(array) for array in scores], dtype="int32")
    return ops.unflatten(flat, lengths)
