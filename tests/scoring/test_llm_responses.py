"""Issues and scores of the responses of language models."""

import pytest
import spacy
from spacy.training import Example

from welt_spacy.scoring.llm_responses import count_issues, string_scores, wilson
from welt_spacy.scoring.pairs import pair_examples
from welt_spacy.tokens.llm_responses import LLMResponses, add_llm_responses

NLP = spacy.blank("en")


TEXT = "Pain, pain and zinc; Zinc."
GOLD = [(0, 4, "D"), (6, 10, "D"), (15, 19, "C")]


def make(gold=(), predicted=(), responses=None):
    docs = []
    for spans in (gold, predicted):
        doc = NLP.make_doc(TEXT)
        doc.set_ents([doc.char_span(*span) for span in spans])
        docs.append(doc)
    if responses is not None:
        add_llm_responses(docs[1], "llm", responses)
    return pair_examples([Example(docs[1], docs[0])])


def test_positions_and_numbers_do_not_count():
    docs = make(GOLD, [(6, 10, "D"), (21, 25, "C"), (15, 19, "D")])
    assert string_scores(docs) == pytest.approx((2 / 3, 1.0, 0.8))
    assert string_scores([]) == (0, 0, 0)


def test_entities_of_a_response_that_are_not_in_the_text_are_wrong():
    items = [("D", "PAIN"), ("C", "zinc "), ("C", "gold")]
    docs = make(GOLD, [(0, 4, "D")], LLMResponses(["[...]"], items, 3, {}))
    assert string_scores(docs) == pytest.approx((2 / 3, 1.0, 0.8))


def test_issues_are_shares():
    records = [
        LLMResponses(["[]", "["], [], 0, {"cut off": 1}),
        LLMResponses(["..."], [("D", "x")] * 4, 5, {"malformed": 1, "ambiguous": 2}),
    ]
    docs = [doc for record in records for doc in make(responses=record)]
    result = count_issues(docs)
    assert (result.responses, result.entities) == (3, 5)
    assert result.issues["cut off"][:2] == (1, 3)
    assert result.issues["ambiguous"][:2] == (2, 5)
    assert result.issues["failed"].n == 0 < result.issues["failed"].high


def test_without_responses_there_are_no_issues():
    assert count_issues(make()) is None


def wilson_by_hand(n, total, z=1.959964):
    share = n / total
    scale = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z / scale * (share * (1 - share) / total + z * z / (4 * total**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


@pytest.mark.parametrize("n, total", [(0, 1), (1, 3), (7, 7), (2, 2000), (999, 1000)])
def test_intervals_are_those_of_the_formula(n, total):
    assert wilson(n, total) == pytest.approx(wilson_by_hand(n, total), abs=1e-6)
    assert wilson(0, 0) == (0, 1)
