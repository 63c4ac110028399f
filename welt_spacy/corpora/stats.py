"""Counting a corpus beside the paper's tables."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..ml.class_weights import ens, ins, isns, power, scale_weights, vanilla, welt
from .catalog import Corpus
from .convert import convert_splits, count_docs

NOTES = {
    "ncbi_disease": (
        "The paper's table 1 has 74.44 / 12.67 / 12.89 % for this corpus and 5,433 "
        "sentences in train; the published files have neither (docs/corpora.md)."
    )
}
BLANK_LINE = "* The paper counts the blank line at the end of each file as a sentence."


@dataclass
class CorpusStats:
    """What is in a corpus.

    sentences, tokens, mentions (dict[str, int]): By split.
    shares (dict[str, tuple[int, float]]): O, B and I of train, all types taken
        together: tokens and percentage.
    weights (dict[str, dict[str, float]]): Scheme -> tag -> weight, scaled to a
        mean of 1 over the training tokens.
    notes (list[str]): What a reader of the figures should know.
    """

    sentences: dict[str, int]
    tokens: dict[str, int]
    mentions: dict[str, int]
    shares: dict[str, tuple[int, float]]
    weights: dict[str, dict[str, float]]
    notes: list[str]


def corpus_stats(corpus: Corpus, files: dict[str, Path]) -> CorpusStats:
    """Count a corpus.

    corpus (Corpus): The corpus.
    files (dict[str, Path]): The file of each split.
    RETURNS (CorpusStats): The figures.
    """
    parts = convert_splits(corpus, files, n_sents=1)
    counts = count_docs(parts["train"].docs)
    labels = sorted({tag[2:] for tag in counts if tag != "O"})
    ordered = {"O": counts["O"]}
    for label in labels:
        ordered.update({f"{p}-{label}": counts[f"{p}-{label}"] for p in "BI"})
    total = sum(ordered.values())
    classes = {
        name: sum(n for tag, n in ordered.items() if tag[0] == name) for name in "OBI"
    }
    return CorpusStats(
        sentences={split: part.n_sentences for split, part in parts.items()},
        tokens={split: sum(map(len, part.docs)) for split, part in parts.items()},
        mentions={split: part.n_mentions for split, part in parts.items()},
        shares={name: (n, 100 * n / total) for name, n in classes.items()},
        weights=all_weights(ordered),
        notes=[*([BLANK_LINE] if corpus.paper_sizes else []), *_notes(corpus)],
    )


def all_weights(counts: dict[str, int]) -> dict[str, dict[str, float]]:
    """Weigh the tags with every scheme, with the settings that people compare.

    counts (dict[str, int]): Tokens by tag.
    RETURNS (dict[str, dict[str, float]]): Scheme -> tag -> weight, scaled to a
        mean of 1 over the tokens.
    """
    n = np.array(list(counts.values()), dtype="float64")
    schemes = [
        vanilla(),
        welt(),
        ins(),
        isns(),
        ens(0.9),
        ens(0.9999),
        power(0.25),
    ]
    return {
        str(scheme): dict(
            zip(
                counts,
                scale_weights(np.array(list(scheme(counts).values())), n).tolist(),
            )
        )
        for scheme in schemes
    }


def _notes(corpus: Corpus) -> list[str]:
    return [NOTES[corpus.id]] if corpus.id in NOTES else []
