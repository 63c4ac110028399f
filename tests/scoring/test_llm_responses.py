"""What only language models get wrong."""

import pytest
import spacy
from scipy.stats import binomtest
from spacy.training import Example

from welt_spacy.scoring.llm_responses import count_issues, string_scores, wilson
from welt_spacy.tokens.llm_responses import LLMResponses, add_llm_responses

NLP = spacy.blank("en")


def make(text, gold, predicted, generated=None):
    examples = []
    for spans in (gold, predicted):
        doc = NLP.make_doc(text)
        doc.set_ents([doc.char_span(*span) for span in spans])
        examples.append(doc)
    if generated is not None:
        add_llm_responses(examples[1], "llm", generated)
    return Example(examples[1], examples[0])


TEXT = "Pain, pain and zinc; Zinc."


def test_places_and_counts_do_not_matter():
    gold = [(0, 4, "D"), (6, 10, "D"), (15, 19, "C")]
    tagger = make(TEXT, gold, [(6, 10, "D"), (21, 25, "C"), (15, 19, "D")])
    assert string_scores([tagger]) == pytest.approx((2 / 3, 1.0, 0.8))
    # What is not in the text is wrong here, though it has no span
    told = LLMResponses(
        ["[...]"], [("D", "PAIN"), ("C", "zinc "), ("C", "gold")], 3, {}
    )
    model = make(TEXT, gold, [(0, 4, "D")], told)
    assert string_scores([model]) == pytest.approx((2 / 3, 1.0, 0.8))
    assert string_scores([]) == (0, 0, 0)


def test_issues_are_shares():
    one = LLMResponses(["[]", "["], [], 0, {"cut off": 1})
    other = LLMResponses(["..."], [("D", "x")] * 4, 5, {"malformed": 1, "ambiguous": 2})
    docs = [make(TEXT, [], [], told).predicted for told in (one, other)]
    found = count_issues(docs)
    assert (found["answers"], found["entities"]) == (3, 5)
    assert (found["issues"]["cut off"]["n"], found["issues"]["cut off"]["of"]) == (1, 3)
    assert found["issues"]["ambiguous"]["of"] == 5
    assert found["issues"]["failed"]["n"] == 0 < found["issues"]["failed"]["high"]
    assert count_issues([NLP(TEXT)]) is None


@pytest.mark.parametrize("n, of", [(0, 1), (1, 3), (7, 7), (2, 2000), (999, 1000)])
def test_intervals_are_those_of_scipy(n, of):
    expected = binomtest(n, of).proportion_ci(method="wilson")
    assert wilson(n, of) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert wilson(0, 0) == (0, 1)
