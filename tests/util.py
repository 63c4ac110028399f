"""Small data and models for the tests."""

import copy
import pickle
from pathlib import Path
from typing import List

import spacy
from spacy.training import Example
from spacy.util import fix_random_seed

BIO = {"nlp": {"tokenizer": {"@tokenizers": "welt_spacy.BioTokenizer.v1"}}}

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
    """A blank pipeline with a small `welt_ner`."""
    model = {
        "@architectures": "welt_spacy.TokenClassifier.v1",
        "tok2vec": TINY_TOK2VEC,
        **settings.pop("model", {}),
    }
    nlp = spacy.blank("en", config=BIO)
    nlp.add_pipe("welt_ner", config={"model": model, **settings})
    return nlp


def make_examples(nlp, data=TRAIN_DATA) -> List[Example]:
    return [
        Example.from_dict(nlp.make_doc(text), {"entities": entities})
        for text, entities in data
    ]


def train(nlp, examples, steps=60, learn_rate=0.01):
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = learn_rate
    losses = {}
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
    return losses


def ents(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


def copies(nlp, path: Path) -> list:
    """The copies of a pipeline that people make: loaded from where it was saved, deep,
    and pickled."""
    return [spacy.load(path), copy.deepcopy(nlp), pickle.loads(pickle.dumps(nlp))]


def make_tiny_bert(path: Path, max_position: int = 64) -> Path:
    """Save a random BERT with one layer and a word-piece tokenizer of letters."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    fix_random_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,-()'/%"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = [*special, *letters, *(f"##{letter}" for letter in letters)]
    vocab += ["aspirin", "mice", "we", "gave", "to"]
    path.mkdir(parents=True)
    (path / "vocab.txt").write_text("\n".join(vocab) + "\n")
    tokenizer = BertTokenizerFast(
        str(path / "vocab.txt"), do_lower_case=True, model_max_length=max_position
    )
    tokenizer.save_pretrained(path)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_position,
    )
    BertModel(config).save_pretrained(path)
    return path
