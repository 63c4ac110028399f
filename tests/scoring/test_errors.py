"""Error types, on a case counted by hand."""

from spacy.tokens import Doc
from spacy.training import Example

from welt_spacy.scoring.errors import MISSED, OVERLAPPING, SPURIOUS, find_errors
from welt_spacy.scoring.pairs import pair_examples

from ..factories.scoring import VOCAB, make_doc, make_example


def test_types_of_errors():
    unknown = Doc(VOCAB, words=["a"])
    right = Example(make_doc("MPTP"), make_doc("MPTP"))
    errors = find_errors(
        pair_examples([Example(unknown, unknown.copy()), right, make_example()])
    )
    assert [(e.type, e.kind, e.doc) for e in errors] == [
        (MISSED, "FN", 2),
        (OVERLAPPING, "BES", 2),
        (SPURIOUS, "FP", 2),
    ]
    assert errors[0].gold.text == "aspirin" and errors[0].predicted is None
    assert errors[1].gold.text == "valproic acid"
    assert errors[1].predicted.text == "valproic"
    assert errors[2].predicted.text == "saline" and errors[2].gold is None
