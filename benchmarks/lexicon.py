"""A list of names as a feature: what names that are added to it after training bring.

    spacy welt corpora names corpus/bc5cdr/train.spacy names.jsonl
    spacy welt config with_list.cfg --encoder cpu --scheme vanilla --lexicon names.jsonl \\
        --vectors training/minilm.vectors
    spacy train with_list.cfg --output training/with_list
    python benchmarks/lexicon.py training/with_list/model-best ...

Half of the names of the test data that are not in the training data are the user's list. Recall
is counted of these, of the other half and of names of the training data.
"""

import random
import warnings
from collections import Counter
from pathlib import Path

import typer
from common import about
from spacy.vocab import Vocab

from welt_spacy.corpora.names import collect_names
from welt_spacy.pipeline.inference import predict_examples
from welt_spacy.scoring.strict import ner_score
from welt_spacy.tokens.docs import read_docs, read_examples
from welt_spacy.util.pipelines import load_pipeline

GROUPS = ("given", "other unseen", "seen")


def main(models: list[Path], data: Path = Path("corpus/bc5cdr"), seed: int = 0) -> None:
    warnings.filterwarnings("ignore", message=r"\[W036\]")  # the empty list
    vocab = Vocab()
    known = collect_names(read_docs(data / "train.spacy", vocab))
    keys = {(name["label"], name["pattern"].lower()) for name in known}
    group = dict.fromkeys(keys, "seen")
    unseen = [
        name
        for name in collect_names(read_docs(data / "test.spacy", vocab))
        if (name["label"], name["pattern"].lower()) not in keys
    ]
    random.Random(seed).shuffle(unseen)
    for i, name in enumerate(unseen):
        group[name["label"], name["pattern"].lower()] = GROUPS[i % 2]
    lists = {
        "none": [],
        "training data": known,
        "and those given": [*known, *unseen[::2]],
    }
    print(f"| pipeline | list | F1 | {' | '.join(f'recall, {g}' for g in GROUPS)} |")
    print("|---|---|---|---|---|---|")
    for path in models:
        for name, names in lists.items():
            nlp = load_pipeline(path)
            nlp.get_pipe("lexicon").clear()
            nlp.get_pipe("lexicon").add_patterns(names)
            examples = read_examples(nlp, data / "test.spacy")
            predict_examples(nlp, examples)
            hits: dict[str, int] = Counter()
            total: dict[str, int] = Counter()
            for eg in examples:
                predicted = {
                    (e.start_char, e.end_char, e.label_) for e in eg.predicted.ents
                }
                for ent in eg.reference.ents:
                    where = group[ent.label_, ent.text.lower()]
                    total[where] += 1
                    hits[where] += (
                        ent.start_char,
                        ent.end_char,
                        ent.label_,
                    ) in predicted
            cells = [f"{100 * hits[g] / total[g]:.1f}" for g in GROUPS]
            f = 100 * ner_score(examples)["ents_f"]
            print(f"| {path} | {name} | {f:.2f} | {' | '.join(cells)} |", flush=True)
    print(f"\n{about(['spacy', 'thinc', 'numpy'])}")


if __name__ == "__main__":
    typer.run(main)
