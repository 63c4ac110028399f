"""Count corpora beside the tables of the paper."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..ml.class_weights import ens, ins, isns, power, scale_weights, vanilla, welt
from .catalog import Corpus
from .convert import convert_splits
from .docbin import count_tags

NOTES = {
    "ncbi_disease": (
        "The paper's table 1 has 74.44 / 12.67 / 12.89 % for this corpus and 5,433 "
        "sentences in train; the published files have neither (docs/corpora.md)."
    )
}
BLANK_LINE = "* The paper counts the blank line at the end of each file as a sentence."


@dataclass(frozen=True)
class CorpusStats:
    """Counts of a corpus.

    sentences, tokens, mentions (dict[str, int]): By split.
    shares (dict[str, tuple[int, float]]): O, B and I of train, all types together: number of
        tokens and percentage.
    weights (dict[str, dict[str, float]]): Scheme -> tag -> weight, scaled to a mean of 1 over
        the training tokens.
    notes (list[str]): Notes on the figures.
    """

    sentences: dict[str, int]
    tokens: dict[str, int]
    mentions: dict[str, int]
    shares: dict[str, tuple[int, float]]
    weights: dict[str, dict[str, float]]
    notes: list[str]


def corpus_stats(corpus: Corpus, files: dict[str, Path]) -> CorpusStats:
    """Count a corpus, given the file of each split."""
    splits = convert_splits(corpus, files, n_sents=1)
    counts = count_tags(splits["train"].docs)
    labels = sorted({tag[2:] for tag in counts if tag != "O"})
    ordered = {"O": counts["O"]}
    for label in labels:
        ordered.update({f"{p}-{label}": counts[f"{p}-{label}"] for p in "BI"})
    total = sum(ordered.values())
    classes = {
        name: sum(n for tag, n in ordered.items() if tag[0] == name) for name in "OBI"
    }
    notes = [BLANK_LINE] if corpus.paper_sizes else []
    return CorpusStats(
        sentences={name: split.n_sentences for name, split in splits.items()},
        tokens={name: sum(map(len, split.docs)) for name, split in splits.items()},
        mentions={name: split.n_mentions for name, split in splits.items()},
        shares={name: (n, 100 * n / total) for name, n in classes.items()},
        weights=all_weights(ordered),
        notes=[*notes, *([NOTES[corpus.id]] if corpus.id in NOTES else [])],
    )


def all_weights(counts: dict[str, int]) -> dict[str, dict[str, float]]:
    """Compute the weights of all schemes from the number of tokens of each tag: scheme -> tag
    -> weight, scaled to a mean of 1 over the tokens.
    """
    n_tokens = np.array(list(counts.values()), dtype="float64")
    schemes = [vanilla(), welt(), ins(), isns(), ens(0.9), ens(0.9999), power(0.25)]
    weights = {}
    for scheme in schemes:
        raw = np.array(list(scheme(counts).values()))
        weights[str(scheme)] = dict(zip(counts, scale_weights(raw, n_tokens).tolist()))
    return weights
