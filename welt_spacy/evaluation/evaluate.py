"""Evaluate a pipeline on a data set, and compare two pipelines."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from spacy.language import Language
from spacy.training import Example

from ..errors import WeltError
from ..pipeline.inference import predict_examples
from ..pipeline.welt_ner import WeltNER
from ..scoring.calibration_error import (
    Calibration,
    collect_outcomes,
    measure_calibration,
)
from ..scoring.fair import FairCounts, count_pairs
from ..scoring.labels import unknown_labels
from ..scoring.llm_responses import count_issues, string_scores
from ..scoring.pairs import ERROR_TYPES, KINDS, PairedDoc, get_error_type, pair_examples
from ..scoring.significance import (
    approximate_randomization,
    count_docs,
    paired_bootstrap,
    score_intervals,
)
from ..scoring.slices import make_slicers, score_slices
from ..scoring.strict import StrictScores, seqeval_eval
from ..scoring.text import TextScores, text_eval
from ..tagging.platt_scaling import uncalibrated
from .records import (
    CalibrationResult,
    Change,
    ClassWeights,
    Comparison,
    Confusion,
    DecodingSettings,
    Evaluation,
    LabelEvaluation,
)
from .tuning.decoding import Point, sweep_o_bias
from .tuning.predictions import predict_and_annotate


class EvaluatedDocs(NamedTuple):
    """An evaluation with the documents that it is of.

    evaluation (Evaluation): The results.
    docs (list[PairedDoc]): Predictions, paired with gold spans.
    curve (list[Point]): Scores by `o_bias`, if requested and possible; else empty.
    """

    evaluation: Evaluation
    docs: list[PairedDoc]
    curve: list[Point]


def evaluate(
    nlp: Language,
    examples: Sequence[Example],
    *,
    mentions: Mapping[str, int] | None = None,
    score_raw_text: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Run a pipeline on gold-standard documents and score its predictions.

    nlp (Language): The pipeline.
    examples (Sequence[Example]): Gold-standard documents. Their predicted documents are
        replaced by the predictions.
    mentions (Mapping[str, int] | None): The counts of `count_mentions` for the training
        data, for scores of seen and unseen entities.
    score_raw_text (bool): Whether to run the pipeline on the raw texts too, with its own
        tokens, and score characters.
    seed (int): Random seed of the bootstrap.
    RETURNS (Evaluation): Scores in [0, 1], 95 % intervals and counts.
    RAISES (WeltError): If there are no examples, or the pipeline knows none of their
        labels.
    """
    return evaluate_docs(
        nlp, examples, mentions=mentions, score_raw_text=score_raw_text, seed=seed
    ).evaluation


def evaluate_docs(
    nlp: Language,
    examples: Sequence[Example],
    *,
    mentions: Mapping[str, int] | None = None,
    score_raw_text: bool = False,
    with_curve: bool = False,
    seed: int = 0,
) -> EvaluatedDocs:
    """Evaluate like `evaluate`, and return the documents too.

    with_curve (bool): Whether to score values of `o_bias`, from the same run of the model.
        This needs one `welt_ner` that knows all gold labels.
    """
    unknown = unknown_labels(nlp, [eg.reference for eg in examples])
    has_gold = any(eg.reference.ents for eg in examples)
    started = time.perf_counter()
    dev = None
    if with_curve and has_gold and not unknown and len(_welt_ners(nlp)) == 1:
        dev = predict_and_annotate(nlp, examples)
        speed = sum(map(len, dev.docs)) / (time.perf_counter() - started)
    else:
        speed = predict_examples(nlp, examples)
    docs = pair_examples(examples)
    evaluation = score_predictions(
        nlp, docs, mentions=mentions, score_raw_text=score_raw_text, seed=seed
    )
    curve = [] if dev is None else sweep_o_bias(dev)
    return EvaluatedDocs(replace(evaluation, speed=speed), docs, curve)


def score_predictions(
    nlp: Language,
    docs: Sequence[PairedDoc],
    *,
    mentions: Mapping[str, int] | None = None,
    score_raw_text: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Score predictions of a pipeline or of another system, without a speed.

    nlp (Language): The pipeline, for its name, settings and labels.
    docs (Sequence[PairedDoc]): Predictions, paired with gold spans.
    mentions, score_raw_text, seed: See `evaluate`.
    RETURNS (Evaluation): The results. Strict scores are seqeval's; they are compared with
        those of the counts, which the intervals and the other scores are computed from.
    RAISES (WeltError): As `evaluate`; or if both kinds of strict scores differ.
    """
    counts = count_pairs(docs)
    strict = seqeval_eval(docs)
    _require_equal(strict, counts.strict())
    by_doc = count_docs(docs)
    errors: Counter = Counter()
    for kind in KINDS[1:]:
        errors[get_error_type(kind)] += counts.count(kind)
    decoding = _decoding_settings(nlp)
    return Evaluation(
        pipeline=f"{nlp.meta.get('lang', '')}_{nlp.meta.get('name', '')}".strip("_"),
        version=nlp.meta.get("version", ""),
        docs=len(docs),
        tokens=sum(len(doc.reference) for doc in docs),
        gold=counts.n_gold.total(),
        predicted=counts.n_predicted.total(),
        strict=strict.micro,
        fair=counts.fair(),
        weighted=counts.weighted(),
        counts={kind: counts.count(kind) for kind in KINDS},
        intervals=score_intervals(by_doc, seed=seed),
        macro=strict.macro,
        strings=string_scores(docs),
        per_type=_evaluate_labels(strict, counts),
        confusion=[
            Confusion(gold, predicted, n)
            for (gold, predicted), n in counts.confusion.most_common()
        ],
        errors={name: errors[number] for number, name in ERROR_TYPES.items()},
        slices={
            criterion: score_slices(docs, slicer)
            for criterion, slicer in make_slicers(mentions).items()
        },
        calibration=_evaluate_calibration(docs, decoding),
        by_doc=by_doc.tolist(),
        class_weights={
            name: ClassWeights(part["weighting"], part["counts"], part["weights"])
            for name, part in nlp.meta.get("class_weights", {}).items()
        },
        unknown_labels=unknown_labels(nlp, [doc.reference for doc in docs]),
        decoding=decoding,
        llm_responses=count_issues(docs),
        text=_score_raw_text(nlp, docs) if score_raw_text else None,
    )


def _require_equal(seqeval: StrictScores, own: StrictScores) -> None:
    labels = {
        "all labels": (seqeval.micro, own.micro),
        "mean": (seqeval.macro, own.macro),
    }
    for label in sorted({*seqeval.per_type, *own.per_type}):
        labels[label] = (seqeval.per_type[label], own.per_type[label])
    for label, (expected, scores) in labels.items():
        if not np.allclose(expected, scores, rtol=0, atol=1e-9):
            raise WeltError(
                f"Strict scores of {label}: seqeval has P, R, F1 {_format(expected)} and "
                f"the counts of welt-spacy {_format(scores)}. Report this as a defect"
            )


def _format(scores: Sequence[float]) -> str:
    return ", ".join(f"{100 * value:.4f}" for value in scores)


def _evaluate_labels(
    strict: StrictScores, counts: FairCounts
) -> dict[str, LabelEvaluation]:
    return {
        label: LabelEvaluation(
            scores,
            counts.fair(label),
            counts.weighted(label),
            {kind: counts.count(kind, label) for kind in KINDS},
        )
        for label, scores in strict.per_type.items()
    }


def _evaluate_calibration(
    docs: Sequence[PairedDoc], decoding: DecodingSettings | None
) -> CalibrationResult:
    confidences, right = collect_outcomes(docs)
    before: Calibration | None = None
    if decoding is not None and decoding.calibration is not None:
        raw = uncalibrated(np.array(confidences), decoding.calibration)
        before = measure_calibration(raw.tolist(), right)
    return CalibrationResult(*measure_calibration(confidences, right), before)


def _score_raw_text(nlp: Language, docs: Sequence[PairedDoc]) -> TextScores:
    return text_eval(docs, list(nlp.pipe(doc.reference.text for doc in docs)))


def _welt_ners(nlp: Language) -> list[WeltNER]:
    return [pipe for _, pipe in nlp.pipeline if isinstance(pipe, WeltNER)]


def _decoding_settings(nlp: Language) -> DecodingSettings | None:
    pipes = _welt_ners(nlp)
    if len(pipes) != 1:
        return None
    (pipe,) = pipes
    return DecodingSettings(
        decoder=pipe.decoder,
        o_bias=pipe.o_bias,
        logit_adjustment=pipe.logit_adjustment,
        threshold=pipe.threshold,
        label_propagation=pipe.label_propagation,
        calibration=pipe.calibration,
    )


def compare(
    first: Sequence[Example], second: Sequence[Example], *, seed: int = 0
) -> Comparison:
    """Compare the predictions of two pipelines on the same data.

    first, second (Sequence[Example]): The same gold-standard documents with the predictions
        of each pipeline; see `predict_examples`.
    seed (int): Random seed of the tests.
    RETURNS (Comparison): The difference of F1 (first minus second) with its interval and
        p-values, and the errors that only one of the pipelines makes.
    RAISES (WeltError): If the gold annotation differs, or there are no documents.
    """
    sides = pair_examples(first), pair_examples(second)
    counts = tuple(map(count_docs, sides))
    bootstrap = paired_bootstrap(*counts, seed=seed)
    fixed: list[Change] = []
    broken: list[Change] = []
    for i, (a, b) in enumerate(zip(*sides)):
        gold = set(a.gold)
        errors_a, errors_b = gold ^ {*a.predicted}, gold ^ {*b.predicted}
        for changes, errors in (
            (fixed, errors_b - errors_a),
            (broken, errors_a - errors_b),
        ):
            for error in sorted(errors, key=lambda span: span[1]):
                span = a.span(error)
                changes.append(
                    Change(
                        doc=i,
                        text=a.reference.text,
                        start=span.start_char,
                        end=span.end_char,
                        label=error[0],
                        gold=error in gold,
                    )
                )
    return Comparison(
        docs=len(first),
        difference=bootstrap.value,
        interval=bootstrap.interval,
        p_bootstrap=bootstrap.p_value,
        p_randomization=approximate_randomization(*counts, seed=seed),
        fixed=fixed,
        broken=broken,
    )
