"""Everything there is to say about a pipeline on a data set, as plain data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.training import Example

from ..pipeline.inference import predict_examples
from ..pipeline.welt_ner import WeltNER
from ..scoring.calibration_error import calibrate, outcomes
from ..scoring.errors import ERROR_TYPES, error_type
from ..scoring.fair import FairCounts, count_pairs
from ..scoring.labels import unknown_labels
from ..scoring.llm_responses import count_issues, string_scores
from ..scoring.pairs import TYPES, PairedDoc, pair_examples
from ..scoring.significance import (
    approximate_randomization,
    count_docs,
    paired_bootstrap,
    score_intervals,
)
from ..scoring.slices import score_slices, slicers
from ..scoring.spans import Scores
from ..scoring.text import text_eval
from ..tagging.platt_scaling import uncalibrated


def evaluate(
    nlp: Language,
    examples: Sequence[Example],
    *,
    mentions: Mapping[str, int] | None = None,
    gold_text: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Predict and score.

    nlp (Language): The pipeline.
    examples (Sequence[Example]): Gold-standard docs; predictions are put into them.
    mentions (Mapping[str, int] | None): What `count_mentions` found in the
        training data, for scores of seen and unseen entities.
    gold_text (bool): Whether to run the pipeline on the raw texts too, with its own
        tokens, and score characters.
    seed (int): Of the bootstrap.
    RAISES (WeltError): If there are no examples, or the pipeline knows none of their
        labels.
    RETURNS (dict[str, Any]): Scores in [0, 1], intervals of 95 %, counts; only
        strings, numbers, lists and dicts, so that it can be written as JSON.
    """
    speed = predict_examples(nlp, examples)
    found = report(nlp, examples, mentions=mentions, gold_text=gold_text, seed=seed)
    return {**found, "speed": speed}


def report(
    nlp: Language,
    examples: Sequence[Example],
    *,
    mentions: Mapping[str, int] | None = None,
    gold_text: bool = False,
    seed: int = 0,
    paired: Sequence[PairedDoc] | None = None,
) -> dict[str, Any]:
    """Score predictions that are in the examples already: `evaluate`, without its
    "speed" in tokens a second.

    nlp, examples, mentions, gold_text, seed: See `evaluate`.
    paired (Sequence[PairedDoc] | None): What `pair_examples` made of the examples,
        if that is there already.
    RETURNS (dict[str, Any]): See `evaluate`.
    """
    paired = pair_examples(examples) if paired is None else paired
    found = count_pairs(paired)
    counts = count_docs(paired)
    types: Counter = Counter()
    for kind in TYPES[1:]:
        types[error_type(kind)] += found.count(kind)
    confidences, right = outcomes(paired)
    decoding = _decoding(nlp)
    per_type = {label: _all_scores(found, label) for label in found.labels}
    return {
        "pipeline": f"{nlp.meta.get('lang', '')}_{nlp.meta.get('name', '')}".strip("_"),
        "version": nlp.meta.get("version", ""),
        "docs": len(examples),
        "tokens": sum(len(eg.reference) for eg in examples),
        "gold": found.n_gold.total(),
        "predicted": found.n_predicted.total(),
        **_all_scores(found, None),
        "intervals": {
            name: list(borders)
            for name, borders in score_intervals(counts, seed=seed).items()
        },
        "macro": found.macro()._asdict(),
        "strings": string_scores(examples)._asdict(),
        "answers": count_issues([eg.predicted for eg in examples]),
        "per_type": per_type,
        "confusion": [
            {"gold": gold_label, "predicted": label, "n": n}
            for (gold_label, label), n in found.confusion.most_common()
        ],
        "errors": {name: types[number] for number, name in ERROR_TYPES.items()},
        "slices": {
            way: {
                name: {
                    **part.scores._asdict(),
                    "gold": part.n_gold,
                    "predicted": part.n_predicted,
                }
                for name, part in score_slices(paired, slicer).items()
            }
            for way, slicer in slicers(mentions).items()
        },
        "calibration": {
            **_calibration(confidences, right),
            "before": _before(confidences, right, decoding.get("calibration")),
        },
        "class_weights": nlp.meta.get("class_weights", {}),
        "decoding": decoding,
        "unknown_labels": unknown_labels(nlp, examples),
        "text": _text_scores(nlp, examples) if gold_text else None,
        "by_doc": counts.tolist(),
    }


def _text_scores(nlp: Language, examples: Sequence[Example]) -> dict[str, Any]:
    references = [eg.reference for eg in examples]
    found = text_eval(references, list(nlp.pipe(doc.text for doc in references)))
    return {
        "strict": found.strict.micro._asdict(),
        "per_type": {n: s._asdict() for n, s in found.strict.per_type.items()},
        "gold": found.n_gold,
        "predicted": found.n_predicted,
        "split": found.n_split,
        "tokens": found.n_tokens,
        "joined": found.n_joined,
    }


def _calibration(confidences: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    found = calibrate(confidences, right)
    return {"error": found.error, "bins": [b._asdict() for b in found.bins]}


def _before(
    confidences: Sequence[float],
    right: Sequence[bool],
    calibration: Mapping[str, float] | None,
) -> dict[str, Any] | None:
    """How the same predictions would stand without the calibration; None if there is
    none.
    """
    if calibration is None:
        return None
    raw = uncalibrated(np.array(confidences), calibration)
    return _calibration(raw.tolist(), right)


def _decoding(nlp: Language) -> dict[str, Any]:
    """The settings of decoding, where there is one `welt_ner`."""
    pipes = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, WeltNER)]
    if len(pipes) != 1:
        return {}
    names = (
        "decoder",
        "o_bias",
        "logit_adjustment",
        "threshold",
        "label_propagation",
        "calibration",
    )
    return {name: getattr(pipes[0], name) for name in names}


def compare(
    one: Sequence[Example], other: Sequence[Example], *, seed: int = 0
) -> dict[str, Any]:
    """Compare two pipelines on the same data.

    one, other (Sequence[Example]): The same gold-standard docs with the predictions
        of each; see `predict_examples`.
    seed (int): Of the tests.
    RETURNS (dict[str, Any]): The difference of F1 (first minus other) with its
        interval and p-values, and the docs in which an error went or came: what the
        other has right and the first has not is "broken", the reverse "fixed".
    """
    mine, theirs = pair_examples(one), pair_examples(other)
    counts = (count_docs(mine), count_docs(theirs))
    bootstrap = paired_bootstrap(*counts, seed=seed)
    changed: dict[str, list[dict[str, Any]]] = {"fixed": [], "broken": []}
    for i, (first, second) in enumerate(zip(mine, theirs)):
        gold = set(first.gold)
        wrong_one, wrong_other = gold ^ {*first.predicted}, gold ^ {*second.predicted}
        for name, gone in (
            ("fixed", wrong_other - wrong_one),
            ("broken", wrong_one - wrong_other),
        ):
            doc = first.reference
            for label, start, end in sorted(gone, key=lambda span: span[1]):
                changed[name].append(
                    {
                        "doc": i,
                        "text": doc.text,
                        "start": doc[start].idx,
                        "end": doc[end - 1].idx + len(doc[end - 1]),
                        "label": label,
                        "gold": (label, start, end) in gold,
                    }
                )
    return {
        "docs": len(one),
        "difference": bootstrap.value,
        "interval": list(bootstrap.interval),
        "p_bootstrap": bootstrap.p_value,
        "p_randomization": approximate_randomization(*counts, seed=seed),
        **changed,
    }


def _all_scores(found: FairCounts, label: str | None) -> dict[str, Any]:
    scores: dict[str, Scores] = {
        "strict": found.traditional(label),
        "fair": found.fair(label),
        "weighted": found.weighted(label),
    }
    return {
        **{name: values._asdict() for name, values in scores.items()},
        "counts": {kind: found.count(kind, label) for kind in TYPES},
    }
