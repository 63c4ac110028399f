"""A sentence with three gold entities."""

import spacy
from spacy.tokens import Doc
from spacy.training import Example

VOCAB = spacy.blank("en").vocab
WORDS = [
    "We",
    "gave",
    "MPTP",
    ",",
    "aspirin",
    ",",
    "valproic",
    "acid",
    "and",
    "saline",
    "to",
    "mice",
]


def make_doc(*ents):
    doc = Doc(VOCAB, words=WORDS)
    doc.set_ents([doc.char_span(*span, label="x") for span in map(place, ents)])
    return doc


def place(text):
    start = " ".join(WORDS).index(text)
    return start, start + len(text)


def make_example():
    """Return one correct, one too small and one spurious entity, and one that is missed."""
    gold = make_doc("MPTP", "aspirin", "valproic acid")
    return Example(make_doc("MPTP", "valproic", "saline"), gold)
