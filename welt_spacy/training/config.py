"""Complete training configs: for the paper's settings, and for the project."""

import json
from importlib.resources import files
from inspect import signature
from math import ceil
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from ..corpora.catalog import encoder_names, get_corpus, hyperparameters
from ..corpora.names import read_names
from ..errors import WeltError, check_number
from ..ml.class_weights import SCHEMES

CPU_ENCODER = "cpu"
CPU_STEPS = 2000
# [CLS] and [SEP], or their like, take two places in the encoder's window.
SPECIAL_PIECES = 2
PAPER_LEARN_RATE = 5e-5  # not in the paper; the default of the script it used


def make_config(
    *,
    corpus: str = "bc5cdr",
    encoder: str = "biobert",
    scheme: str = "welt",
    settings: dict[str, float] | None = None,
    seed: int = 0,
    paper: bool = True,
    train_on_dev: bool = False,
    data: str = "corpus",
    piece_vectors: str | None = None,
    max_steps: int | None = None,
    spacy_transformers: bool = False,
    lexicon: Path | None = None,
) -> str:
    """Write a config that `spacy train` takes as it is.

    corpus (str): The corpus, or any other name of a folder under `data`.
    encoder (str): An encoder of the paper, "cpu" for a small convolutional
        network, or the hub name or the folder of any other encoder.
    scheme (str): The weighting scheme.
    settings (dict[str, float] | None): Its settings, e.g. {"beta": 0.9999}.
    seed (int): The random seed.
    paper (bool): Whether to take the paper's window, batch size and epochs
        (table 12), or the settings of this project's `configs/welt.cfg`. An encoder
        that is not in the paper, or a corpus of whole abstracts, has the latter in any
        case.
    train_on_dev (bool): Whether to train on train and dev, as the paper did;
        then the scores on dev mean nothing.
    data (str): The folder of the converted corpora.
    piece_vectors (str | None): For encoder "cpu": the file that `spacy welt vectors`
        made.
    max_steps (int | None): For encoder "cpu": how long to train, 2,000 steps if not
        set.
    spacy_transformers (bool): Whether a component of spacy-transformers runs the
        encoder, which others can listen to, or `welt_spacy.TransformerEncoder.v1`.
    lexicon (Path | None): A list of names that is a feature: JSONL with "label" and
        "pattern", as spaCy's rulers have it.
    RETURNS (str): The config.
    RAISES (WeltError): If a name is unknown, the scheme does not have a setting, piece
        vectors are given to a transformer, a lexicon to spacy-transformers, or the
        lexicon can't be read.
    """
    if lexicon is not None and spacy_transformers:
        raise WeltError(
            "A lexicon is added to the vectors of words, which spacy-transformers does "
            "not have: leave --spacy-transformers out"
        )
    if piece_vectors is not None and encoder != CPU_ENCODER:
        raise WeltError(
            f"Vectors of word pieces are for the encoder {CPU_ENCODER!r}: a transformer "
            "has its own"
        )
    if scheme not in SCHEMES:
        raise WeltError(
            f"No weighting scheme is called {scheme!r}: use one of {', '.join(SCHEMES)}"
        )
    if scheme == "explicit":
        raise WeltError(
            "The scheme 'explicit' needs its weights: write them into the config of "
            "another scheme, as [components.welt_ner.weighting.weights]"
        )
    _check_settings(scheme, settings or {})
    in_paper = encoder in encoder_names()
    values: dict[str, Any] = {
        "about": "",
        "train": f"{data}/{corpus}/{'train_dev' if train_on_dev else 'train'}.spacy",
        "dev": f"{data}/{corpus}/dev.spacy",
        "encoder": encoder,
        "transformer": encoder != CPU_ENCODER,
        "shared": encoder != CPU_ENCODER and spacy_transformers,
        "piece_vectors": piece_vectors,
        "head_rate": 1.0,
        "seed": seed,
        "scheme": scheme,
        "scheme_settings": settings or {},
        "lexicon": None if lexicon is None else str(lexicon),
        "lexicon_labels": [],
        "max_length": 510,
        "sentences_per_batch": None,
    }
    if lexicon is not None:
        labels = {pattern["label"] for pattern in read_names(lexicon)}
        values["lexicon_labels"] = sorted(labels)
    if encoder == CPU_ENCODER:
        steps = CPU_STEPS if max_steps is None else max_steps
        check_number("max_steps", steps, low=1)
        # Ten looks at dev, which is read whole each time
        values.update(max_epochs=0, max_steps=steps, eval_frequency=max(steps // 10, 1))
    else:
        if in_paper:
            values["encoder"] = hyperparameters("bc5cdr", encoder)["hub_name"]
        values.update(
            max_epochs=10,
            max_steps=0,
            eval_frequency=200,
            warmup_steps=250,
            total_steps=3000,
            learn_rate=PAPER_LEARN_RATE,
        )
        # Batches of the paper are of sentences
        if in_paper and paper and get_corpus(corpus).n_sents:
            values.update(_paper_values(corpus, encoder, train_on_dev))
    template = files("welt_spacy").joinpath("assets").joinpath("config.cfg.jinja")
    environment = Environment(undefined=StrictUndefined)
    environment.filters["quoted"] = _quoted
    values["overlap"] = min(128, values["max_length"] // 3)
    text = environment.from_string(template.read_text(encoding="utf8")).render(values)
    return text.strip() + "\n"


def _quoted(value: Any) -> str:
    """A value as a config has it: JSON, without a sign that begins a variable."""
    text = json.dumps(value, ensure_ascii=False)
    if "$" in text:
        raise WeltError(
            f"{value} has a $, which begins a variable in a config: use another name"
        )
    return text


def _check_settings(scheme: str, settings: dict[str, float]) -> None:
    known = list(signature(SCHEMES[scheme]).parameters)
    for name in settings:
        if name not in known:
            raise WeltError(
                f"The scheme {scheme!r} has no setting {name!r}: "
                + (f"use one of {', '.join(known)}" if known else "it has none")
            )
    SCHEMES[scheme](**settings)  # raises an error for values that make no sense


def _paper_values(corpus: str, encoder: str, train_on_dev: bool) -> dict[str, Any]:
    row = hyperparameters(corpus, encoder)
    sizes = get_corpus("bc5cdr_chemical" if corpus == "bc5cdr" else corpus).paper_sizes
    assert sizes is not None  # every corpus of table 12 is in table 11
    n_sentences = sizes["train"] + (sizes["dev"] if train_on_dev else 0)
    batch_size, epochs = int(row["batch_size"]), int(row["epochs"])
    per_epoch = ceil(n_sentences / batch_size)
    return {
        "about": f"{corpus}, {encoder}: window, batch size and epochs as in table 12 "
        "of Mobasher et al. (2023).",
        "max_length": int(row["max_seq_length"]) - SPECIAL_PIECES,
        "sentences_per_batch": batch_size,
        "max_epochs": epochs,
        "max_steps": 0,
        "eval_frequency": per_epoch,
        "warmup_steps": 0,
        "total_steps": per_epoch * epochs,
        "learn_rate": PAPER_LEARN_RATE,
    }
