"""Cost-sensitive losses for taggers, with the interface of Thinc's losses.

Like all losses of Thinc, they take *probabilities* and return the gradient with respect to
the *logits*: Thinc's softmax layer is the identity in backpropagation. Unlike Thinc's
`CategoricalCrossentropy`, they return the loss itself, not the sum of squared gradients.

All computation runs on the device of the probabilities.
"""

from typing import Any, Literal

from thinc.api import get_array_module
from thinc.loss import Loss
from thinc.types import Floats1d, Floats2d, Ints1d

from ..errors import WeltError, check_number

Reduction = Literal["mean", "sum"]
REDUCTIONS = ("mean", "sum")


class WeightedCrossEntropy(Loss[Floats2d, Ints1d, Floats2d, float]):
    """Cross entropy with a weight for each class.

        sum_i w[y_i] * -log p_i[y_i]  /  sum_i w[y_i]        (reduction "mean")

    It equals `torch.nn.CrossEntropyLoss(weight=w, reduction=...)` in value and
    gradient, label smoothing included; WeLT uses it with "mean" (Mobasher et
    al. 2023, section 3).

    reduction (str): "mean" divides by the sum of the weights of the annotated
        tokens, "sum" does not divide.
    label_smoothing (float): Share of the target probability that is distributed over all
        classes, in [0, 1) (Szegedy et al. 2016).
    missing_value (int): The class of tokens without annotation, which have no loss and no
        gradient.
    RAISES (WeltError): If a setting is out of range.
    """

    def __init__(
        self,
        *,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        missing_value: int = -1,
    ):
        _validate_reduction(reduction)
        check_number("label_smoothing", label_smoothing, low=0, below=1)
        self.reduction = reduction
        self.label_smoothing = label_smoothing
        self.missing_value = missing_value

    def __call__(
        self, guesses: Floats2d, truths: Ints1d, weights: Floats1d | None = None
    ) -> tuple[Floats2d, float]:
        """Compute the gradient and the loss.

        guesses (Floats2d): Shape (N, K): class probabilities, float32 or float64. The
            gradient has the same dtype.
        truths (Ints1d): Shape (N,): class indices, or the missing value.
        weights (Floats1d | None): Shape (K,): class weights, on the same device; all 1 if
            not set.
        RETURNS (tuple[Floats2d, float]): The gradient with respect to the logits, shape
            (N, K), and the loss. Both are 0 if no token is annotated or all weights are 0.
        """
        xp = get_array_module(guesses)
        w, known, y = _prepare(guesses, truths, weights, self.missing_value)
        rows = xp.arange(len(y))
        w_y = xp.where(known, w[y], 0)  # (N,)
        smoothing = self.label_smoothing
        log_p = xp.log(_floored(guesses))
        d = guesses * w_y[:, None]
        d[rows, y] -= w_y
        value = -(w_y * log_p[rows, y]).sum()
        if smoothing > 0.0:
            # As in torch, the smoothed part is weighted class by class
            n_classes = guesses.shape[1]
            spread = (guesses * w.sum() - w) * known[:, None]
            d = (1.0 - smoothing) * d + (smoothing / n_classes) * spread
            spread_value = -((log_p @ w) * known).sum()
            value = (1.0 - smoothing) * value + (smoothing / n_classes) * spread_value
        return _reduce(self.reduction, d, value, w_y)

    def get_grad(
        self, guesses: Floats2d, truths: Ints1d, weights: Floats1d | None = None
    ) -> Floats2d:
        """Compute the gradient with respect to the logits. See `__call__`."""
        return self(guesses, truths, weights)[0]

    def get_loss(
        self, guesses: Floats2d, truths: Ints1d, weights: Floats1d | None = None
    ) -> float:
        """Compute the loss. See `__call__`."""
        return self(guesses, truths, weights)[1]


class WeightedFocalLoss(Loss[Floats2d, Ints1d, Floats2d, float]):
    """Focal loss with a weight for each class (Lin et al. 2017, equation 5).

        sum_i w[y_i] * (1 - p_i[y_i])^gamma * -log p_i[y_i]  /  sum_i w[y_i]

    With gamma = 0 it is `WeightedCrossEntropy`.

    gamma (float): Focusing parameter, at least 0: the higher, the less well-classified
        tokens contribute.
    reduction (str): "mean" divides by the sum of the weights, "sum" does not.
    missing_value (int): The class of tokens without annotation.
    RAISES (WeltError): If a setting is out of range.
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        reduction: Reduction = "mean",
        missing_value: int = -1,
    ):
        _validate_reduction(reduction)
        check_number("gamma", gamma, low=0)
        self.gamma = gamma
        self.reduction = reduction
        self.missing_value = missing_value

    def __call__(
        self, guesses: Floats2d, truths: Ints1d, weights: Floats1d | None = None
    ) -> tuple[Floats2d, float]:
        """Compute the gradient and the loss. See `WeightedCrossEntropy.__call__`."""
        xp = get_array_module(guesses)
        w, known, y = _prepare(guesses, truths, weights, self.missing_value)
        rows = xp.arange(len(y))
        w_y = xp.where(known, w[y], 0)
        p_y = _floored(guesses[rows, y])
        log_p = xp.log(p_y)
        # 1 - p_y is computed as the sum of the other classes, to avoid cancellation near 1
        others = guesses.copy()
        others[rows, y] = 0
        rest = _floored(others.sum(axis=1))
        focus = rest**self.gamma
        value = -(w_y * focus * log_p).sum()
        # d loss / d logit_j = factor * (p_j - [j = y])
        factor = w_y * focus * (1.0 - self.gamma * p_y * log_p / rest)
        d = guesses * factor[:, None]
        d[rows, y] = -rest * factor
        return _reduce(self.reduction, d, value, w_y)

    get_grad = WeightedCrossEntropy.get_grad
    get_loss = WeightedCrossEntropy.get_loss


class DistillationLoss(Loss[Floats2d, Floats2d, Floats2d, float]):
    """Distillation loss on a teacher's probabilities (Hinton et al. 2015), and its weight
    relative to the loss on gold annotation.

        T^2 * KL(teacher^(1/T) || student^(1/T)), mean over the tokens

    p^(1/T), normalized, equals softmax(logits / T). Value and gradient equal T^2 times
    `torch.nn.KLDivLoss(reduction="batchmean")` at temperature T.

    alpha (float): Weight of a token with gold annotation, in [0, 1]. The weight of a token
        with soft labels is 1 - alpha.
    temperature (float): T, above 0.
    RAISES (WeltError): If a setting is out of range.
    """

    def __init__(self, *, alpha: float = 0.5, temperature: float = 1.0):
        check_number("alpha", alpha, low=0, high=1)
        check_number("temperature", temperature, above=0)
        self.alpha = alpha
        self.temperature = temperature

    def __call__(self, guesses: Floats2d, truths: Floats2d) -> tuple[Floats2d, float]:
        """Compute the gradient and the loss.

        guesses (Floats2d): Shape (N, K): the student's probabilities.
        truths (Floats2d): Shape (N, K): the teacher's probabilities, on the same device.
        RETURNS (tuple[Floats2d, float]): The gradient with respect to the student's
            logits, shape (N, K), and the loss; 0 if there are no tokens.
        RAISES (ValueError): If the shapes differ.
        """
        xp = get_array_module(guesses)
        if guesses.shape != truths.shape:
            raise ValueError(
                f"Guesses of shape {guesses.shape} need as many truths, but got "
                f"{truths.shape}"
            )
        T = self.temperature
        q, p = _soften(truths, T), _soften(guesses, T)
        n = max(len(guesses), 1)
        value = (q * (xp.log(_floored(q)) - xp.log(_floored(p)))).sum()
        return (T / n) * (p - q), float(T * T * value / n)

    def get_grad(self, guesses: Floats2d, truths: Floats2d) -> Floats2d:
        """Compute the gradient with respect to the logits. See `__call__`."""
        return self(guesses, truths)[0]

    def get_loss(self, guesses: Floats2d, truths: Floats2d) -> float:
        """Compute the loss. See `__call__`."""
        return self(guesses, truths)[1]

    def get_mixing_weights(self, n_gold: int, n_soft: int) -> tuple[float, float]:
        """Return the weights of the gold loss and the soft loss of a batch, each a mean over
        its tokens. They sum to 1, or are 0 if no token has a weight.
        """
        gold, soft = self.alpha * n_gold, (1 - self.alpha) * n_soft
        total = gold + soft
        return (gold / total, soft / total) if total > 0 else (0.0, 0.0)


class MaskedClasses:
    """Probabilities with masked classes merged into class 0, row by row, because the gold
    class 0 may stand for any of them. A loss on the merged probabilities is the loss on the
    marginal likelihood (Greenberg et al. 2018).

    guesses (Floats2d): Shape (N, K): class probabilities.
    masked (Array2d): Shape (N, K), bool, on the same device: the masked classes, never
        class 0.
    """

    def __init__(self, guesses: Floats2d, masked: Any):
        self.guesses = guesses
        self.masked = masked
        xp = get_array_module(guesses)
        masked_probs = xp.where(masked, guesses, 0)
        self.merged: Any = xp.where(masked, 0, guesses)
        self.merged[:, 0] += masked_probs.sum(axis=1)

    def unmerge(self, d_merged: Floats2d) -> Floats2d:
        """Convert the gradient of the merged classes into that of all classes, in proportion
        to their probabilities. Both have shape (N, K).
        """
        xp = get_array_module(d_merged)
        share = self.guesses / _floored(self.merged[:, :1])
        shared = share * d_merged[:, :1]
        d = xp.where(self.masked, shared, d_merged)
        d[:, 0] = shared[:, 0]
        return d


def configure_WeightedCrossEntropy(
    *,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    missing_value: int = -1,
) -> WeightedCrossEntropy:
    """Create the loss `welt_spacy.WeightedCrossEntropy.v1`.

    reduction (str): "mean" divides by the sum of the weights of the annotated tokens,
        "sum" does not divide.
    label_smoothing (float): Share of the target probability that is distributed over all
        classes, in [0, 1).
    missing_value (int): The class of tokens without annotation.
    RETURNS (WeightedCrossEntropy): The loss.
    RAISES (WeltError): If a setting is out of range.
    """
    return WeightedCrossEntropy(
        reduction=reduction,
        label_smoothing=label_smoothing,
        missing_value=missing_value,
    )


def configure_WeightedFocalLoss(
    *, gamma: float = 2.0, reduction: Reduction = "mean", missing_value: int = -1
) -> WeightedFocalLoss:
    """Create the loss `welt_spacy.WeightedFocalLoss.v1`.

    gamma (float): Focusing parameter, at least 0.
    reduction (str): "mean" divides by the sum of the weights of the annotated tokens,
        "sum" does not divide.
    missing_value (int): The class of tokens without annotation.
    RETURNS (WeightedFocalLoss): The loss.
    RAISES (WeltError): If a setting is out of range.
    """
    return WeightedFocalLoss(
        gamma=gamma, reduction=reduction, missing_value=missing_value
    )


def configure_DistillationLoss(
    *, alpha: float = 0.5, temperature: float = 1.0
) -> DistillationLoss:
    """Create the loss `welt_spacy.DistillationLoss.v1`.

    alpha (float): Weight of a token with gold annotation, in [0, 1]. The weight of a token
        with soft labels is 1 - alpha.
    temperature (float): Temperature of both distributions, above 0.
    RETURNS (DistillationLoss): The loss.
    RAISES (WeltError): If a setting is out of range.
    """
    return DistillationLoss(alpha=alpha, temperature=temperature)


def _validate_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise WeltError(
            f"reduction: {reduction!r} is unknown. Use one of {', '.join(REDUCTIONS)}."
        )


def _prepare(
    guesses: Floats2d,
    truths: Ints1d,
    weights: Floats1d | None,
    missing_value: int,
) -> tuple[Any, Any, Any]:
    xp = get_array_module(guesses)
    truths = xp.asarray(truths)
    if guesses.ndim != 2 or truths.shape != guesses.shape[:1]:
        raise ValueError(
            f"Guesses of shape {guesses.shape} need {guesses.shape[:1]} truths, "
            f"but got {truths.shape}"
        )
    if weights is None:
        weights = xp.ones((guesses.shape[1],), dtype=guesses.dtype)
    weights = xp.asarray(weights, dtype=guesses.dtype)
    if weights.shape != guesses.shape[1:]:
        raise ValueError(
            f"Guesses of shape {guesses.shape} need {guesses.shape[1:]} weights, "
            f"but got {weights.shape}"
        )
    known = truths != missing_value
    return weights, known, xp.where(known, truths, 0)


def _soften(probs: Any, temperature: float) -> Any:
    if temperature == 1.0:
        return probs
    # Relative to the largest, so that the powers of a row do not all underflow
    largest = probs.max(axis=1, keepdims=True) if len(probs) else 1.0
    powers = (_floored(probs) / largest) ** (1.0 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def _floored(probs: Any) -> Any:
    # Softmax in float32 underflows to 0 about 103 below the largest logit.
    xp = get_array_module(probs)
    return xp.maximum(probs, xp.finfo(probs.dtype).tiny)


def _reduce(
    reduction: str, d: Floats2d, value: Any, w_y: Any
) -> tuple[Floats2d, float]:
    value = float(value)
    if reduction == "mean":
        total = float(w_y.sum())
        if total > 0.0:
            return d / total, value / total
    return d, value
