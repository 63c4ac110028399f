"""Class counts in, class weights out: every scheme is a registered function.

A scheme gets the tag counts n_x of the training split, counted in words, and
returns a weight for each tag. The weights are the scheme's own, as in its
paper; `scale_weights` brings them to a mean of 1 over the training tokens, so
that schemes can be compared at one learning rate whatever the loss divides by.

WeLT: Mobasher et al. (2023), BioNLP, equations 1 and 2. INS, ISNS: the usual
inverse (square root of the) number of samples. ENS: Cui et al. (2019), CVPR,
"Class-Balanced Loss Based on Effective Number of Samples".
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Callable, Dict, Mapping

import numpy as np
from numpy.typing import NDArray

from .errors import WeltError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weighting:
    """A weighting scheme with its settings.

    name (str): What the scheme is called, e.g. "welt".
    function (Callable): (K,) float64 counts, all at least 1 -> (K,) weights.
    settings (Dict[str, float]): The settings, for show.
    needs_counts (bool): Whether the weights depend on the counts.
    """

    name: str
    function: Callable[[Floats], Floats]
    settings: Dict[str, float] = field(default_factory=dict)
    needs_counts: bool = True

    def __call__(self, counts: Mapping[str, int]) -> Dict[str, float]:
        """Weigh the tags.

        counts (Mapping[str, int]): Tokens of the training split for each tag.
            A tag that never occurs counts as if it occurred once.
        RETURNS (Dict[str, float]): A weight for each tag, in the same order.
        RAISES (WeltError): If there is nothing to count.
        """
        n = _as_counts(counts)
        return dict(zip(counts, self.function(n).tolist()))

    def __str__(self) -> str:
        settings = ", ".join(f"{k}={v:g}" for k, v in self.settings.items())
        return f"{self.name}({settings})" if settings else self.name


@dataclass(frozen=True)
class ExplicitWeighting:
    """Weights that the user gives, tag by tag.

    weights (Dict[str, float]): The weights. A name without a prefix stands for
        both tags of a label: "PERSON" for "B-PERSON" and "I-PERSON".
    default (float): The weight of every tag that is not named.
    """

    weights: Dict[str, float]
    default: float = 1.0
    needs_counts: bool = False
    name: str = "explicit"

    def __call__(self, counts: Mapping[str, int]) -> Dict[str, float]:
        """Weigh the tags. See `Weighting.__call__`.

        RAISES (WeltError): If a name is neither a tag nor a label.
        """
        labels = {tag[2:] for tag in counts if tag != "O"}
        for name, weight in self.weights.items():
            if name not in counts and name not in labels:
                raise WeltError(
                    f"explicit weights name {name!r}, which is no tag or label of "
                    f"this corpus: use one of {', '.join([*counts, *sorted(labels)])}"
                )
            if not np.isfinite(weight) or weight < 0:
                raise WeltError(
                    f"explicit weight of {name!r} is {weight}: weights are finite "
                    "and not below 0"
                )
        return {
            tag: float(self.weights.get(tag, self.weights.get(tag[2:], self.default)))
            for tag in counts
        }

    def __str__(self) -> str:
        return f"explicit({', '.join(f'{k}={v:g}' for k, v in self.weights.items())})"


def vanilla() -> Weighting:
    """Every tag weighs 1: plain cross entropy."""
    return Weighting("vanilla", np.ones_like, needs_counts=False)


def ins() -> Weighting:
    """Inverse number of samples: w = 1 / n."""
    return Weighting("ins", partial(_power, alpha=1.0))


def isns() -> Weighting:
    """Inverse square root of the number of samples: w = 1 / sqrt(n)."""
    return Weighting("isns", partial(_power, alpha=0.5))


def power(alpha: float = 0.25) -> Weighting:
    """The family w = n^-alpha: 0 is vanilla, 0.5 is ISNS, 1 is INS.

    alpha (float): The exponent.
    """
    return Weighting("power", partial(_power, alpha=alpha), {"alpha": alpha})


def ens(beta: float = 0.9999) -> Weighting:
    """Effective number of samples: w = (1 - beta) / (1 - beta^n).

    For beta <= 0.9 and counts in the thousands beta^n is zero in floating
    point: every tag weighs the same and ENS is vanilla.

    beta (float): In [0, 1). Values that tell classes apart are near 1 - 1/N.
    RAISES (WeltError): If beta is outside [0, 1).
    """
    if not 0.0 <= beta < 1.0:
        raise WeltError(f"ENS needs 0 <= beta < 1, not beta = {beta}")
    return Weighting("ens", partial(_ens, beta=beta), {"beta": beta})


def welt(temperature: float = 1.0) -> Weighting:
    """WeLT: w = softmax((1 - n_x / N) / temperature), N the number of tokens.

    At the paper's temperature of 1 no tag weighs more than e times another.

    temperature (float): Above 0; below 1 sharpens, above 1 flattens.
    RAISES (WeltError): If the temperature is not above 0.
    """
    if not temperature > 0.0:
        raise WeltError(f"WeLT needs a temperature above 0, not {temperature}")
    return Weighting(
        "welt", partial(_welt, temperature=temperature), {"temperature": temperature}
    )


def explicit(weights: Dict[str, float], default: float = 1.0) -> ExplicitWeighting:
    """Weights given tag by tag, or label by label.

    weights (Dict[str, float]): Tag or label -> weight.
    default (float): The weight of every tag that is not named.
    """
    return ExplicitWeighting(dict(weights), default)


SCHEMES: Dict[str, Callable[..., Callable[[Mapping[str, int]], Dict[str, float]]]] = {
    "vanilla": vanilla,
    "ins": ins,
    "isns": isns,
    "ens": ens,
    "welt": welt,
    "power": power,
    "explicit": explicit,
}


def scale_weights(weights: Floats, counts: Floats) -> Floats:
    """Scale weights so that their mean over the training tokens is 1:
    sum_x n_x w_x / sum_x n_x = 1.

    weights (ndarray): Shape (K,).
    counts (ndarray): Shape (K,).
    RETURNS (ndarray): Shape (K,); unchanged where the mean is 0 or unknown.
    """
    weights = np.asarray(weights, dtype="float64")
    counts = np.asarray(counts, dtype="float64")
    total = float(counts @ weights)
    return weights * (counts.sum() / total) if total > 0 else weights


def _as_counts(counts: Mapping[str, int]) -> Floats:
    n = np.array(list(counts.values()), dtype="float64")
    if not len(n) or n.sum() <= 0 or (n < 0).any():
        raise WeltError(
            f"class weights need the tag counts of a training corpus, not {dict(counts)}"
        )
    return np.maximum(n, 1.0)


def _power(n: Floats, *, alpha: float) -> Floats:
    return n**-alpha


def _ens(n: Floats, *, beta: float) -> Floats:
    if beta == 0.0:
        return np.ones_like(n)
    # 1 - beta^n, without cancellation for beta near 1
    return (1.0 - beta) / -np.expm1(n * np.log(beta))


def _welt(n: Floats, *, temperature: float) -> Floats:
    exponents = (1.0 - n / n.sum()) / temperature
    exponents = np.exp(exponents - exponents.max())
    return exponents / exponents.sum()
