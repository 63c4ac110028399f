"""Pipelines beside one another: BC5CDR's test data, seen and unseen mentions, BioRED as
another domain, words a second on one core, size.

    OMP_NUM_THREADS=1 python benchmarks/pipelines.py "NAME=MODEL,MODEL,MODEL" ...

The models of a name are its seeds. BioRED is without the abstracts that are in BC5CDR.
"""

import json
import sys
from pathlib import Path

import spacy
import typer
from common import about, evaluate, format_mean_sd, measure_speed, prepare, size_of
from spacy.tokens import DocBin

from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.combine import Part, combine_corpora
from welt_spacy.corpora.fetch import fetch
from welt_spacy.corpora.overlap import index_docs

OTHERS = ("biored_chemical", "biored_disease")


def other_domain(data: Path, output: Path) -> Path:
    """Write BioRED's test data, both types in one, without the documents of BC5CDR."""
    path = output / "biored-test.spacy"
    if path.is_file():
        return path
    parts = []
    for name in (*OTHERS, "ncbi_disease"):  # two publications make a combination
        corpus = get_corpus(name)
        parts.append(Part(corpus, fetch(corpus)))
    combine_corpora(parts, output / "biored")
    vocab = spacy.blank("en").vocab
    known = [
        doc
        for split in ("train", "dev", "test")
        for doc in DocBin().from_disk(data / f"{split}.spacy").get_docs(vocab)
    ]
    index = index_docs(known)
    docs = DocBin().from_disk(output / "biored/test-biored.spacy").get_docs(vocab)
    left: dict[str, list] = {}
    for doc in docs:
        left.setdefault(doc.user_data["welt_spacy.document"], []).append(doc)
    docs = [
        doc
        for part in left.values()
        if sum(index.has(doc.text) for doc in part) < len(part) / 2
        for doc in part
    ]
    print(f"BioRED: {len(left)} abstracts, {len(docs)} sentences", file=sys.stderr)
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


def main(
    models: list[str], output: Path = Path("training/benchmarks/pipelines")
) -> None:
    data = prepare("bc5cdr", Path("corpus"))
    output.mkdir(parents=True, exist_ok=True)
    files = {"bc5cdr": data / "test.spacy", "biored": other_domain(data, output)}
    named = {
        name: [Path(path) for path in paths.split(",")]
        for name, paths in (model.split("=", 1) for model in models)
    }
    speeds = measure_speed({name: paths[0] for name, paths in named.items()}, data)
    print("| pipeline | P / R / F1 | seen | unseen | BioRED F1 | words/s | MB |")
    print("|---|---|---|---|---|---|---|")
    for name, paths in named.items():
        scores = {
            where: [evaluate(path, file, data, output) for path in paths]
            for where, file in files.items()
        }
        test = [one["strict"] for one in scores["bc5cdr"]]
        slices = [one["slices"]["mention in train"] for one in scores["bc5cdr"]]
        figures = [
            " / ".join(
                format_mean_sd([100 * one[key] for one in test]) for key in "prf"
            ),
            *(
                format_mean_sd([100 * s[w]["f"] for s in slices])
                for w in ("seen", "unseen")
            ),
            format_mean_sd([100 * one["strict"]["f"] for one in scores["biored"]]),
            f"{speeds[name]:,.0f}",
            f"{size_of(paths[0]):.0f}",
        ]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)
        (output / f"{name}.json").write_text(json.dumps(scores))
    print(f"\n{about(['spacy', 'thinc', 'numpy'])}")


if __name__ == "__main__":
    typer.run(main)
