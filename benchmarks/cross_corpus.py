"""Trained on one corpus, tested on others: strict F1 of each type.

    spacy welt corpora combine bc5cdr ncbi_disease bc2gm linnaeus biored_chemical biored_disease \\
        --output corpus/bio
    python benchmarks/cross_corpus.py "NAME=TRAIN.spacy=MODEL,MODEL" ...

The models of a name are its seeds. Sentences of a test file that stand in the training data
of a row are left out of it.
"""

from pathlib import Path

import typer
from common import about, format_mean_sd
from spacy.tokens import Span
from spacy.vocab import Vocab

from welt_spacy.corpora.combine import RENAMED
from welt_spacy.corpora.overlap import TextIndex, index_docs
from welt_spacy.pipeline.inference import predict_examples
from welt_spacy.scoring.strict import ner_score
from welt_spacy.tokens.annotated_labels import get_annotated_labels
from welt_spacy.tokens.docs import read_docs, read_examples
from welt_spacy.util.pipelines import load_pipeline


def score(model: Path, file: Path, train: TextIndex) -> dict[str, float]:
    """Return the F1 of each label of the test file."""
    nlp = load_pipeline(model)
    examples = [
        eg for eg in read_examples(nlp, file) if not train.has(eg.reference.text)
    ]
    predict_examples(nlp, examples)
    labels = set()
    for eg in examples:
        labels |= get_annotated_labels(eg.reference) or set()
        eg.predicted.set_ents(
            [
                Span(
                    *(eg.predicted, ent.start, ent.end),
                    label=RENAMED.get(ent.label_, ent.label_),
                )
                for ent in eg.predicted.ents
            ]
        )
    per_type = ner_score(examples)["ents_per_type"]
    return {label: 100 * per_type[label]["f"] for label in sorted(labels)}


def main(models: list[str], folder: Path = Path("corpus/bio")) -> None:
    files = {
        path.stem.removeprefix("test-"): path
        for path in sorted(folder.glob("test-*.spacy"))
    }
    header: list[str] = []
    for model in models:
        name, train, paths = model.split("=", 2)
        index = index_docs(read_docs(Path(train), Vocab()))
        cells: dict[str, list[float]] = {}
        for path in paths.split(","):
            known = {
                RENAMED.get(label, label)
                for label in load_pipeline(Path(path)).get_pipe("welt_ner").labels
            }
            for corpus, file in files.items():
                for label, f in score(Path(path), file, index).items():
                    values = cells.setdefault(f"{corpus}, {label}", [])
                    if label in known:
                        values.append(f)
        if not header:
            header = list(cells)
            print(f"| trained on | {' | '.join(header)} |")
            print("|---" * (len(header) + 1) + "|")
        row = [format_mean_sd(cells[cell]) if cells[cell] else "" for cell in header]
        print(f"| {name} | {' | '.join(row)} |", flush=True)
    print(f"\n{about(['spacy', 'thinc', 'numpy'])}")


if __name__ == "__main__":
    typer.run(main)
