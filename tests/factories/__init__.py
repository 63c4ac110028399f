"""Tiny pipelines, encoders, language models and corpora, and runners of commands."""

from .commands import (
    change_dir,
    fails_with_one_line,
    run_command,
    run_python,
    run_spacy,
    wait_until,
)
from .encoders import ENCODER_KINDS, make_tiny_bert, make_tiny_encoder
from .language_models import (
    make_byte_tokenizer,
    make_merging_tokenizer,
    make_tiny_lm,
    save_tiny_lm,
)
from .pipelines import (
    BIO,
    TINY_TOK2VEC,
    TRAIN_DATA,
    copies,
    ents,
    make_examples,
    make_nlp,
    n_examples,
    save_docs,
    train,
)

__all__ = [
    "BIO",
    "ENCODER_KINDS",
    "TINY_TOK2VEC",
    "TRAIN_DATA",
    "change_dir",
    "copies",
    "ents",
    "fails_with_one_line",
    "make_byte_tokenizer",
    "make_examples",
    "make_merging_tokenizer",
    "make_nlp",
    "make_tiny_bert",
    "make_tiny_encoder",
    "make_tiny_lm",
    "n_examples",
    "run_command",
    "run_python",
    "run_spacy",
    "save_docs",
    "save_tiny_lm",
    "train",
    "wait_until",
]
