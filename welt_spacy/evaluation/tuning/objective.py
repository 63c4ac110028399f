"""Objectives: the combination of precision and recall that tuning maximizes."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import WeltError


@dataclass(frozen=True)
class Objective:
    """A combination of precision and recall.

    beta (float): The weight of recall in F-beta; above 1, recall counts more.
    at_least (tuple[str, float] | None): "p" or "r", and a lower bound for it; then
        the other of both is maximized.
    """

    beta: float = 1.0
    at_least: tuple[str, float] | None = None

    def value(self, p: NDArray, r: NDArray) -> NDArray:
        """Score precision and recall, arrays of one shape; higher is better."""
        if self.at_least is None:
            b = self.beta**2
            total = b * p + r
            return np.where(
                total > 0, (1 + b) * p * r / np.where(total > 0, total, 1), 0.0
            )
        name, limit = self.at_least
        bound, sought = (p, r) if name == "p" else (r, p)
        # Points below the bound rank below all others, by their distance to the bound
        return np.where(bound >= limit, sought, bound - 2)


def parse_objective(text: str) -> Objective:
    """Parse "f1", "f2", "f0.5", "precision>=0.9", "recall>=0.9" and the like."""
    if match := re.fullmatch(r"f(\d+(?:\.\d+)?)", text.strip()):
        beta = float(match[1])
        if 0 < beta < 1e6:
            return Objective(beta=beta)
    if match := re.fullmatch(r"(precision|recall)\s*>=\s*(\d*\.?\d+)", text.strip()):
        limit = float(match[2])
        if 0 < limit <= 1:
            return Objective(at_least=(match[1][0], limit))
    raise WeltError(
        f"Unknown objective {text!r}: use f1, f2, f0.5 and so on, precision>=0.9 or "
        "recall>=0.9"
    )
