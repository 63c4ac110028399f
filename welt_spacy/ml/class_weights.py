"""Class counts in, class weights out: every scheme is a registered function.

A scheme gets the tag counts n_x of the training split, counted in words, and
returns a weight for each tag. The weights are the scheme's own, as in its
paper; `scale_weights` brings them to a mean of 1 over the training tokens, so
that schemes can be compared at one learning rate whatever the loss divides by.

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

    name (str): What the scheme is called, e.g. "welt".
    function (Callable): (K,) float64 counts, all at least 1 -> (K,) weights.
    settings (dict[str, float]): The settings, for show.
    needs_counts (bool): Whether the weights depend on the counts.
    """

    name: str
    function: Callable[[Floats], Floats]
    settings: dict[str, float] = field(default_factory=dict)
    needs_counts: bool = True

    def __call__(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Weigh the tags.

        counts (Mapping[str, int]): Tokens of the training split for each tag.
            A tag that never occurs counts as if it occurred once.
        RETURNS (dict[str, float]): A weight for each tag, in the same order.
        RAISES (WeltError): If the counts are needed and there is nothing to count, or
            a weight is not finite.
        """
        n = _as_counts(counts, needed=self.needs_counts)
        with np.errstate(all="ignore"):  # what is not finite is an error right below
            weights = self.function(n)
        return _checked(dict(zip(counts, weights.tolist())), str(self))

    def __str__(self) -> str:
        settings = ", ".join(f"{k}={v:g}" for k, v in self.settings.items())
        return f"{self.name}({settings})" if settings else self.name


@dataclass(frozen=True)
class ExplicitWeighting:
    """Weights that the user gives, tag by tag.

    weights (dict[str, float]): The weights. A name without a prefix stands for
        both tags of a label: "PERSON" for "B-PERSON" and "I-PERSON".
    default (float): The weight of every tag that is not named.
    """

    weights: dict[str, float]
    default: float = 1.0
    needs_counts: bool = False
    name: str = "explicit"

    def __call__(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Weigh the tags. See `Weighting.__call__`.

        RAISES (WeltError): If a name is neither a tag nor a label, a weight is below
            0 or not finite, or all of them are 0.
        """
        labels = {tag[2:] for tag in counts if tag != "O"}
        for name in self.weights:
            if name not in counts and name not in labels:
                raise WeltError(
                    f"explicit weights name {name!r}, which is not a tag or label of "
                    f"this corpus: use one of {', '.join([*counts, *sorted(labels)])}"
                )
        weights = {
            tag: float(self.weights.get(tag, self.weights.get(tag[2:], self.default)))
            for tag in counts
        }
        return _checked(weights, str(self))

    def __str__(self) -> str:
        return f"explicit({', '.join(f'{k}={v:g}' for k, v in self.weights.items())})"


def vanilla() -> Weighting:
    """Every tag weighs 1: plain cross entropy.

    Registered as `welt_spacy.vanilla_weights.v1` in `@misc`.

    RETURNS (Weighting): The scheme.
    """
    return Weighting("vanilla", np.ones_like, needs_counts=False)


def ins() -> Weighting:
    """Inverse number of samples: w = 1 / n.

    Registered as `welt_spacy.ins_weights.v1` in `@misc`.

    RETURNS (Weighting): The scheme.
    """
    return Weighting("ins", partial(_power, alpha=1.0))


def isns() -> Weighting:
    """Inverse square root of the number of samples: w = 1 / sqrt(n).

    Registered as `welt_spacy.isns_weights.v1` in `@misc`.

    RETURNS (Weighting): The scheme.
    """
    return Weighting("isns", partial(_power, alpha=0.5))


def power(alpha: float = 0.25) -> Weighting:
    """The family w = n^-alpha: 0 is vanilla, 0.5 is ISNS, 1 is INS.

    Registered as `welt_spacy.power_weights.v1` in `@misc`.

    alpha (float): The exponent, finite.
    RETURNS (Weighting): The scheme.
    RAISES (WeltError): If it is not finite.
    """
    check_number("alpha", alpha)
    return Weighting("power", partial(_power, alpha=alpha), {"alpha": alpha})


def ens(beta: float = 0.9999) -> Weighting:
    """Effective number of samples: w = (1 - beta) / (1 - beta^n).

    Registered as `welt_spacy.ens_weights.v1` in `@misc`.

    For beta <= 0.9 and counts in the thousands beta^n is zero in floating
    point: every tag weighs the same and ENS is vanilla.

    beta (float): In [0, 1). Values that tell classes apart are near 1 - 1/N.
    RETURNS (Weighting): The scheme.
    RAISES (WeltError): If beta is outside [0, 1).
    """
    check_number("beta", beta, low=0, below=1)
    return Weighting("ens", partial(_ens, beta=beta), {"beta": beta})


def welt(temperature: float = 1.0) -> Weighting:
    """WeLT: w = softmax((1 - n_x / N) / temperature), N the number of tokens.

    Registered as `welt_spacy.welt_weights.v1` in `@misc`.

    At the paper's temperature of 1 no tag weighs more than e times another.

    temperature (float): Above 0; below 1 sharpens, above 1 flattens.
    RETURNS (Weighting): The scheme.
    RAISES (WeltError): If the temperature is not finite and above 0.
    """
    check_number("temperature", temperature, above=0)
    return Weighting(
        "welt", partial(_welt, temperature=temperature), {"temperature": temperature}
    )


def explicit(weights: dict[str, float], default: float = 1.0) -> ExplicitWeighting:
    """Weights given tag by tag, or label by label.

    Registered as `welt_spacy.explicit_weights.v1` in `@misc`.

    weights (dict[str, float]): Tag or label -> weight, finite and at least 0.
    default (float): The weight of every tag that is not named.
    RETURNS (ExplicitWeighting): The scheme.
    RAISES (WeltError): If a weight is below 0 or not finite.
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


def _as_counts(counts: Mapping[str, int], *, needed: bool) -> Floats:
    n = np.array(list(counts.values()), dtype="float64")
    if needed and (not len(n) or not n.sum() > 0 or not (n >= 0).all()):
        raise WeltError(
            f"class weights need the tag counts of a training corpus, not {dict(counts)}"
        )
    return np.maximum(n, 1.0)


def _checked(weights: dict[str, float], scheme: str) -> dict[str, float]:
    values = np.array(list(weights.values()))
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        told = ", ".join(f"{tag} {weight:g}" for tag, weight in weights.items())
        raise WeltError(
            f"{scheme} gives the class weights {told}: they must be finite, at least 0 "
            "and not all 0. Change its settings."
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
