"""Whether confidences are frequencies: as the model gives them, with a temperature, with a
temperature and a shift, and with both for each label, fitted on dev, measured on test.

    python benchmarks/calibration.py corpus/bc5cdr MODEL...
"""

from pathlib import Path
from typing import Callable, Dict, List

import numpy as np
import typer
from scipy.optimize import minimize

from welt_spacy.deployment.tuning import find_component, score_entities
from welt_spacy.io import load_pipeline, read_examples
from welt_spacy.pipeline.calibration import log_odds
from welt_spacy.scoring.calibration import calibrate


def fit(odds: np.ndarray, right: np.ndarray, shift: bool = True) -> Callable:
    """A map from log-odds to probabilities, by likelihood."""

    def loss(w: np.ndarray) -> float:
        z = w[0] * odds + shift * w[1]
        return float(np.mean(np.logaddexp(0.0, z) - right * z))

    slope, bias = minimize(loss, [1.0, 0.0], bounds=[(1e-2, 1e2), (-50, 50)]).x
    return lambda x: 1 / (1 + np.exp(-(slope * x + shift * bias)))


def entities(nlp, path: Path):
    """Of the entities above the threshold: log-odds, whether right, label."""
    pipe = find_component(nlp)
    examples = read_examples(nlp, path)
    confidences, right, labels = score_entities(nlp, examples)
    kept = confidences >= pipe.threshold
    return log_odds(confidences[kept]), right[kept], labels[kept]


def main(data: Path, models: List[Path]) -> None:
    print("| pipeline | as it is | temperature | and shift | for each label |")
    print("|---|---|---|---|---|")
    for path in models:
        nlp = load_pipeline(path)
        pipe = find_component(nlp)
        pipe.threshold, pipe.calibration = pipe.raw_threshold, None
        odds, right, labels = entities(nlp, data / "dev.spacy")
        x, hits, of = entities(nlp, data / "test.spacy")
        one = fit(odds, right)
        each = np.zeros(len(x))
        for label in np.unique(labels):
            part = labels == label
            each[of == label] = fit(odds[part], right[part])(x[of == label])
        found: Dict[str, np.ndarray] = {
            "as it is": 1 / (1 + np.exp(-x)),
            "temperature": fit(odds, right, shift=False)(x),
            "and shift": one(x),
            "for each label": each,
        }
        errors = [calibrate(c.tolist(), hits.tolist()).error for c in found.values()]
        print(f"| {path} | " + " | ".join(f"{100 * e:.2f}" for e in errors) + " |")


if __name__ == "__main__":
    typer.run(main)
