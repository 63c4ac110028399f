"""Docs to the JSON of their answers and back, for all corpora that can be reached: how many
mentions come back, and which do not.

    WELT_CORPORA_MIRROR=... python benchmarks/round_trip.py [--shown 5]
"""

import subprocess
from collections import Counter
from pathlib import Path

import spacy
import typer
from common import prepare
from spacy.tokens import DocBin

from welt_spacy.corpora.catalog import CATALOG
from welt_spacy.llm.responses import align_entities, make_response, parse_response

SPLITS = ("train", "dev", "test")


def main(corpora: list[str] = sorted(CATALOG), shown: int = 0) -> None:
    print(
        "| corpus | docs | mentions | come back | % | names that stand elsewhere too |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in corpora:
        try:
            folder = prepare(name, Path("corpus"))
        except subprocess.CalledProcessError as err:  # it can not be reached
            print(f"| {name} | {str(err)[:40]} |")
            continue
        vocab = spacy.blank("en").vocab
        n_docs = n = same = 0
        issues: Counter = Counter()
        lost = []
        for split in SPLITS:
            path = folder / f"{split}.spacy"
            for doc in (
                DocBin().from_disk(path).get_docs(vocab) if path.is_file() else ()
            ):
                aligned = align_entities(
                    doc, parse_response(make_response(doc)).entities
                )
                gold = {(ent.start, ent.end, ent.label_) for ent in doc.ents}
                back = {(s.start, s.end, s.label_) for s in aligned.spans}
                n_docs, n, same = n_docs + 1, n + len(gold), same + len(gold & back)
                issues.update(aligned.issues)
                lost += [
                    (doc[start:end].text, label) for start, end, label in gold - back
                ]
        print(
            f"| {name} | {n_docs:,} | {n:,} | {same:,} | {100 * same / n:.2f} | {issues['ambiguous']:,} |"
        )
        assert set(issues) <= {"ambiguous"}, issues
        for text, label in lost[:shown]:
            print(f"  {label}: {text!r}")


if __name__ == "__main__":
    typer.run(main)
