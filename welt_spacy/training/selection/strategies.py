"""Strategies that select training documents.

Hybrid superfiltering (Chen et al. 2025) ranks the documents with entities by IFD and keeps the
harder half of them, and all documents without entities. Plain superfiltering (Li et al., ACL 2024)
drops the latter, because their answers are short and easy to predict. The other strategies are
controls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy import registry
from spacy.tokens import Doc

from ...errors import WeltError, check_number
from .ifd import Difficulty
from .tagger_scores import TaggerScore

Floats = NDArray[np.float64]
STRATEGIES = (
    *("hybrid_superfilter", "superfilter", "lowest_ifd", "random", "longest"),
    *("most_mentions", "all", "tagger_loss", "tagger_confidence"),
)


@dataclass(frozen=True)
class Candidates:
    """Documents to select from, and their scores.

    docs (Sequence[Doc]): The documents, with gold entities.
    ifd (dict[int, Difficulty]): Place of a document -> its difficulty for a language model.
    tagger (Sequence[TaggerScore]): The difficulty of each document for a tagger; empty if it
        was not computed.
    """

    docs: Sequence[Doc]
    ifd: dict[int, Difficulty] = field(default_factory=dict)
    tagger: Sequence[TaggerScore] = ()


RankFunction = Callable[[Candidates, Sequence[int]], Floats]


class Strategy(NamedTuple):
    """A selection strategy.

    rank (Callable | None): Function from candidates and the places of the documents to rank
        to their ranks, shape (n,); the highest are selected first. None: all are selected.
    needs (str): "ifd" or "tagger", if it needs scores of a language model or of a tagger.
    negatives (bool): Whether documents without entities are ranked with the others. If not,
        they are selected separately.
    high (float | None): Documents with this rank or a higher one are left out.
    random (bool): Whether ranks are random numbers.
    """

    rank: RankFunction | None
    needs: Literal["", "ifd", "tagger"] = ""
    negatives: bool = False
    high: float | None = None
    random: bool = False


class Selection(NamedTuple):
    """Result of `select`.

    places (list[int]): The places of the selected documents, in ascending order.
    ranks (list[float | None]): The rank of each document; None if it was not ranked.
    n_too_high (int): Number of documents left out because of `Strategy.high`.
    """

    places: list[int]
    ranks: list[float | None]
    n_too_high: int


def get_strategy(name: str) -> Strategy:
    """Return a strategy by its name in the registry `misc`; the strategies of this package
    have short names, too.
    """
    for full_name in (name, f"welt_spacy.{name}.v1"):
        if registry.has("misc", full_name):
            strategy = registry.get("misc", full_name)()
            if isinstance(strategy, Strategy):
                return strategy
    raise WeltError(
        f"Unknown strategy {name!r}: use one of {', '.join(STRATEGIES)}, or a function "
        "registered in @misc"
    )


def select(
    candidates: Candidates,
    strategy: Strategy,
    *,
    keep: float = 0.5,
    keep_negatives: float = 1.0,
    vectors: Floats | None = None,
    seed: int = 0,
) -> Selection:
    """Select documents.

    Documents with entities are grouped by their labels, and the same share of each group is
    selected, so that no label is lost to another. Within a group, the documents with the
    highest ranks are selected, and the first of those with equal ranks.
    """
    check_number("keep", keep, above=0, high=1)
    check_number("keep_negatives", keep_negatives, low=0, high=1)
    rng = np.random.default_rng(seed)
    docs = candidates.docs
    negatives = [i for i, doc in enumerate(docs) if not doc.ents]
    ranked = [i for i, doc in enumerate(docs) if doc.ents or strategy.negatives]
    if strategy.random:
        values = rng.random(len(ranked))
    elif strategy.rank is None:
        values, keep = np.zeros(len(ranked)), 1.0
    else:
        values = np.asarray(strategy.rank(candidates, ranked), dtype="float64")
    if not np.isfinite(values).all():
        i = ranked[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise WeltError(f"Document {i + 1}: its rank is not a finite number")
    ranks: list[float | None] = [None] * len(docs)
    for i, value in zip(ranked, values.tolist()):
        ranks[i] = value
    groups, n_too_high = _group(docs, strategy, ranked, values)
    selected: list[int] = []
    for group in groups:
        order = group[np.argsort(-values[group], kind="stable")]
        n = int(np.floor(keep * len(order) + 0.5))
        if vectors is not None and n < len(order):
            best = order[: 2 * n]
            order = best[cover(vectors[[ranked[i] for i in best]], n)]
        selected += [ranked[i] for i in order[:n].tolist()]
    if not strategy.negatives:
        n = int(np.floor(keep_negatives * len(negatives) + 0.5))
        drawn = rng.permutation(len(negatives))[:n]
        selected += [negatives[i] for i in drawn.tolist()]
    return Selection(sorted(selected), ranks, n_too_high)


def _group(
    docs: Sequence[Doc], strategy: Strategy, ranked: Sequence[int], values: Floats
) -> tuple[list[NDArray[np.int64]], int]:
    """Group ranked documents by their labels, and count those with a rank that is too high."""
    groups: dict[tuple[str, ...], list[int]] = {}
    n_too_high = 0
    for i, (place, value) in enumerate(zip(ranked, values.tolist())):
        if strategy.high is not None and value >= strategy.high:
            n_too_high += 1
            continue
        labels = tuple(sorted({ent.label_ for ent in docs[place].ents}))
        # Plain superfiltering has one group
        groups.setdefault(() if strategy.negatives else labels, []).append(i)
    return [np.array(group) for group in groups.values()], n_too_high


def cover(vectors: Floats, n: int) -> NDArray[np.int64]:
    """Select vectors that cover all others (facility location).

    The sum over all vectors of the similarity to the nearest selected one is maximized
    greedily, which reaches at least 1 - 1/e of the maximum (Nemhauser et al. 1978). Lazy: a gain
    is computed again only when it may be the greatest (Minoux 1978).
    """
    m = len(vectors)
    best = np.zeros(m)
    # Similarities below 0 cover nothing
    gains = np.array([np.maximum(vectors @ row, 0).sum() for row in vectors])
    n_selected_then = np.zeros(m, dtype="int64")  # when the gain was computed
    selected: list[int] = []
    while len(selected) < min(n, m):
        i = int(gains.argmax())
        similar = np.maximum(vectors @ vectors[i], 0)
        if n_selected_then[i] < len(selected):
            gains[i] = np.maximum(similar - best, 0).sum()
            n_selected_then[i] = len(selected)
            continue
        selected.append(i)
        best = np.maximum(best, similar)
        gains[i] = -1.0
        n_selected_then[i] = m
    return np.array(selected, dtype="int64")


def doc_vectors(docs: Sequence[Doc], *, width: int = 128, seed: int = 0) -> Floats:
    """Compute unit vectors of documents, shape (n, d): TF-IDF of their words, reduced by a
    truncated singular value decomposition; 0 for a document without words.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = [[token.text.lower() for token in doc] for doc in docs]
    table = TfidfVectorizer(analyzer=list, sublinear_tf=True).fit_transform(words)
    n = min(width, min(table.shape) - 1)
    if n < 1:
        return normalize(table.toarray())
    return normalize(TruncatedSVD(n, random_state=seed).fit_transform(table))


def _rank_by(score: Callable[[Candidates, int], float]) -> RankFunction:
    """Return a function that ranks by a score of each document."""
    return lambda candidates, places: np.array([score(candidates, i) for i in places])


def _ifd(candidates: Candidates, place: int) -> float:
    # Differences below the precision of the losses must not decide
    return float(np.round(candidates.ifd[place].ifd, 5))


def make_hybrid_superfilter(high: float | None = None) -> Strategy:
    """Create a strategy that selects the documents with entities that are hardest for a
    language model, and documents without entities separately (Chen et al. 2025). Registered as
    `welt_spacy.hybrid_superfilter.v1` in `@misc`.

    high (float | None): Leave out documents with this IFD or a higher one, e.g. 1, where the
        prompt does not help.
    RETURNS (Strategy): The strategy.
    """
    return Strategy(_rank_by(_ifd), needs="ifd", high=high)


def make_superfilter(high: float | None = None) -> Strategy:
    """Create a strategy that selects the documents that are hardest for a language model, with
    or without entities (Li et al., ACL 2024). Registered as `welt_spacy.superfilter.v1` in
    `@misc`.

    high (float | None): Leave out documents with this IFD or a higher one.
    RETURNS (Strategy): The strategy.
    """
    return Strategy(_rank_by(_ifd), needs="ifd", negatives=True, high=high)


def make_lowest_ifd() -> Strategy:
    """Create a strategy that selects the documents with entities that are easiest for a
    language model. Registered as `welt_spacy.lowest_ifd.v1` in `@misc`.
    """
    return Strategy(_rank_by(lambda candidates, i: -_ifd(candidates, i)), needs="ifd")


def make_random() -> Strategy:
    """Create a strategy that selects documents with entities at random. Registered as
    `welt_spacy.random.v1` in `@misc`.
    """
    return Strategy(None, random=True)


def make_longest() -> Strategy:
    """Create a strategy that selects the documents with entities that have most tokens.
    Registered as `welt_spacy.longest.v1` in `@misc`.
    """
    return Strategy(_rank_by(lambda candidates, i: len(candidates.docs[i])))


def make_most_mentions() -> Strategy:
    """Create a strategy that selects the documents with most entities. Registered as
    `welt_spacy.most_mentions.v1` in `@misc`.
    """
    return Strategy(_rank_by(lambda candidates, i: len(candidates.docs[i].ents)))


def make_all() -> Strategy:
    """Create a strategy that selects all documents with entities. Registered as
    `welt_spacy.all.v1` in `@misc`.
    """
    return Strategy(None)


def make_tagger_loss() -> Strategy:
    """Create a strategy that selects the documents with entities that have the greatest loss
    of a trained `welt_ner`. Registered as `welt_spacy.tagger_loss.v1` in `@misc`.
    """
    rank = _rank_by(lambda candidates, i: candidates.tagger[i].loss)
    return Strategy(rank, needs="tagger")


def make_tagger_confidence() -> Strategy:
    """Create a strategy that selects the documents with entities for which a trained `welt_ner`
    has the lowest confidence. Registered as `welt_spacy.tagger_confidence.v1` in `@misc`.
    """
    rank = _rank_by(lambda candidates, i: -candidates.tagger[i].confidence)
    return Strategy(rank, needs="tagger")
