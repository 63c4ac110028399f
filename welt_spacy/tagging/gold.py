"""From gold-standard docs to tags: what the loss and the class counts see."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import (
    NamedTuple,
)

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


class TagCounts(NamedTuple):
    """What a training corpus contains, seen through the pipeline's tokenizer.

    labels (list[str]): The entity labels, sorted.
    counts (dict[str, int]): Annotated tokens for each tag.
    n_mentions (int): Gold mentions.
    n_unaligned (int): Gold mentions whose boundaries are not token boundaries.
    unaligned (list[str]): Some of them, quoted, for a message.
    """

    labels: list[str]
    counts: dict[str, int]
    n_mentions: int
    n_unaligned: int
    unaligned: list[str]


def count_tags(examples: Iterable[Example]) -> TagCounts:
    """Count the tags of a corpus in one pass.

    examples (Iterable[Example]): The training corpus. If a label was looked for in some
        docs alone (`annotated_labels`), its tags are counted there and scaled to all
        tokens, as if it had been looked for everywhere.
    RETURNS (TagCounts): The counts.
    """
    begins: Counter = Counter()
    insides: Counter = Counter()
    n_outside = n_mentions = n_unaligned = 0
    # Annotated tokens by the labels that were looked for in them; None: all
    looked_for: Counter = Counter()
    quoted: list[str] = []
    for eg in examples:
        iob, types = aligned_ents(eg)
        looked_for[get_annotated_labels(eg.reference)] += int(
            (iob != ENT_IOB_MISSING).sum()
        )
        strings = eg.reference.vocab.strings
        n_outside += int((iob == ENT_IOB_OUTSIDE).sum())
        for kind, counter in ((ENT_IOB_BEGIN, begins), (ENT_IOB_INSIDE, insides)):
            found, n = np.unique(types[iob == kind], return_counts=True)
            for label_id, count in zip(found.tolist(), n.tolist()):
                if label_id:  # 0: blocked, no entity may be here
                    counter[strings[label_id]] += count
                else:
                    n_outside += count
        n_aligned = int(((iob == ENT_IOB_BEGIN) & (types != 0)).sum())
        n_gold = len(eg.reference.ents)
        n_mentions += n_gold
        if n_gold > n_aligned:
            n_unaligned += n_gold - n_aligned
            if len(quoted) < 3:
                quoted.extend(_unaligned_mentions(eg)[: 3 - len(quoted)])
    labels = sorted(set(begins) | set(insides))
    counts = dict.fromkeys(tag_names(labels), 0)
    counts["O"] = n_outside
    for prefix, counter in (("B-", begins), ("I-", insides)):
        counts.update({prefix + label: n for label, n in counter.items()})
    if set(looked_for) - {None}:
        counts = _scale_counts(counts, labels, looked_for)
    return TagCounts(labels, counts, n_mentions, n_unaligned, quoted)


def _scale_counts(
    counts: dict[str, int], labels: Sequence[str], looked_for: Counter
) -> dict[str, int]:
    total = sum(looked_for.values())
    scaled = {"O": total}
    for label in labels:
        seen = sum(n for names, n in looked_for.items() if not names or label in names)
        for tag in (f"B-{label}", f"I-{label}"):
            scaled[tag] = round(counts[tag] * total / max(seen, 1))
            scaled["O"] -= scaled[tag]
    return {**scaled, "O": max(scaled["O"], 0)}


def unannotated_tags(
    examples: Sequence[Example], labels: Sequence[str]
) -> NDArray[np.bool_] | None:
    """Find the tags that an O of the gold annotation may hide: those of labels that were
    not looked for.

    examples (Sequence[Example]): The batch, N tokens of predicted docs together.
    labels (Sequence[str]): The K labels of the tag set.
    RETURNS (ndarray | None): Shape (N, 2K + 1), bool; None if there are none.
    """
    found = [get_annotated_labels(eg.reference) for eg in examples]
    if all(names is None for names in found):
        return None
    return np.concatenate(
        [
            np.repeat(masked_tags(names, labels)[None], len(eg.predicted), axis=0)
            for names, eg in zip(found, examples)
        ]
    )


def masked_tags(
    known: Collection[str] | None, labels: Sequence[str]
) -> NDArray[np.bool_]:
    """Find the tags of labels that somebody does not know.

    known (Collection[str] | None): The labels that are known; None: all.
    labels (Sequence[str]): The K labels of the tag set.
    RETURNS (ndarray): Shape (2K + 1,), bool.
    """
    hidden = np.zeros(2 * len(labels) + 1, dtype=bool)
    for i, label in enumerate(labels):
        if known is not None and label not in known:
            hidden[[begin_tag(i), inside_tag(i)]] = True
    return hidden


def gold_tags(
    examples: Sequence[Example], labels: Sequence[str], vocab: Vocab
) -> NDArray[np.int64]:
    """Get the gold tags of a batch on the tokens of the predicted docs.

    examples (Sequence[Example]): The batch.
    labels (Sequence[str]): The labels of the tag set.
    vocab (Vocab): The shared vocabulary.
    RETURNS (ndarray): Shape (N,), int64, the docs end to end: tag indices, or
        `MISSING` where there is no annotation or it can't be aligned.
    RAISES (ValueError): If an entity has a label that is not in the tag set.
    """
    pairs = [aligned_ents(eg) for eg in examples]
    lengths = np.array([len(iob) for iob, _ in pairs], dtype="int64")
    iob = np.concatenate([iob for iob, _ in pairs])
    types = np.concatenate([types for _, types in pairs])
    tags = np.full(len(iob), MISSING, dtype="int64")
    is_entity = (iob == ENT_IOB_BEGIN) | (iob == ENT_IOB_INSIDE)
    # Blocked tokens (B without a label) are known not to be entities.
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
            f"component knows {', '.join(labels) or 'no label'}. Initialize it on all "
            "of the training data, or remove that label from the data."
        )
    tags[orphans(tags, lengths)] -= 1  # I-x becomes B-x
    return tags


def aligned_ents(eg: Example) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Get the gold entities of an example on the tokens of the predicted doc.

    eg (Example): The example.
    RETURNS (tuple[ndarray, ndarray]): spaCy's ENT_IOB codes and ENT_TYPE ids,
        each of shape (n_tokens,).
    """
    if same_tokens(eg.predicted, eg.reference):
        # About thirty times faster than an alignment, and the usual case.
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


def same_tokens(one: Doc, other: Doc) -> bool:
    """Compare the tokens of two docs.

    one, other (Doc): The docs, of one vocabulary or of two.
    RETURNS (bool): Whether they have the same tokens.
    """
    return len(one) == len(other) and np.array_equal(
        one.to_array(ORTH), other.to_array(ORTH)
    )


def _unaligned_mentions(eg: Example) -> list[str]:
    aligned = set()
    for tag, token in zip(eg.get_aligned_ner(), eg.predicted):
        if tag is not None and tag[0] in "BU":
            aligned.add(token.idx)
    return [
        f"{ent.text!r} in {eg.predicted.text[max(0, ent.start_char - 10) : ent.end_char + 10]!r}"
        for ent in eg.reference.ents
        if ent.start_char not in aligned
    ]
