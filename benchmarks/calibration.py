"""Calibration of confidences: as the model gives them, with a temperature, with a
temperature and a shift, and with both for each label, fitted on dev, measured on test.

    python benchmarks/calibration.py corpus/bc5cdr MODEL...
"""

from pathlib import Path

import numpy as np
import typer

from welt_spacy.evaluation.tuning.calibration import fit_calibration
from welt_spacy.evaluation.tuning.predictions import predict_dev
from welt_spacy.pipeline.inference import get_welt_ner
from welt_spacy.scoring.calibration_error import measure_calibration
from welt_spacy.tagging.platt_scaling import calibrated
from welt_spacy.tokens.docs import read_examples
from welt_spacy.util.pipelines import load_pipeline


def entities(nlp, path: Path):
    """Return confidence, correctness and label of the entities above the threshold."""
    pipe = get_welt_ner(nlp)
    dev = predict_dev(nlp, read_examples(nlp, path))
    confidences, right, labels = dev.judge(dev.decode())
    above = confidences >= pipe.threshold
    return confidences[above], right[above], labels[above]


def main(data: Path, models: list[Path]) -> None:
    print("| pipeline | as it is | temperature | and shift | for each label |")
    print("|---|---|---|---|---|")
    for path in models:
        nlp = load_pipeline(path)
        pipe = get_welt_ner(nlp)
        pipe.threshold, pipe.calibration = pipe.uncalibrated_threshold, None
        dev, right, labels = entities(nlp, data / "dev.spacy")
        test, hits, of = entities(nlp, data / "test.spacy")
        each = np.zeros(len(test))
        for label in np.unique(labels):
            part = labels == label
            fitted = fit_calibration(dev[part], right[part])
            each[of == label] = calibrated(test[of == label], fitted)
        values: dict[str, np.ndarray] = {
            "as it is": test,
            "temperature": calibrated(test, fit_calibration(dev, right, shift=False)),
            "and shift": calibrated(test, fit_calibration(dev, right)),
            "for each label": each,
        }
        errors = [
            measure_calibration(c.tolist(), hits.tolist()).error
            for c in values.values()
        ]
        print(f"| {path} | " + " | ".join(f"{100 * e:.2f}" for e in errors) + " |")


if __name__ == "__main__":
    typer.run(main)
