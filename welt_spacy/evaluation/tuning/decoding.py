"""Precision against recall without retraining: `o_bias`, `logit_adjustment` and
`threshold` chosen on dev.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...errors import WeltError
from ...pipeline.entities import EarlierEnts
from ...pipeline.inference import get_welt_ner, predict_tags
from ...pipeline.welt_ner import WeltNER
from ...scoring.labels import known_labels, require_known_labels
from ...tagging.decoding import Entities, tags_to_spans
from ...tagging.gold import gold_tags, unannotated_tags
from ...tagging.tags import MISSING, OUTSIDE, begin_tag
from ...tokens.docs import bare_doc
from ...util.arrays import starts_of

_Span = tuple[int, int, int]  # first row, row after the last, label

O_BIASES = tuple(np.linspace(-4.0, 4.0, 33).tolist())
LOGIT_ADJUSTMENTS = tuple(np.linspace(-0.5, 1.0, 31).tolist())
PARAMETERS = ("o_bias", "logit_adjustment")


@dataclass(frozen=True)
class Objective:
    """What is sought.

    beta (float): Of F-beta: above 1, recall counts more.
    at_least (tuple[str, float] | None): "p" or "r", and the value it must reach;
        then the other of both is what is sought.
    """

    beta: float = 1.0
    at_least: tuple[str, float] | None = None

    def value(self, p: NDArray, r: NDArray) -> NDArray:
        """Rate precision and recall; higher is better.

        p, r (ndarray): Precision and recall, both of the same shape.
        RETURNS (ndarray): The ratings, of that shape.
        """
        if self.at_least is None:
            b = self.beta**2
            total = b * p + r
            return np.where(
                total > 0, (1 + b) * p * r / np.where(total > 0, total, 1), 0.0
            )
        name, limit = self.at_least
        bound, sought = (p, r) if name == "p" else (r, p)
        # What misses the bound is worse than whatever reaches it, and better the
        # nearer it comes.
        return np.where(bound >= limit, sought, bound - 2)


def parse_objective(text: str) -> Objective:
    """Read an objective.

    text (str): "f1", "f2", "f0.5", "precision>=0.9" or "recall>=0.9".
    RETURNS (Objective): The objective.
    RAISES (WeltError): If it is not one of these.
    """
    if found := re.fullmatch(r"f(\d+(?:\.\d+)?)", text.strip()):
        beta = float(found[1])
        if 0 < beta < 1e6:
            return Objective(beta=beta)
    if found := re.fullmatch(r"(precision|recall)\s*>=\s*(\d*\.?\d+)", text.strip()):
        limit = float(found[2])
        if 0 < limit <= 1:
            return Objective(at_least=(found[1][0], limit))
    raise WeltError(
        f"Unknown objective {text!r}: use f1, f2, f0.5 and so on, precision>=0.9 or "
        "recall>=0.9"
    )


class Point(NamedTuple):
    """A setting and what it scores.

    o_bias, logit_adjustment, threshold (float): The settings of `welt_ner`.
    p, r, f (float): Strict scores in [0, 1].
    """

    o_bias: float
    logit_adjustment: float
    threshold: float
    p: float
    r: float
    f: float


class Tuning(NamedTuple):
    """What was found.

    before (Point): The settings as they were.
    best (Point): The best ones.
    curve (list[Point]): For each value of the knob, the best threshold.
    """

    before: Point
    best: Point
    curve: list[Point]


def tune(
    nlp: Language,
    examples: Sequence[Example],
    objective: Objective,
    *,
    knob: str = "o_bias",
    values: Sequence[float] | None = None,
    thresholds: bool = True,
) -> Tuning:
    """Find the best settings for decoding, and set them.

    nlp (Language): A pipeline with `welt_ner`, which is changed.
    examples (Sequence[Example]): Dev data, not the data to be reported on.
    objective (Objective): What is sought.
    knob (str): "o_bias" or "logit_adjustment"; the other stays as it is.
    values (Sequence[float] | None): The values to try.
    thresholds (bool): Whether the threshold is tuned too, or stays as it is.
    RETURNS (Tuning): The settings and their scores. Of equal ones, those nearest to
        no shift win.
    RAISES (WeltError): If the pipeline has no `welt_ner` or several, there is no gold
        entity, or one with a label that the pipeline doesn't know.

    Scores are those of the pipeline up to `welt_ner`: what components before it found
    counts, what later ones change does not (see `later_setters`).
    """
    if knob not in PARAMETERS:
        raise WeltError(f"Unknown knob {knob!r}: use one of {', '.join(PARAMETERS)}")
    pipe = get_welt_ner(nlp)
    if values is None:
        values = O_BIASES if knob == "o_bias" else LOGIT_ADJUSTMENTS
    data = predict_examples(nlp, pipe, examples)
    before = measure(pipe, data, Objective(), [pipe.threshold])
    curve = []
    for value in values:
        setattr(pipe, knob, value)
        limits = None if thresholds else [before.threshold]
        curve.append(measure(pipe, data, objective, limits))
    rated = [
        (float(objective.value(np.float64(c.p), np.float64(c.r))), -abs(value))
        for value, c in zip(values, curve)
    ]
    best = curve[max(range(len(curve)), key=rated.__getitem__)]
    pipe.o_bias, pipe.logit_adjustment = best.o_bias, best.logit_adjustment
    pipe.threshold = best.threshold
    return Tuning(before, best, curve)


def sweep(
    nlp: Language, examples: Sequence[Example], values: Sequence[float] = O_BIASES
) -> list[Point]:
    """Score values of `o_bias`, with all else as it is. Nothing is changed.

    nlp (Language): A pipeline with `welt_ner`.
    examples (Sequence[Example]): Gold-standard docs.
    values (Sequence[float]): The values; that of the pipeline is always one.
    RETURNS (list[Point]): Their scores, from the lowest value to the highest.
    RAISES (WeltError): As `tune`.
    """
    pipe = get_welt_ner(nlp)
    data = predict_examples(nlp, pipe, examples)
    kept = pipe.o_bias
    points = []
    try:
        for value in sorted({*values, kept}):
            pipe.o_bias = value
            points.append(measure(pipe, data, Objective(), [pipe.threshold]))
    finally:
        pipe.o_bias = kept
    return points


def score_entities(
    nlp: Language, examples: Sequence[Example]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Get the confidence of every entity that `welt_ner` finds, those under the threshold
    included, and whether it is right. Entities in text without annotation are left out.

    nlp (Language): A pipeline with `welt_ner`.
    examples (Sequence[Example]): Gold-standard docs.
    RETURNS (tuple[ndarray, ndarray, ndarray]): Arrays of shape (E,): confidences,
        float64; bools; indices of labels, int64.
    RAISES (WeltError): As `tune`.
    """
    pipe = get_welt_ner(nlp)
    data = predict_examples(nlp, pipe, examples)
    found = pipe.find_entities(data.docs, data.probs, data.earlier)
    spans, annotated = as_spans(found, data)
    right = np.array([span in data.gold for span in spans], dtype=bool)
    return found.confidences[annotated], right[annotated], found.labels[annotated]


def later_setters(nlp: Language) -> list[str]:
    """List the components that set entities after `welt_ner`: scores of settings leave
    out what they do.

    nlp (Language): A pipeline with `welt_ner`.
    RETURNS (list[str]): Their names.
    RAISES (WeltError): As `get_welt_ner`.
    """
    pipe = get_welt_ner(nlp)
    place = [other for _, other in nlp.pipeline].index(pipe)
    return [
        name
        for name in nlp.pipe_names[place + 1 :]
        if "doc.ents" in nlp.get_pipe_meta(name).assigns
    ]


class Predicted(NamedTuple):
    """What a `welt_ner` says of examples, and what is right.

    docs (list[Doc]): As the components before it left them, N tokens together.
    probs (ndarray): Shape (N, 2K + 1): tag probabilities.
    earlier (list[EarlierEnts]): What earlier components found.
    fixed (set[tuple[int, int, int]]): The entities in `earlier`: first row, row after
        the last, index of the label.
    gold (set[tuple[int, int, int]]): Likewise, those that lie between tokens left out.
    n_gold (int): Them included.
    missing (ndarray): Shape (N + 1,): tokens without annotation up to each.
    hidden (ndarray | None): Shape (N, 2K + 1): tags that nobody looked for.
    """

    docs: list[Doc]
    probs: NDArray
    earlier: list[EarlierEnts]
    fixed: set[_Span]
    gold: set[_Span]
    n_gold: int
    missing: NDArray
    hidden: NDArray | None


def predict_examples(
    nlp: Language, pipe: WeltNER, examples: Sequence[Example]
) -> Predicted:
    """Run a pipeline up to its `welt_ner` on examples.

    nlp (Language): The pipeline.
    pipe (WeltNER): The component, in it.
    examples (Sequence[Example]): Gold-standard docs.
    RETURNS (Predicted): What it says, and what is right.
    RAISES (WeltError): As `tune`.
    """
    require_known_labels(nlp, examples)
    # Copies, because entities of an earlier prediction would count as those of components
    # before `welt_ner`
    examples = [Example(bare_doc(eg.predicted), eg.reference) for eg in examples]
    docs, probs = predict_tags(nlp, pipe, [eg.predicted for eg in examples])
    earlier = [pipe.earlier_ents(doc) for doc in docs]
    # Labels of other components come behind those of this one
    labels = [*pipe.labels, *(n for n in known_labels(nlp) if n not in pipe.labels)]
    lengths = np.array(list(map(len, docs)), dtype="int64")
    tags = gold_tags(examples, labels, nlp.vocab)
    known = np.where(tags == MISSING, OUTSIDE, tags)
    offsets = starts_of(lengths).tolist()
    return Predicted(
        docs,
        probs,
        earlier,
        {
            (offset + ent.start, offset + ent.end, labels.index(ent.label_))
            for offset, found in zip(offsets, earlier)
            for ent in found.ents
            if ent.label_ in labels
        },
        set(zip(*(a.tolist() for a in tags_to_spans(known, lengths)))),
        sum(len(eg.reference.ents) for eg in examples),
        starts_of((tags == MISSING).astype("int64")),
        unannotated_tags(examples, labels),
    )


def as_spans(found: Entities, data: Predicted) -> tuple[list[_Span], list[bool]]:
    """Make tuples of entities, as those of `Predicted`.

    found (Entities): The entities.
    data (Predicted): What they were found in.
    RETURNS (tuple[list[tuple[int, int, int]], list[bool]]): The tuples, and whether gold
        annotation could tell of each.
    """
    spans = list(zip(found.starts.tolist(), found.ends.tolist(), found.labels.tolist()))
    return spans, _annotated(spans, data)


def _annotated(spans: Iterable[_Span], data: Predicted) -> list[bool]:
    return [
        bool(data.missing[end] == data.missing[start])
        and (data.hidden is None or not data.hidden[start, begin_tag(label)])
        for start, end, label in spans
    ]


def measure(
    pipe: WeltNER, data: Predicted, objective: Objective, limits: list[float] | None
) -> Point:
    """Score the settings of a component.

    pipe (WeltNER): The component.
    data (Predicted): What it said of examples.
    objective (Objective): What is sought among thresholds.
    limits (list[float] | None): The thresholds to choose from; None: all.
    RETURNS (Point): The settings with the best threshold, and their scores.
    """
    found = pipe.find_entities(data.docs, data.probs, data.earlier)
    spans, annotated = as_spans(found, data)
    # What earlier components found is there at every threshold
    sureness = np.append(found.confidences, [np.inf] * len(data.fixed))
    spans += data.fixed
    annotated += _annotated(data.fixed, data)
    right = np.array([span in data.gold for span in spans], dtype=bool)[annotated]
    order = np.argsort(-sureness[annotated], kind="stable")
    sure = sureness[annotated][order]
    hits = np.concatenate([[0], np.cumsum(right[order])])
    if limits is None:
        # Between neighbours, so that nothing lies on the edge; and all of them
        own = sure[np.isfinite(sure)]
        middles = (own[:-1] + own[1:]) / 2
        candidates = np.concatenate([middles[own[:-1] > own[1:]], [0.0]])
    else:
        candidates = np.array(limits)
    kept = np.searchsorted(-sure, -candidates, side="right")
    p = hits[kept] / np.maximum(kept, 1)
    r = hits[kept] / data.n_gold
    # The lowest threshold of the best: it leaves most to later choices
    best = len(p) - 1 - int(np.argmax(objective.value(p, r)[::-1]))
    f = 2 * hits[kept[best]] / (kept[best] + data.n_gold)
    return Point(
        pipe.o_bias,
        pipe.logit_adjustment,
        float(candidates[best]),
        float(p[best]),
        float(r[best]),
        float(f),
    )
