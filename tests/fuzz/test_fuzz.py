"""A few cases of the fuzzer, the same in every run. The long run is
`python benchmarks/fuzz.py`."""

import os

import pytest

from welt_spacy.errors import WeltError

from .cases import ACCEPTED, RECOVERED, REFUSED, attempt
from .run import run_cases
from .workplace import Workplace


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "work").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WELT_CORPORA_CACHE", str(folder / "cache"))
        yield Workplace(folder / "work")


@pytest.mark.parametrize("kind, n", [("readers", 250), ("options", 40)])
def test_malformed_input_is_refused_in_one_line(place, kind, n):
    cases = run_cases(place, kind, n, seed=0)
    assert [case for case in cases if case.is_defect] == []
    assert {case.outcome for case in cases} == {ACCEPTED, REFUSED}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_commands_lose_nothing(place, mirror):
    cases = run_cases(place, "kills", 14, seed=0)
    assert [case for case in cases if case.is_defect] == []
    assert RECOVERED in {case.outcome for case in cases}


def raise_long_message():
    raise WeltError("two\nlines")


def raise_other_error():
    raise IndexError("x")


def hang():
    while True:
        pass


@pytest.mark.parametrize(
    "call, outcome",
    [
        (hang, "TimeoutError"),
        (raise_long_message, "long message"),
        (raise_other_error, "IndexError"),
    ],
)
def test_the_fuzzer_detects_defects(call, outcome):
    case = attempt("x", 0, call, limit=0.2)
    assert case.outcome == outcome and case.is_defect


def test_the_fuzzer_detects_changed_files(place):
    place.data.write_text("x")
    assert place.restore() == {"gold.spacy"}
    assert place.restore() == set()
