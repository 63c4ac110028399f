import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from welt_spacy.errors import WeltError
from welt_spacy.ml.class_weights import (
    SCHEMES,
    ens,
    explicit,
    ins,
    isns,
    power,
    scale_weights,
    vanilla,
    welt,
)

PAPER = {"O": 4262718, "B": 389892, "I": 1215981}
BC5CDR_CHEMICAL = {"O": 111067, "B-Chemical": 5203, "I-Chemical": 1900}
counts = st.dictionaries(
    st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]),
    st.integers(1, 10**7),
    min_size=2,
)


def test_welt_equals_the_example_of_the_paper():
    weights = welt()(PAPER)
    assert list(weights) == ["O", "B", "I"]
    assert [round(w, 4) for w in weights.values()] == [0.2167, 0.4192, 0.3641]


def test_schemes_by_hand():
    n = {"O": 900, "B": 100}
    assert vanilla()(n) == {"O": 1.0, "B": 1.0}
    assert ins()(n) == pytest.approx({"O": 1 / 900, "B": 0.01})
    assert isns()(n) == pytest.approx({"O": 1 / 30, "B": 0.1})
    assert ens(0.99)(n) == pytest.approx(
        {"O": 0.01 / (1 - 0.99**900), "B": 0.01 / (1 - 0.99**100)}
    )
    o, b = np.exp(0.1), np.exp(0.9)
    assert welt()(n) == pytest.approx({"O": o / (o + b), "B": b / (o + b)})
    o, b = np.exp(0.1 / 0.5), np.exp(0.9 / 0.5)
    assert welt(0.5)(n) == pytest.approx({"O": o / (o + b), "B": b / (o + b)})


@given(counts)
def test_power_equals_vanilla_isns_and_ins(n):
    assert power(0.0)(n) == vanilla()(n)
    assert power(0.5)(n) == pytest.approx(isns()(n))
    assert power(1.0)(n) == pytest.approx(ins()(n))


@given(counts)
def test_welt_is_bounded_and_sums_to_one(n):
    weights = welt()(n)
    assert sum(weights.values()) == pytest.approx(1.0)
    assert max(weights.values()) / min(weights.values()) < np.e


@given(counts, st.sampled_from(["ins", "isns", "ens", "welt", "power"]))
def test_rarer_tags_never_weigh_less(n, name):
    weights = SCHEMES[name]()(n)
    order = sorted(n, key=lambda tag: n[tag])
    for rare, frequent in zip(order, order[1:]):
        assert weights[rare] >= weights[frequent] * (1 - 1e-12)


@given(counts, st.sampled_from(["vanilla", "ins", "isns", "ens", "welt", "power"]))
def test_scaled_weights_have_mean_one_over_the_tokens(n, name):
    tokens = np.array(list(n.values()), dtype=float)
    weights = np.array(list(SCHEMES[name]()(n).values()))
    scaled = scale_weights(weights, tokens)
    assert (tokens * scaled).sum() / tokens.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.9])
def test_ens_with_the_betas_of_the_paper_is_vanilla(beta):
    weights = set(ens(beta)(BC5CDR_CHEMICAL).values())
    assert len(weights) == 1


def test_ens_is_exact_for_beta_near_one():
    # 1 - beta^n is 1e-11 for n = 10 and 1 - beta = 1e-12, not 0
    weights = ens(1 - 1e-12)({"O": 10**6, "B": 10})
    assert weights["B"] / weights["O"] == pytest.approx(1e5, rel=1e-3)


def test_a_tag_that_never_occurs_has_a_finite_weight():
    for name, scheme in SCHEMES.items():
        if name != "explicit":
            weights = scheme()({"O": 10, "B-x": 2, "I-x": 0})
            assert np.isfinite(list(weights.values())).all(), name


def test_explicit_takes_tags_and_labels():
    n = {"O": 5, "B-PER": 2, "I-PER": 1, "B-LOC": 1, "I-LOC": 1}
    weights = explicit({"PER": 3.0, "I-PER": 2.0, "O": 0.5})(n)
    assert weights == {"O": 0.5, "B-PER": 3.0, "I-PER": 2.0, "B-LOC": 1, "I-LOC": 1}
    with pytest.raises(WeltError, match="'ORG'.*B-PER"):
        explicit({"ORG": 2.0})(n)
    with pytest.raises(WeltError, match="at least 0"):
        explicit({"PER": -1.0})(n)


@pytest.mark.parametrize("n", [{}, {"O": 0, "B": 0}, {"O": -1, "B": 5}])
def test_nothing_to_count(n):
    with pytest.raises(WeltError, match="tag counts"):
        welt()(n)


def test_settings_out_of_range():
    with pytest.raises(WeltError, match="beta"):
        ens(1.0)
    with pytest.raises(WeltError, match="temperature"):
        welt(0.0)


def test_names_of_schemes():
    assert str(welt()) == "welt(temperature=1)"
    assert str(ins()) == "ins"
    assert str(explicit({"PER": 2})) == "explicit(PER=2)"


@pytest.mark.parametrize(
    "make",
    [
        lambda: explicit({"PER": 1.0}, default=-1.0),
        lambda: explicit({"PER": 1.0}, default=float("nan")),
        lambda: explicit({"PER": float("inf")}),
        lambda: explicit({"PER": 0.0}, default=0.0)(
            {"O": 900, "B-PER": 60, "I-PER": 40}
        ),
        lambda: power(float("nan")),
        lambda: power(-400.0)({"O": 900, "B-PER": 60, "I-PER": 40}),
        lambda: power(400.0)({"O": 900, "B-PER": 60, "I-PER": 40}),
        lambda: welt(1e-320)({"O": 900, "B-PER": 60, "I-PER": 40}),
        lambda: welt(float("inf")),
        lambda: ens(float("nan")),
    ],
)
def test_weights_are_finite_and_not_all_zero(make):
    with pytest.raises(WeltError, match="must be"):
        make()


def test_schemes_without_counts_need_none():
    assert vanilla()({"O": 0, "B-X": 0, "I-X": 0}) == {"O": 1, "B-X": 1, "I-X": 1}
