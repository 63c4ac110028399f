"""Weighting schemes: tag counts of the training corpus to class weights.

A scheme gets the number n_x of training tokens of each tag, and returns a weight for each
tag as defined in its paper. `scale_weights` scales them to a mean of 1 over the training
tokens, so that schemes can be compared at one learning rate.

WeLT: Mobasher et al. (2023), BioNLP, equations 1 and 2. INS, ISNS: the usual
inverse (square root of the) number of samples. ENS: Cui et al. (2019), CVPR,
"Class-Balanced Loss Based on Effective Number of Samples".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..errors import WeltError, check_number

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weighting:
    """A weighting scheme with its settings.

    name (str): The name of the scheme, e.g. "welt".
    function (Callable): (K,) float64 counts, all at least 1 -> (K,) weights.
    settings (dict[str, float]): The settings, for messages and records.
    needs_counts (bool): Whether the weights depend on the counts.
    """

    name: str
    function: Callable[[Floats], Floats]
    settings: dict[str, float] = field(default_factory=dict)
    needs_counts: bool = True

    def __call__(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Compute the weights."""
        n = _as_counts(counts, needed=self.needs_counts)
        with np.errstate(
            all="ignore"
        ):  # `_check_weights` raises for weights that are not finite
            weights = self.function(n)
        return _check_weights(dict(zip(counts, weights.tolist())), str(self))

    def __str__(self) -> str:
        settings = ", ".join(f"{k}={v:g}" for k, v in self.settings.items())
        return f"{self.name}({settings})" if settings else self.name


@dataclass(frozen=True)
class ExplicitWeighting:
    """Weights given by the user, by tag or by label.

    weights (dict[str, float]): The weights. A label stands for both of its tags: "PERSON"
        for "B-PERSON" and "I-PERSON".
    default (float): The weight of all other tags.
    """

    weights: dict[str, float]
    default: float = 1.0
    needs_counts: bool = False
    name: str = "explicit"

    def __call__(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Compute the weights. See `Weighting.__call__`."""
        labels = {tag[2:] for tag in counts if tag != "O"}
        for name in self.weights:
            if name not in counts and name not in labels:
                raise WeltError(
                    f"explicit weights: {name!r} is not a tag or label of this corpus. Use "
                    f"one of {', '.join([*counts, *sorted(labels)])}."
                )
        weights = {
            tag: float(self.weights.get(tag, self.weights.get(tag[2:], self.default)))
            for tag in counts
        }
        return _check_weights(weights, str(self))

    def __str__(self) -> str:
        return f"explicit({', '.join(f'{k}={v:g}' for k, v in self.weights.items())})"


def vanilla() -> Weighting:
    """Create the scheme `welt_spacy.vanilla_weights.v1`: all weights are 1.

    RETURNS (Weighting): The scheme.
    """
    return Weighting("vanilla", np.ones_like, needs_counts=False)


def ins() -> Weighting:
    """Create the scheme `welt_spacy.ins_weights.v1`: inverse number of samples, w = 1 / n.

    RETURNS (Weighting): The scheme.
    """
    return Weighting("ins", partial(_power, alpha=1.0))


def isns() -> Weighting:
    """Create the scheme `welt_spacy.isns_weights.v1`: inverse square root of the number of
    samples, w = 1 / sqrt(n).

    RETURNS (Weighting): The scheme.
    """
    return Weighting("isns", partial(_power, alpha=0.5))


def power(alpha: float = 0.25) -> Weighting:
    """Create the scheme `welt_spacy.power_weights.v1`: w = n^-alpha, which is vanilla for 0,
    ISNS for 0.5 and INS for 1.

    alpha (float): The exponent.
    RETURNS (Weighting): The scheme.
    RAISES (WeltError): If the exponent is not finite.
    """
    check_number("alpha", alpha)
    return Weighting("power", partial(_power, alpha=alpha), {"alpha": alpha})


def ens(beta: float = 0.9999) -> Weighting:
    """Create the scheme `welt_spacy.ens_weights.v1`: effective number of samples,
    w = (1 - beta) / (1 - beta^n).

    For beta <= 0.9 and counts in the thousands, beta^n is 0 in floating point, so all tags
    have the same weight.

    beta (float): In [0, 1). Only values near 1 - 1/N lead to different weights.
    RETURNS (Weighting): The scheme.
    RAISES (WeltError): If beta is outside [0, 1).
    """
    check_number("beta", beta, low=0, below=1)
    return Weighting("ens", partial(_ens, beta=beta), {"beta": beta})


def welt(temperature: float = 1.0) -> Weighting:
    """Create the scheme `welt_spacy.welt_weights.v1`:
    w = softmax((1 - n_x / N) / temperature), where N is the number of tokens.

    At the paper's temperature of 1, the ratio of two weights is at most e.

    temperature (float): Above 0. Lower values lead to larger differences of weights.
    RETURNS (Weighting): The scheme.
    RAISES (WeltError): If the temperature is not finite and above 0.
    """
    check_number("temperature", temperature, above=0)
    return Weighting(
        "welt", partial(_welt, temperature=temperature), {"temperature": temperature}
    )


def explicit(weights: dict[str, float], default: float = 1.0) -> ExplicitWeighting:
    """Create the scheme `welt_spacy.explicit_weights.v1`: weights given by the user.

    weights (dict[str, float]): The weight of a tag or label, finite and at least 0.
    default (float): The weight of all other tags.
    RETURNS (ExplicitWeighting): The scheme.
    RAISES (WeltError): If a weight is negative or not finite.
    """
    for name, weight in weights.items():
        check_number(f"explicit weight of {name!r}", weight, low=0)
    check_number("default of explicit weights", default, low=0)
    return ExplicitWeighting(dict(weights), default)


SCHEMES: dict[str, Callable[..., Callable[[Mapping[str, int]], dict[str, float]]]] = {
    "vanilla": vanilla,
    "ins": ins,
    "isns": isns,
    "ens": ens,
    "welt": welt,
    "power": power,
    "explicit": explicit,
}


def scale_weights(weights: Floats, counts: Floats) -> Floats:
    """Scale weights, shape (K,), to a mean of 1 over the training tokens: sum_x n_x w_x /
    sum_x n_x = 1. They are returned unchanged if the mean is 0.
    """
    weights = np.asarray(weights, dtype="float64")
    counts = np.asarray(counts, dtype="float64")
    total = float(counts @ weights)
    return weights * (counts.sum() / total) if total > 0 else weights


def _as_counts(counts: Mapping[str, int], *, needed: bool) -> Floats:
    n = np.array(list(counts.values()), dtype="float64")
    if needed and (not len(n) or not n.sum() > 0 or not (n >= 0).all()):
        raise WeltError(
            "class weights: the tag counts of a training corpus are needed, not "
            f"{dict(counts)}"
        )
    return np.maximum(n, 1.0)


def _check_weights(weights: dict[str, float], scheme: str) -> dict[str, float]:
    values = np.array(list(weights.values()))
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        pairs = ", ".join(f"{tag} {weight:g}" for tag, weight in weights.items())
        raise WeltError(
            f"{scheme}: the class weights {pairs} must be finite, at least 0 and not all "
            "0. Change its settings."
        )
    return weights


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
