"""Docs to answers in JSON, and answers to spans."""

import json

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from spacy.vocab import Vocab

from welt_spacy.errors import WeltError
from welt_spacy.llm.prompts import make_json_prompt
from welt_spacy.llm.responses import (
    PredictedEntity,
    align_entities,
    make_response,
    parse_response,
)

from ..factories import BIO

NLP = spacy.blank("en", config=BIO)
TEXT = "Pain and abdominal pain; N-acetylcysteine (NAC) eased the pain. Painful NAC."


def spans(aligned):
    return [(span.text, span.label_, span.start_char) for span in aligned.spans]


def make_doc(text=TEXT, *mentions):
    doc = NLP.make_doc(text)
    doc.set_ents([doc.char_span(*mention) for mention in mentions])
    return doc


def test_the_answer_of_a_doc():
    doc = make_doc(TEXT, (0, 4, "Disease"), (25, 41, "Chemical"), (43, 46, "Chemical"))
    assert json.loads(make_response(doc)) == [
        {"entity": "Disease", "name": "Pain"},
        {"entity": "Chemical", "name": "N-acetylcysteine"},
        {"entity": "Chemical", "name": "NAC"},
    ]
    assert make_response(doc, ["Disease"]) == '[{"entity": "Disease", "name": "Pain"}]'
    assert make_response(doc, ["Gene"]) == make_response(make_doc()) == "[]"
    greek = make_doc("IFN-γ", (0, 5, "Gene"))
    assert "γ" in make_response(greek)


GOOD = '{"entity": "A", "name": "x"}'


@pytest.mark.parametrize(
    "text, n, issues",
    [
        ("[]", 0, {}),
        (f"[{GOOD}, {GOOD}]", 2, {}),
        (f"```json\n[{GOOD}]\n```", 1, {}),
        (f"As in [1], they are [{GOOD}]. Or [] or not.", 1, {}),
        ("", 0, {"not JSON": 1}),
        ("There are none.", 0, {"not JSON": 1}),
        (GOOD, 0, {"not JSON": 1}),
        (f"[{GOOD}, {GOOD}, {{", 2, {"cut off": 1}),
        (f'[{GOOD}, {{"entity": "A", "na', 1, {"cut off": 1}),
        (f"[{GOOD}", 1, {"cut off": 1}),
        ("[", 0, {"cut off": 1}),
        (f'[{GOOD}, "x", {{"entity": "A"}}]', 1, {"malformed": 2}),
        ('[{"entity": 1, "name": "x"}, {"entity": "A", "name": " "}]', 0, {"malformed": 2}),
        ("[" * 100_000, 0, {"cut off": 1}),
        ("__import__('os').getcwd()", 0, {"not JSON": 1}),
    ],
)  # fmt: skip
def test_answers_are_read_as_far_as_they_go(text, n, issues):
    response = parse_response(text)
    assert (len(response.entities), response.issues) == (n, issues)
    assert {(item.label, item.name) for item in response.entities} <= {("A", "x")}
    for item in response.entities:
        assert text[: item.end].endswith(GOOD)


@given(st.text() | st.text(alphabet='[]{}",: \\entiyam1'))
def test_no_text_is_an_error(text):
    response = parse_response(text)
    assert all(item.name.strip() for item in response.entities)


def test_names_find_their_places():
    doc = make_doc()
    items = [
        PredictedEntity("D", "Pain"),
        PredictedEntity("D", "abdominal pain"),
        PredictedEntity("C", "n - AcetylCysteine"),  # case and white space
        PredictedEntity("D", "pain"),
    ]
    assert spans(align_entities(doc, items)) == [
        ("Pain", "D", 0),
        ("abdominal pain", "D", 9),
        ("N-acetylcysteine", "C", 25),
        ("pain", "D", 58),
    ]


def test_what_can_be_wrong_is_counted():
    doc = make_doc()
    items = [
        PredictedEntity("D", "abdominal pain"),
        PredictedEntity("D", "abdominal pain"),  # once in the text
        PredictedEntity("D", "fever"),
        PredictedEntity("D", "acetyl"),  # inside a token
        PredictedEntity("X", "Pain"),
        PredictedEntity("C", "NAC"),  # twice in the text
    ]
    aligned = align_entities(doc, items, ["D", "C"])
    assert spans(aligned) == [("abdominal pain", "D", 9), ("NAC", "C", 43)]
    assert aligned.issues == {
        **{"over-generated": 1, "unsupported name": 1, "off token borders": 1},
        **{"unknown type": 1, "ambiguous": 1},
    }
    assert align_entities(make_doc(""), [PredictedEntity("D", "x")]).issues == {
        "unsupported name": 1
    }


def test_a_part_of_a_doc():
    doc = make_doc(TEXT, (43, 46, "Chemical"), (72, 75, "Chemical"))
    part = doc[doc.char_span(64, 71).start :]
    assert part.text == "Painful NAC."
    items = parse_response(make_response(part)).entities
    assert [item.name for item in items] == ["NAC"]
    aligned = align_entities(
        part, [PredictedEntity("Disease", "abdominal pain"), *items]
    )
    assert (spans(aligned), aligned.sources) == ([("NAC", "Chemical", 72)], [1])
    assert aligned.issues == {"unsupported name": 1}


@given(st.lists(st.sampled_from("abc"), max_size=12), st.data())
@settings(deadline=None)
def test_all_occurrences_go_there_and_back(words, data):
    """Restore all entities if each name is annotated at all its places."""
    doc = Doc(Vocab(), words=words)
    chosen = data.draw(st.sets(st.sampled_from("abc")))
    doc.set_ents(
        [
            Span(doc, i, i + 1, label="X")
            for i, word in enumerate(words)
            if word in chosen
        ]
    )
    aligned = align_entities(doc, parse_response(make_response(doc)).entities)
    assert [(s.start, s.end) for s in aligned.spans] == [
        (ent.start, ent.end) for ent in doc.ents
    ]
    assert aligned.issues == {}


@pytest.mark.parametrize(
    "name, share", [("bc5cdr", 1.0), ("ncbi_disease", 0.998), ("bc5cdr_docs", 0.999)]
)
def test_real_corpora_are_converted_and_restored(real_docs, name, share):
    n = same = 0
    for doc in real_docs(name):
        aligned = align_entities(doc, parse_response(make_response(doc)).entities)
        gold = {(ent.start, ent.end, ent.label_) for ent in doc.ents}
        n += len(gold)
        same += len(gold & {(s.start, s.end, s.label_) for s in aligned.spans})
        assert set(aligned.issues) <= {"ambiguous"}
    assert same >= share * n > 0


def test_prompts():
    prompt = make_json_prompt(definitions={"Drug": "medicines"})
    text = prompt("Aspirin.", ["Chemical", "Drug", "Other"])
    assert "- Chemical: drugs" in text and "- Drug: medicines\n- Other\n" in text
    assert text.endswith("\n\nAspirin.")
    braces = make_json_prompt("{types} {name}")("{types}", ["A"])
    assert braces == "- A {name}\n\n{types}"
    with pytest.raises(WeltError, match="types"):
        make_json_prompt("Find them.")
    with pytest.raises(WeltError, match="more than one line"):
        make_json_prompt(definitions={"A": "a\nb"})
