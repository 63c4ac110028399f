"""FairEval against the figures of its author, and against a literal implementation of her
procedure."""

from collections import Counter

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import Example

from welt_spacy.errors import WeltError
from welt_spacy.scoring.fair import fair_eval, fair_score, make_fair_scorer
from welt_spacy.scoring.pairs import KINDS, pair_spans
from welt_spacy.scoring.strict import ner_score

VOCAB = spacy.blank("en").vocab


@pytest.fixture(scope="session")
def reference(mirror):
    """Return the folder with Ortmann's example next to the corpora."""
    folder = mirror.parent / "faireval"
    if not folder.is_dir():
        pytest.skip("needs the reference case of FairEval next to the corpora")
    return folder


def test_figures_of_the_reference(reference, benchmark):
    figures = list(benchmark("scoring_parity").fair_figures(reference))
    assert [figure for figure in figures if figure[1] != figure[2]] == []
    # 5 rows of scores and counts in each of three tables, 5 x 5 labels, 4 frequencies
    assert len(figures) == 5 * (6 + 9 + 11) + 25 + 4


def pair_literally(gold, predicted):
    """Pair spans by the procedure of the paper, on sets of tokens."""
    targets = [[span, set(range(*span[1:]))] for span in gold]
    systems = [[span, set(range(*span[1:]))] for span in predicted]
    targets.sort(key=lambda t: t[0][2] - t[0][1])
    systems.sort(key=lambda s: s[0][2] - s[0][1])
    kinds = Counter()
    matched_targets, matched_systems = [], []

    def match(target, system, kind):
        for span, unmatched, matched in (
            (target, targets, matched_targets),
            (system, systems, matched_systems),
        ):
            if any(span is candidate for candidate in unmatched):
                unmatched[:] = [c for c in unmatched if c is not span]
                matched.append(span)
        shared = target[1] & system[1]
        target[1] -= shared
        system[1] -= shared
        kinds[kind, target[0][0]] += 1

    for same in (True, False):
        for target in list(targets):
            for system in list(systems):
                identical = target[0][1:] == system[0][1:]
                if identical and (target[0][0] == system[0][0]) == same:
                    match(target, system, "TP" if same else "LE")
                    break

    def kind_of(target, system):
        t, s = (set(range(*span[0][1:])) for span in (target, system))
        return "BES" if s <= t else "BEL" if t <= s else "BEO"

    def most_similar(candidates, to):
        candidates = [c for c in candidates if c[1] & to[1]]
        return min(
            candidates,
            key=lambda c: (
                -len(c[1] & to[1]),
                len(to[1] - c[1]),
                len(c[1] - to[1]),
                c[0][2] - c[0][1],
            ),
            default=None,
        )

    for same in (True, False):

        def fits(a, b, same=same):
            return (a[0][0] == b[0][0]) == same

        def kind(target, system, same=same):
            return kind_of(target, system) if same else "LBE"

        for pool in (systems, matched_systems):
            for target in list(targets):
                system = most_similar([s for s in pool if fits(s, target)], target)
                if system:
                    match(target, system, kind(target, system))
        for system in list(systems):
            target = most_similar(
                [t for t in matched_targets if fits(t, system)], system
            )
            if target:
                match(target, system, kind(target, system))
    for target in targets:
        kinds["FN", target[0][0]] += 1
    for system in systems:
        kinds["FP", system[0][0]] += 1
    return kinds


def flat(gaps):
    """Make spans that do not overlap from gaps and lengths."""
    spans, position = [], 0
    for label, gap, length in gaps:
        start = position + gap
        position = start + length
        spans.append((label, start, position))
    return spans


flat_spans = st.lists(
    st.tuples(st.sampled_from("xyz"), st.integers(0, 3), st.integers(1, 5)), max_size=8
).map(flat)


@given(flat_spans, flat_spans)
@settings(max_examples=500, deadline=None)
def test_pairs_are_those_of_the_procedure(gold, predicted):
    pairs = pair_spans(gold, predicted)
    assert Counter((pair.kind, pair.label) for pair in pairs) == pair_literally(
        gold, predicted
    )
    # Every span is in a pair
    assert {pair.gold for pair in pairs} - {None} == set(gold)
    assert {pair.predicted for pair in pairs} - {None} == set(predicted)
    assert {pair.kind for pair in pairs} <= set(KINDS)


@given(flat_spans, flat_spans)
@settings(deadline=None)
def test_fair_scores_are_no_lower(gold, predicted):
    counts = fair_eval([gold], [predicted])
    strict, fair = counts.traditional(), counts.fair()
    assert 0.0 <= strict.f <= fair.f + 1e-12 <= 1.0 + 1e-11
    same = fair_eval([gold], [gold])
    assert not gold or same.fair() == same.weighted() == (1.0, 1.0, 1.0)


def test_kinds_of_errors():
    gold = [
        ("x", 0, 2),
        ("x", 3, 5),
        ("x", 6, 7),
        ("y", 8, 10),
        ("y", 11, 13),
        ("y", 14, 15),
    ]
    guess = [("x", 0, 1), ("x", 3, 6), ("y", 6, 7), ("x", 8, 9), ("y", 12, 14), ("z", 20, 21)]  # fmt: skip
    pairs = {pair.kind: pair for pair in pair_spans(gold, guess)}
    assert set(pairs) == {"BES", "BEL", "LE", "LBE", "BEO", "FN", "FP"}
    assert pairs["BES"].predicted == ("x", 0, 1)
    assert pairs["LBE"].label == "y" and pairs["FP"].label == "z"


def test_bad_input():
    with pytest.raises(WeltError, match="2 documents with gold annotation and 1"):
        fair_eval([[], []], [[]])
    with pytest.raises(WeltError, match="is empty"):
        fair_eval([[("x", 3, 3)]], [[]])
    nothing = fair_eval([], [])
    assert nothing.fair() == (0.0, 0.0, 0.0) and nothing.labels == []


def test_many_spans_of_one_document():
    spans = [("x", 3 * i, 3 * i + 2) for i in range(50_000)]
    shifted = [("x", 3 * i, 3 * i + 1) for i in range(50_000)]
    assert fair_eval([spans], [shifted]).count("BES") == 50_000


def make_example(gold, guess):
    words = ["w"] * len(gold)
    return Example(
        Doc(VOCAB, words=words, ents=guess), Doc(VOCAB, words=words, ents=gold)
    )


def test_scorer():
    examples = [
        make_example(["B-x", "I-x", "O"], ["B-x", "O", "O"]),
        make_example(["B-x", "O", "B-y"], ["B-x", "O", "B-y"]),
    ]
    scores = make_fair_scorer()(examples)
    assert scores["ents_f"] == ner_score(examples)["ents_f"] == pytest.approx(2 / 3)
    # Two are right, one is half wrong
    assert scores["fair_p"] == scores["fair_r"] == pytest.approx(2 / 2.5)
    assert scores["fair_per_type"]["y"]["f"] == 1.0
    unknown = Doc(VOCAB, words=["w"])
    scores = fair_score([Example(unknown, unknown.copy())])
    assert scores["fair_f"] is None and scores["ents_f"] is None


def test_predictions_without_annotation_are_left_out():
    example = make_example(["B-x", "O", "O"], ["B-x", "O", "B-x"])
    gold = example.reference
    gold.set_ents(list(gold.ents), default="missing")
    scores = fair_score([example])
    assert scores["fair_p"] == scores["ents_p"] == 1.0


def test_usable_as_the_scorer_of_a_component():
    nlp = spacy.blank("en")
    config = {"scorer": {"@scorers": "welt_spacy.fair_scorer.v1"}}
    nlp.add_pipe("welt_ner", config=config)
    assert nlp.get_pipe("welt_ner").scorer is fair_score
