"""Pipelines on whole abstracts: as much of one as fits in a window, sentence by sentence, and
with what a name says of its other occurrences.

    spacy welt corpora convert bc5cdr_docs
    OMP_NUM_THREADS=1 python benchmarks/abstracts.py "NAME=MODEL,MODEL,MODEL" ...

The models of a name are its seeds. `label_propagation` is tuned on dev.
"""

from pathlib import Path
from typing import Any

import spacy
import typer
from common import about, format_mean_sd
from spacy.language import Language

from welt_spacy.evaluation.tuning.label_propagation import tune_label_propagation
from welt_spacy.evaluation.tuning.predictions import predict_dev
from welt_spacy.tokens.docs import read_examples
from welt_spacy.util.pipelines import load_pipeline

ENCODER = "welt_spacy.TransformerEncoder.v1"


def read_as(model: Path, context: Any) -> Language:
    """Load a pipeline whose encoder reads sentences, or as much as fits (None)."""
    where = {"components": {"welt_ner": {"model": {"tok2vec": {"context": context}}}}}
    nlp = spacy.load(model, config=where)
    if "welt_sentencizer" not in nlp.pipe_names:
        nlp.add_pipe("welt_sentencizer", first=True)
    return nlp


def main(models: list[str], data: Path = Path("corpus/bc5cdr_docs")) -> None:
    print(
        "| pipeline | one window | by sentences | with label_propagation | settings |"
    )
    print("|---|---|---|---|---|")
    for name, paths in (model.split("=", 1) for model in models):
        scores: dict[str, list[dict[str, Any]]] = {
            "window": [],
            "plain": [],
            "spread": [],
        }
        settings = []
        for path in map(Path, paths.split(",")):
            nlp = load_pipeline(path)
            tok2vec = nlp.get_pipe_config("welt_ner")["model"]["tok2vec"]
            if tok2vec["@architectures"] == ENCODER:
                whole = read_as(path, None)
                scores["window"].append(
                    whole.evaluate(read_examples(whole, data / "test.spacy"))
                )
                nlp = read_as(path, 0)
            nlp.get_pipe("welt_ner").label_propagation = None
            test = data / "test.spacy"
            scores["plain"].append(nlp.evaluate(read_examples(nlp, test)))
            tuning = tune_label_propagation(
                predict_dev(nlp, read_examples(nlp, data / "dev.spacy"))
            )
            scores["spread"].append(nlp.evaluate(read_examples(nlp, test)))
            settings.append(tuning.settings)
        cells = [
            " / ".join(
                format_mean_sd([100 * one[f"ents_{k}"] for one in column])
                for k in "prf"
            )
            if column
            else ""
            for column in scores.values()
        ]
        print(f"| {name} | {' | '.join(cells)} | {settings} |", flush=True)
    print(f"\n{about(['spacy', 'thinc', 'numpy'])}")


if __name__ == "__main__":
    typer.run(main)
