"""Which docs to train on: what each strategy ranks by, and what is kept.

Hybrid superfiltering (Chen et al. 2025) ranks the docs with entities by IFD, keeps the harder
half of them, and all docs without: plain superfiltering (Li et al., ACL 2024) throws those away,
since their answers are short and easy to foresee. The others are controls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ...errors import WeltError, check_number
from .ifd import Difficulty
from .tagger_scores import TaggedDoc

Needs = Literal["", "ifd", "tagger"]


@dataclass(frozen=True)
class Candidates:
    """Docs to choose from, and what is known of them.

    docs (Sequence[Doc]): The docs, with gold entities.
    ifd (dict[int, Difficulty]): Of those that were scored by a language model: their
        places and scores.
    tagged (Sequence[TaggedDoc]): What a tagger says of each, if it was asked.
    """

    docs: Sequence[Doc]
    ifd: dict[int, Difficulty] = field(default_factory=dict)
    tagged: Sequence[TaggedDoc] = ()


class Strategy(NamedTuple):
    """A way to choose.

    rank (Callable | None): Candidates and the places of the docs to be ranked -> how
        much each is wanted, shape (n,); None: all are kept.
    needs (str): "ifd" or "tagger", if it needs scores of either.
    negatives (bool): Whether docs without entities are ranked with the others. If not,
        they are chosen apart from them.
    high (float | None): Docs that are ranked at this or above are left out.
    random (bool): Whether it draws: then the seed decides.
    """

    rank: Callable[[Candidates, Sequence[int]], NDArray[np.float64]] | None
    needs: Needs = ""
    negatives: bool = False
    high: float | None = None
    random: bool = False


class Selection(NamedTuple):
    """What was chosen.

    kept (list[int]): The places of the docs, in order.
    scores (list[float | None]): How much each doc was wanted; None if it was not
        ranked.
    too_high (int): Docs that were left out for a rank at `Strategy.high` or above.
    """

    kept: list[int]
    scores: list[float | None]
    too_high: int


def select(
    candidates: Candidates,
    strategy: Strategy,
    *,
    keep: float = 0.5,
    negatives: float = 1.0,
    diverse: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Selection:
    """Choose docs.

    The docs with entities are grouped by their labels, and the share is kept of each
    group, so that no type is lost to another; within a group, the most wanted first, of
    equals the one that comes first.

    candidates (Candidates): The docs.
    strategy (Strategy): How they are ranked.
    keep (float): The share that is kept of what is ranked, in (0, 1].
    negatives (float): The share of the docs without entities, drawn at random, that is
        kept if they are not ranked, in [0, 1].
    diverse (ndarray | None): Shape (n, d): vectors of the docs, of length 1. If given,
        a group is chosen to cover the twice as many that are wanted most.
    seed (int): Of what is drawn.
    RETURNS (Selection): The choice.
    RAISES (WeltError): If a share is out of its range, or a rank is not a number.
    """
    check_number("keep", keep, above=0, high=1)
    check_number("negatives", negatives, low=0, high=1)
    rng = np.random.default_rng(seed)
    docs = candidates.docs
    empty = [i for i, doc in enumerate(docs) if not doc.ents]
    ranked = [i for i, doc in enumerate(docs) if doc.ents or strategy.negatives]
    scores: list[float | None] = [None] * len(docs)
    if strategy.random:
        values = rng.random(len(ranked))
    elif strategy.rank is None:
        values, keep = np.zeros(len(ranked)), 1.0
    else:
        values = np.asarray(strategy.rank(candidates, ranked), dtype="float64")
    if not np.isfinite(values).all():
        i = ranked[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise WeltError(f"Doc {i + 1}: its rank is not a finite number")
    groups: dict[tuple[str, ...], list[int]] = {}
    too_high = 0
    for place, (i, value) in enumerate(zip(ranked, values.tolist())):
        scores[i] = value
        if strategy.high is not None and value >= strategy.high:
            too_high += 1
            continue
        labels = tuple(sorted({ent.label_ for ent in docs[i].ents}))
        # Plain superfiltering knows no groups
        groups.setdefault(() if strategy.negatives else labels, []).append(place)
    kept: list[int] = []
    for group in groups.values():
        places = np.array(group)
        order = places[np.argsort(-values[places], kind="stable")]
        n = int(np.floor(keep * len(order) + 0.5))
        if diverse is not None and n < len(order):
            wanted = order[: min(len(order), 2 * n)]
            chosen = cover(diverse[[ranked[place] for place in wanted]], n)
            order = wanted[chosen]
        kept += [ranked[place] for place in order[:n].tolist()]
    if not strategy.negatives:
        n = int(np.floor(negatives * len(empty) + 0.5))
        drawn = rng.permutation(len(empty))[:n]
        kept += [empty[place] for place in drawn.tolist()]
    return Selection(sorted(kept), scores, too_high)


def cover(vectors: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Choose vectors that cover all: each has the greatest similarity to one that is
    chosen, and their sum is made large (facility location), greedily, which comes within
    1 - 1/e of the best (Nemhauser et al. 1978). Lazy: a gain is computed again only when
    it might be the greatest (Minoux 1978).

    vectors (ndarray): Shape (m, d), of length 1.
    n (int): How many to choose, at most m.
    RETURNS (ndarray): Shape (n,): their places, the first chosen first.
    """
    m = len(vectors)
    best = np.zeros(m)
    # Similarities below 0 cover nothing
    gains = np.array([np.maximum(vectors @ row, 0).sum() for row in vectors])
    fresh = np.zeros(m, dtype="int64")
    chosen: list[int] = []
    while len(chosen) < min(n, m):
        i = int(gains.argmax())
        similar = np.maximum(vectors @ vectors[i], 0)
        if fresh[i] < len(chosen):
            gains[i] = np.maximum(similar - best, 0).sum()
            fresh[i] = len(chosen)
            continue
        chosen.append(i)
        best = np.maximum(best, similar)
        gains[i] = -1.0
        fresh[i] = m
    return np.array(chosen, dtype="int64")


def doc_vectors(docs: Sequence[Doc], *, width: int = 128, seed: int = 0) -> NDArray:
    """Make vectors of docs from their words: TF-IDF, reduced by a truncated singular value
    decomposition.

    docs (Sequence[Doc]): The docs, n of them.
    width (int): The most dimensions.
    seed (int): Of the decomposition.
    RETURNS (ndarray): Shape (n, d), of length 1, or 0 where a doc has no word.
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


def _ifd(candidates: Candidates, places: Sequence[int]) -> NDArray[np.float64]:
    # Beyond the precision of the losses, chance would choose among like docs
    return np.round([candidates.ifd[i].ifd for i in places], 5)


def make_hybrid_superfilter(high: float | None = None) -> Strategy:
    """Docs with entities, the hardest to the language model first; all those without.
    Registered as `welt_spacy.hybrid_superfilter.v1` in `@misc`.

    high (float | None): Leave out docs with this IFD or a higher one, e.g. 1, at which
        the prompt does not help.
    RETURNS (Strategy): The strategy.
    """
    return Strategy(_ifd, needs="ifd", high=high)


def make_superfilter(high: float | None = None) -> Strategy:
    """All docs in one ranking, the hardest to the language model first (Li et al., ACL
    2024). Registered as `welt_spacy.superfilter.v1` in `@misc`.

    high (float | None): See `make_hybrid_superfilter`.
    RETURNS (Strategy): The strategy.
    """
    return Strategy(_ifd, needs="ifd", negatives=True, high=high)


def make_lowest_ifd() -> Strategy:
    """The easiest first. Registered as `welt_spacy.lowest_ifd.v1` in `@misc`.

    RETURNS (Strategy): The strategy.
    """
    return Strategy(lambda found, places: -_ifd(found, places), needs="ifd")


def make_random() -> Strategy:
    """Docs drawn at random. Registered as `welt_spacy.random.v1` in `@misc`.

    RETURNS (Strategy): The strategy.
    """
    return Strategy(None, random=True)


def make_longest() -> Strategy:
    """The docs with most tokens first. Registered as `welt_spacy.longest.v1` in `@misc`.

    RETURNS (Strategy): The strategy.
    """
    return Strategy(
        lambda found, places: np.array([len(found.docs[i]) for i in places])
    )


def make_most_mentions() -> Strategy:
    """The docs with most entities first. Registered as `welt_spacy.most_mentions.v1` in
    `@misc`.

    RETURNS (Strategy): The strategy.
    """
    return Strategy(
        lambda found, places: np.array([len(found.docs[i].ents) for i in places])
    )


def make_all() -> Strategy:
    """All docs with entities. Registered as `welt_spacy.all.v1` in `@misc`.

    RETURNS (Strategy): The strategy.
    """
    return Strategy(None)


def make_tagger_loss() -> Strategy:
    """The docs with the greatest loss of a trained `welt_ner` first. Registered as
    `welt_spacy.tagger_loss.v1` in `@misc`.

    RETURNS (Strategy): The strategy.
    """
    return Strategy(
        lambda found, places: np.array([found.tagged[i].loss for i in places]),
        needs="tagger",
    )


def make_tagger_confidence() -> Strategy:
    """The docs of which a trained `welt_ner` is least sure first. Registered as
    `welt_spacy.tagger_confidence.v1` in `@misc`.

    RETURNS (Strategy): The strategy.
    """
    return Strategy(
        lambda found, places: -np.array([found.tagged[i].confidence for i in places]),
        needs="tagger",
    )
