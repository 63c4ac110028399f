"""Our scores against seqeval's, spaCy's and the figures of FairEval's author.

    python benchmarks/scoring_parity.py [--faireval folder]

Strict: predictions are the gold annotation of every real test split that can be
reached, with entities dropped, moved, cut, lengthened and relabelled at random.
Compared are precision, recall and F1: micro, macro and of every type. FairEval:
`--faireval` is a folder with `target_ner_spans.csv`, `system_ner_spans.csv` and
`expected_ner.csv` of Ortmann's own example; by default `faireval` beside the mirror.
"""

import csv
import os
import random
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import typer
from common import about
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans
from spacy.vocab import Vocab

from welt_spacy.corpora.catalog import CATALOG, get_corpus
from welt_spacy.corpora.convert import convert_file
from welt_spacy.corpora.fetch import fetch
from welt_spacy.errors import WeltError
from welt_spacy.scoring.fair import fair_eval
from welt_spacy.scoring.pairs import aligned_predictions
from welt_spacy.scoring.spans import LabelledSpan, Scores
from welt_spacy.scoring.strict import strict_eval

LABELS = ("Chemical", "Disease", "Gene", "Species")


class Parity(NamedTuple):
    """The largest differences of scores, and the seconds of each scorer."""

    entities: int
    figures: int
    seqeval: float
    spacy: float
    seconds: dict[str, float]


def load_test(corpus_id: str) -> list[Doc]:
    """Load the test split of a corpus, from the mirror, the cache or the publisher."""
    corpus = get_corpus(corpus_id)
    path = fetch(corpus)["test"]
    return convert_file(path, corpus.format, types=corpus.types, vocab=Vocab()).docs


def disturb(doc: Doc, rng: random.Random) -> Doc:
    """Copy a doc with the entities of a mediocre model."""
    ents = []
    for ent in doc.ents:
        start, end, label = ent.start, ent.end, ent.label_
        kind = rng.choice(["right", "right", "right", "drop", "move", "cut", "label"])
        if kind == "drop":
            continue
        if kind == "move":
            start, end = start + 1, end + 1
        elif kind == "cut":
            start += rng.choice([-1, 1])
        elif kind == "label":
            label = rng.choice(LABELS)
        start, end = max(start, 0), min(end, len(doc))
        if start < end:
            ents.append(Span(doc, start, end, label=label))
    if len(doc) and rng.random() < 0.2:
        place = rng.randrange(len(doc))
        ents.append(Span(doc, place, place + 1, label=rng.choice(LABELS)))
    spans = [Span(doc, e.start, e.end, label=e.label) for e in filter_spans(ents)]
    copy = Doc(doc.vocab, words=[token.text for token in doc])
    copy.set_ents([Span(copy, s.start, s.end, label=s.label) for s in spans])
    return copy


def compare(docs: list[Doc], seed: int = 0) -> Parity:
    rng = random.Random(seed)
    examples = [Example(disturb(doc, rng), doc) for doc in docs]
    for example in examples:
        example.alignment  # noqa: B018  # made when first asked for, for all alike
    seconds = {}

    def timed(name, function, *args, **kwargs):
        started = time.perf_counter()
        result = function(*args, **kwargs)
        seconds[name] = time.perf_counter() - started
        return result

    def score():
        gold = [
            [(ent.label_, ent.start, ent.end) for ent in eg.reference.ents]
            for eg in examples
        ]
        predicted = [[span for span, _ in aligned_predictions(eg)] for eg in examples]
        return strict_eval(gold, predicted)

    ours = timed("ours", score)
    spacy = timed("spacy", get_ner_prf, examples)
    golds = [tags_of(example.reference) for example in examples]
    guesses = [tags_of(example.predicted) for example in examples]
    apart: dict[str, list[float]] = {"seqeval": [], "spacy": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types that have no gold entity
        options = {"scheme": IOB2, "zero_division": 0}
        micro = timed(
            "seqeval",
            precision_recall_fscore_support,
            *(golds, guesses),
            average="micro",
            **options,
        )
        macro = precision_recall_fscore_support(
            golds, guesses, average="macro", **options
        )
        each = precision_recall_fscore_support(golds, guesses, average=None, **options)
    rows = [(ours.micro, micro), (ours.macro, macro)]
    rows += [
        (scores, [column[i] for column in each])
        for i, scores in enumerate(ours.per_type.values())
    ]
    for mine, theirs in rows:
        apart["seqeval"] += [abs(a - b) for a, b in zip(mine, theirs)]
    both = [(ours.micro, {name: spacy[f"ents_{name}"] for name in "prf"})]
    both += [(ours.per_type[n], part) for n, part in spacy["ents_per_type"].items()]
    for mine, theirs in both:
        apart["spacy"] += [abs(getattr(mine, name) - theirs[name]) for name in "prf"]
    assert set(spacy["ents_per_type"]) == set(ours.per_type)
    assert len(each[0]) == len(ours.per_type)
    return Parity(
        sum(len(doc.ents) for doc in docs),
        len(apart["seqeval"]) + len(apart["spacy"]),
        max(apart["seqeval"]),
        max(apart["spacy"]),
        seconds,
    )


def tags_of(doc: Doc) -> list[str]:
    return [f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else "O" for t in doc]


def read_spans(path: Path) -> list[list[LabelledSpan]]:
    """Read the spans of FairEval's example, sentence by sentence."""
    sentences: list[list[LabelledSpan]] = [[]]
    for row in path.read_text(encoding="utf8").split("\n"):
        if not row.strip():
            sentences.append([])
        elif row.split("\t")[0] not in ("NONE", "EMPTY"):
            label, first, last = row.split("\t")[:3]
            sentences[-1].append((label, int(first), int(last) + 1))
    return sentences


def read_tables(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Read the sections of FairEval's output as rows by their first column."""
    sections: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    with path.open(encoding="utf8") as file:
        for row in csv.reader(file, delimiter="\t"):
            if row and row[0].startswith("###"):
                rows = sections.setdefault(row[0].strip("# :"), [])
            elif row:
                rows.append(row)
    return {
        name: {row[0]: dict(zip(rows[0][1:], row[1:])) for row in rows[1:]}
        for name, rows in sections.items()
    }


def fair_figures(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each figure of FairEval's example, its value there and ours."""
    counts = fair_eval(
        *(read_spans(folder / f"{name}_ner_spans.csv") for name in ("target", "system"))
    )
    tables = read_tables(folder / "expected_ner.csv")
    for name, scores in (
        ("Traditional", counts.traditional),
        ("Fair", counts.fair),
        ("Weighted", counts.weighted),
    ):
        for label, row in tables[f"{name} evaluation"].items():
            key = None if label == "overall" else label
            for column, expected in row.items():
                title = f"{name} {label} {column}"
                yield title, expected, _figure(counts, name, key, column, scores(key))
    for target, row in tables["Confusion matrix"].items():
        for system, expected in row.items():
            labels = tuple(
                None if label == "_" else label for label in (target, system)
            )
            yield (
                f"confusion {target} {system}",
                expected,
                str(counts.confusion[labels]),
            )
    for label, row in tables["Target data stats"].items():
        yield f"gold {label}", row["Freq"], str(counts.n_gold[label])


def _figure(counts, name: str, key: str | None, column: str, scores: Scores) -> str:
    if column in ("Prec", "Rec", "F1"):
        return f"{100 * scores[('Prec', 'Rec', 'F1').index(column)]:.2f}"
    if name == "Traditional" and column != "TP":
        # Without kinds of errors: all that is not right
        n = counts.n_gold if column == "FN" else counts.n_predicted
        return str((n.total() if key is None else n[key]) - counts.count("TP", key))
    return str(counts.count(column, key))


def main(faireval: Path | None = None, seed: int = 0) -> None:
    print(
        "| test split | entities | figures | to seqeval | to spaCy | s: ours | spaCy | seqeval |"
    )
    print("|---|---|---|---|---|---|---|---|")  # fmt: skip
    for corpus in CATALOG:
        try:
            differences = compare(load_test(corpus), seed)
        except WeltError as err:
            print(f"| {corpus} | not reached: {str(err)[:60]} | | | | | | |")
            continue
        times = " | ".join(
            f"{differences.seconds[n]:.2f}" for n in ("ours", "spacy", "seqeval")
        )
        print(
            f"| {corpus} | {differences.entities} | {differences.figures} | {differences.seqeval:.0e} "
            f"| {differences.spacy:.0e} | {times} |",
            flush=True,
        )
    mirror = os.environ.get("WELT_CORPORA_MIRROR")
    if faireval is None and mirror:
        faireval = Path(mirror).parent / "faireval"
    if faireval is None or not faireval.is_dir():
        print("\nFairEval's example was not there: give its folder with --faireval")
    else:
        figures = list(fair_figures(faireval))
        wrong = [name for name, expected, got in figures if expected != got]
        print(
            f"\nFairEval's example: {len(figures)} figures, {len(wrong)} differ {wrong}"
        )
    print(f"\n{about(['spacy', 'seqeval'])}")


if __name__ == "__main__":
    typer.run(main)
