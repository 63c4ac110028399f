"""What only language models get wrong, and scores that are comparable with theirs."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc
from spacy.training import Example

from ..tokens.annotated_labels import is_annotated
from ..tokens.llm_responses import get_llm_responses
from .spans import Scores, scores_of

# What can be wrong with an answer; all else is wrong with an entity in one
OF_ANSWERS = ("failed", "not JSON", "cut off")
OF_ITEMS = (
    *("malformed", "unknown type", "unsupported name", "over-generated"),
    *("off token borders", "ambiguous"),
)


def string_scores(examples: Sequence[Example]) -> Scores:
    """Score entities as sets of strings in each doc, without regard to case and to how often
    a name is there: the way in which language models are scored, so far as can be told,
    in Chen et al. (2025) and others. It is kinder than strict scores, which want each
    place.

    examples (Sequence[Example]): Examples with predictions. Of a language model's answers
        all entities count, those included that are not in the text.
    RETURNS (Scores): Over all docs.
    """
    right = wrong = missed = 0
    for eg in examples:
        gold = {(e.label_, _plain(e.text)) for e in eg.reference.ents}
        predicted = {
            pair
            for pair in _predicted(eg.predicted)
            if is_annotated(eg.reference, pair[0])
        }
        right += len(gold & predicted)
        wrong += len(predicted - gold)
        missed += len(gold - predicted)
    return scores_of(right, wrong, missed)


def count_issues(docs: Sequence[Doc]) -> dict[str, Any] | None:
    """Count what was wrong with the answers of language models.

    docs (Sequence[Doc]): Docs that went through a `generative_ner`.
    RETURNS (dict[str, Any] | None): "answers" and "entities", how many there are; and
        "issues": for each, "n", "of" (answers or entities in them), and the interval of
        95 % of the share, "low" and "high" (Wilson 1927). None if no doc has answers.
    """
    told = [found for doc in docs for found in get_llm_responses(doc).values()]
    if not told:
        return None
    issues: Counter = Counter()
    for found in told:
        issues.update(found.issues)
    n_answers = sum(len(found.texts) for found in told)
    n_items = sum(found.n_items for found in told)
    shares = {}
    for names, of in ((OF_ANSWERS, n_answers), (OF_ITEMS, n_items)):
        for name in names:
            low, high = wilson(issues[name], of)
            shares[name] = {"n": issues[name], "of": of, "low": low, "high": high}
    return {"answers": n_answers, "entities": n_items, "issues": shares}


def wilson(n: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """Find the interval of a proportion (Wilson 1927).

    n (int): How often.
    of (int): Of how many.
    z (float): The quantile of the normal distribution; that of 95 %.
    RETURNS (tuple[float, float]): The lower and the upper end, in [0, 1].
    """
    if not of:
        return 0.0, 1.0
    share = n / of
    scale = 1 + z * z / of
    middle = (share + z * z / (2 * of)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def _predicted(doc: Doc) -> set[tuple[str, str]]:
    answers = get_llm_responses(doc)
    if answers:
        pairs = [tuple(pair) for found in answers.values() for pair in found.items]
        return {(label, _plain(name)) for label, name in pairs}
    return {(ent.label_, _plain(ent.text)) for ent in doc.ents}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
