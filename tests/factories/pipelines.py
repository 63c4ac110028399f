"""Pipelines with a small `welt_ner`, and the data to train them on."""

import copy
import os
import pickle
from pathlib import Path

import spacy
from spacy.tokens import DocBin
from spacy.training import Example

BIO = {"nlp": {"tokenizer": {"@tokenizers": "welt_spacy.BioTokenizer.v1"}}}


def n_examples(n: int) -> int:
    """Return the number of examples of a property test: `n`, or WELT_EXAMPLES if that
    is set."""
    return int(os.environ.get("WELT_EXAMPLES", n))


TRAIN_DATA = [
    (
        "Selegiline-induced postural hypotension in Parkinson's disease.",
        [(0, 10, "Chemical"), (19, 39, "Disease"), (43, 62, "Disease")],
    ),
    ("Aspirin and N-acetylcysteine were given.", [(0, 7, "Chemical"), (12, 28, "Chemical")]),
    ("No patient had nausea.", [(15, 21, "Disease")]),
    ("The study was blind.", []),
]  # fmt: skip

TINY_TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 32,
    "depth": 1,
    "embed_size": 200,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
}


def make_nlp(**settings):
    """Return a blank pipeline with a small `welt_ner` of these settings."""
    model = {
        "@architectures": "welt_spacy.TokenClassifier.v1",
        "tok2vec": TINY_TOK2VEC,
        **settings.pop("model", {}),
    }
    nlp = spacy.blank("en", config=BIO)
    nlp.add_pipe("welt_ner", config={"model": model, **settings})
    return nlp


def make_examples(nlp, data=TRAIN_DATA) -> list[Example]:
    """Return examples with gold entities that the pipeline has not seen."""
    return [
        Example.from_dict(nlp.make_doc(text), {"entities": entities})
        for text, entities in data
    ]


def train(nlp, examples, steps=60, learn_rate=0.01):
    """Initialize a pipeline, train it, and return the losses of the last step."""
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = learn_rate
    losses = {}
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
    return losses


def ents(doc):
    """Return text and label of all entities."""
    return [(ent.text, ent.label_) for ent in doc.ents]


def copies(nlp, path: Path) -> list:
    """Copy a pipeline in three ways: load it from where it was saved, deep-copy and
    pickle it."""
    return [spacy.load(path), copy.deepcopy(nlp), pickle.loads(pickle.dumps(nlp))]


def save_docs(path: Path, examples: list[Example]) -> Path:
    """Save the gold documents of examples as a `.spacy` file."""
    DocBin(docs=[eg.reference for eg in examples], store_user_data=True).to_disk(path)
    return path
