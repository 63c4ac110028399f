"""Gold annotation as tags, and tag counts of a corpus."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ENT_IOB, ENT_TYPE, ORTH
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab

from ..tokens.annotated_labels import get_annotated_labels
from .tags import (
    ENT_IOB_BEGIN,
    ENT_IOB_INSIDE,
    ENT_IOB_MISSING,
    ENT_IOB_OUTSIDE,
    MISSING,
    OUTSIDE,
    begin_tag,
    inside_tag,
    orphans,
    tag_names,
)

_IOB_OF_BILUO = {
    "B": ENT_IOB_BEGIN,
    "U": ENT_IOB_BEGIN,
    "I": ENT_IOB_INSIDE,
    "L": ENT_IOB_INSIDE,
    "O": ENT_IOB_OUTSIDE,
}
MAX_QUOTES = 3


class TagCounts(NamedTuple):
    """Labels and tag counts of a corpus on the tokens of the pipeline.

    labels (list[str]): The entity labels, sorted.
    counts (dict[str, int]): Number of annotated tokens by tag.
    n_mentions (int): Number of gold mentions.
    n_unaligned (int): Number of gold mentions whose boundaries are not token boundaries.
    unaligned (list[str]): Examples of unaligned mentions, quoted for a message.
    """

    labels: list[str]
    counts: dict[str, int]
    n_mentions: int
    n_unaligned: int
    unaligned: list[str]


def count_tags(
    examples: Iterable[Example], *, is_gold: Callable[[Example], bool] | None = None
) -> TagCounts:
    """Count the tags of a corpus in one pass. If a label was annotated in a part of the
    documents only, its counts are scaled to the size of the corpus.
    """
    gold, rest = _TagCounter(), _TagCounter()
    for eg in examples:
        counter = gold if is_gold is None or is_gold(eg) else rest
        counter.add(eg)
    return (gold if gold.n_examples else rest).get_counts()


class _TagCounter:
    def __init__(self) -> None:
        self.n_examples = self.n_outside = self.n_mentions = self.n_unaligned = 0
        self.begins: Counter[str] = Counter()
        self.insides: Counter[str] = Counter()
        # Number of annotated tokens by annotated labels; None: all labels
        self.n_annotated: Counter[frozenset[str] | None] = Counter()
        self.quotes: list[str] = []

    def add(self, eg: Example) -> None:
        self.n_examples += 1
        iob, types = aligned_ents(eg)
        annotated_labels = get_annotated_labels(eg.reference)
        self.n_annotated[annotated_labels] += int((iob != ENT_IOB_MISSING).sum())
        strings = eg.reference.vocab.strings
        self.n_outside += int((iob == ENT_IOB_OUTSIDE).sum())
        for code, counter in (
            (ENT_IOB_BEGIN, self.begins),
            (ENT_IOB_INSIDE, self.insides),
        ):
            label_ids, counts = np.unique(types[iob == code], return_counts=True)
            for label_id, count in zip(label_ids.tolist(), counts.tolist()):
                if label_id:
                    counter[strings[label_id]] += count
                else:  # A blocked token can't be an entity
                    self.n_outside += count
        n_aligned = int(((iob == ENT_IOB_BEGIN) & (types != 0)).sum())
        n_gold = len(eg.reference.ents)
        self.n_mentions += n_gold
        if n_gold > n_aligned:
            self.n_unaligned += n_gold - n_aligned
            if len(self.quotes) < MAX_QUOTES:
                self.quotes += _quote_unaligned(eg)[: MAX_QUOTES - len(self.quotes)]

    def get_counts(self) -> TagCounts:
        labels = sorted(set(self.begins) | set(self.insides))
        counts = dict.fromkeys(tag_names(labels), 0)
        counts["O"] = self.n_outside
        for prefix, counter in (("B-", self.begins), ("I-", self.insides)):
            counts.update({prefix + label: n for label, n in counter.items()})
        if set(self.n_annotated) - {None}:
            counts = _scale_counts(counts, labels, self.n_annotated)
        return TagCounts(labels, counts, self.n_mentions, self.n_unaligned, self.quotes)


def _scale_counts(
    counts: dict[str, int],
    labels: Sequence[str],
    n_annotated: Counter[frozenset[str] | None],
) -> dict[str, int]:
    total = sum(n_annotated.values())
    scaled = {"O": total}
    for label in labels:
        n_tokens = sum(
            n for names, n in n_annotated.items() if not names or label in names
        )
        for tag in (f"B-{label}", f"I-{label}"):
            scaled[tag] = round(counts[tag] * total / max(n_tokens, 1))
            scaled["O"] -= scaled[tag]
    return {**scaled, "O": max(scaled["O"], 0)}


def unannotated_tags(
    examples: Sequence[Example], labels: Sequence[str]
) -> NDArray[np.bool_] | None:
    """Return a mask of the tags that may be behind a gold O, because their labels were not
    annotated: shape (N, 2K + 1) for the N tokens of the predicted documents; None if all
    labels were annotated.
    """
    annotated = [get_annotated_labels(eg.reference) for eg in examples]
    if all(names is None for names in annotated):
        return None
    return np.concatenate(
        [
            np.repeat(masked_tags(names, labels)[None], len(eg.predicted), axis=0)
            for names, eg in zip(annotated, examples)
        ]
    )


def masked_tags(
    known: Collection[str] | None, labels: Sequence[str]
) -> NDArray[np.bool_]:
    """Return a mask, shape (2K + 1,), of the tags of labels that are not known. If `known`
    is None, all labels are.
    """
    masked = np.zeros(2 * len(labels) + 1, dtype=bool)
    for i, label in enumerate(labels):
        if known is not None and label not in known:
            masked[[begin_tag(i), inside_tag(i)]] = True
    return masked


def gold_tags(
    examples: Sequence[Example], labels: Sequence[str], vocab: Vocab
) -> NDArray[np.int64]:
    """Return the gold tags of a batch on the tokens of the predicted documents, shape (N,).
    Tokens without annotation, or whose annotation can't be aligned, are `MISSING`.
    """
    pairs = [aligned_ents(eg) for eg in examples]
    lengths = np.array([len(iob) for iob, _ in pairs], dtype="int64")
    iob = np.concatenate([iob for iob, _ in pairs])
    types = np.concatenate([types for _, types in pairs])
    tags = np.full(len(iob), MISSING, dtype="int64")
    is_entity = (iob == ENT_IOB_BEGIN) | (iob == ENT_IOB_INSIDE)
    # Blocked tokens (B without a label) are annotated as no entity
    tags[(iob == ENT_IOB_OUTSIDE) | (is_entity & (types == 0))] = OUTSIDE
    for i, label in enumerate(labels):
        of_label = is_entity & (types == vocab.strings[label])
        tags[of_label & (iob == ENT_IOB_BEGIN)] = begin_tag(i)
        tags[of_label & (iob == ENT_IOB_INSIDE)] = inside_tag(i)
    unknown = is_entity & (tags == MISSING)
    if unknown.any():
        label_id = int(types[unknown][0])
        raise ValueError(
            f"The training data has the label {vocab.strings[label_id]!r}, but the "
            f"labels of the component are: {', '.join(labels) or '(none)'}. Initialize "
            "it with all training data, or remove that label from the data."
        )
    tags[orphans(tags, lengths)] -= 1  # I-x becomes B-x
    return tags


def aligned_ents(eg: Example) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return spaCy's ENT_IOB codes and ENT_TYPE ids of the gold entities on the tokens of
    the predicted document, each of shape (n_tokens,).
    """
    if same_tokens(eg.predicted, eg.reference):
        # The usual case, and about thirty times faster than an alignment
        values = eg.reference.to_array([ENT_IOB, ENT_TYPE]).reshape(-1, 2)
        return values[:, 0].astype("int64"), values[:, 1].astype("uint64")
    strings = eg.reference.vocab.strings
    iob = np.zeros(len(eg.predicted), dtype="int64")
    types = np.zeros(len(eg.predicted), dtype="uint64")
    for i, tag in enumerate(eg.get_aligned_ner()):
        if tag is not None:
            iob[i] = _IOB_OF_BILUO[tag[0]]
            types[i] = strings[tag[2:]] if tag != "O" else 0
    if not eg.reference.has_annotation("ENT_IOB"):
        iob[:] = ENT_IOB_MISSING
    return iob, types


def same_tokens(a: Doc, b: Doc) -> bool:
    """Return whether two documents, of one vocabulary or two, have the same tokens."""
    return len(a) == len(b) and np.array_equal(a.to_array(ORTH), b.to_array(ORTH))


def _quote_unaligned(eg: Example) -> list[str]:
    aligned = set()
    for tag, token in zip(eg.get_aligned_ner(), eg.predicted):
        if tag is not None and tag[0] in "BU":
            aligned.add(token.idx)
    return [
        f"{ent.text!r} in {eg.predicted.text[max(0, ent.start_char - 10) : ent.end_char + 10]!r}"
        for ent in eg.reference.ents
        if ent.start_char not in aligned
    ]
