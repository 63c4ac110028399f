"""Errors in the responses of language models, and scores comparable with published ones."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from spacy.tokens import Doc

from ..tokens.annotated_labels import is_annotated
from ..tokens.llm_responses import get_llm_responses
from .pairs import PairedDoc
from .spans import Scores, compute_scores

# Issues of a response; all others are issues of an entity in a response
OF_RESPONSES = ("failed", "not JSON", "cut off")
OF_ENTITIES = (
    *("malformed", "unknown type", "unsupported name", "over-generated"),
    *("off token borders", "ambiguous"),
)


class Share(NamedTuple):
    """A share with its 95 % interval (Wilson 1927).

    n (int): Number of responses, or of entities in responses, with the issue.
    of (int): Number of all of them.
    low, high (float): The bounds of the interval of n / of, in [0, 1].
    """

    n: int
    of: int
    low: float
    high: float


class ResponseIssues(NamedTuple):
    """Issues in the responses of language models.

    responses, entities (int): Number of responses, and of entities in them.
    issues (dict[str, Share]): Share of responses or entities with each issue.
    """

    responses: int
    entities: int
    issues: dict[str, Share]


def string_scores(docs: Sequence[PairedDoc]) -> Scores:
    """Score the entities of each document as a set of strings, without regard to case,
    position and number of occurrences.

    Language models are scored so in Chen et al. (2025) and others, as far as the papers
    tell. It is more lenient than strict scores, which need each occurrence. All entities in
    the responses of a language model count, including those that are not in the text.
    """
    right = wrong = missed = 0
    for doc in docs:
        gold = {(e.label_, _normalize(e.text)) for e in doc.reference.ents}
        predicted = {
            (label, name)
            for label, name in _predicted_strings(doc.prediction)
            if is_annotated(doc.reference, label)
        }
        right += len(gold & predicted)
        wrong += len(predicted - gold)
        missed += len(gold - predicted)
    return compute_scores(right, wrong, missed)


def count_issues(docs: Sequence[PairedDoc]) -> ResponseIssues | None:
    """Count the issues in the responses of language models; None without responses."""
    records = [
        responses
        for doc in docs
        for responses in get_llm_responses(doc.prediction).values()
    ]
    if not records:
        return None
    issues: Counter = Counter()
    for responses in records:
        issues.update(responses.issues)
    n_responses = sum(len(responses.texts) for responses in records)
    n_entities = sum(responses.n_items for responses in records)
    shares = {}
    for names, total in ((OF_RESPONSES, n_responses), (OF_ENTITIES, n_entities)):
        for name in names:
            shares[name] = Share(issues[name], total, *wilson(issues[name], total))
    return ResponseIssues(n_responses, n_entities, shares)


def wilson(n: int, total: int) -> tuple[float, float]:
    """Compute the 95 % interval of the share n / total (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(n, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _predicted_strings(doc: Doc) -> set[tuple[str, str]]:
    responses = get_llm_responses(doc)
    if responses:
        items = [tuple(item) for record in responses.values() for item in record.items]
        return {(label, _normalize(name)) for label, name in items}
    return {(ent.label_, _normalize(ent.text)) for ent in doc.ents}


def _normalize(text: str) -> str:
    return " ".join(text.casefold().split())
