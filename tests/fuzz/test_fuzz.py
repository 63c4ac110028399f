"""A few cases of benchmarks/fuzz.py, the same each time: malformed input, nonsense on the
command line, kills. The long run is `python benchmarks/fuzz.py`."""

import os

import pytest


@pytest.fixture(scope="module")
def fuzz():
    import importlib
    import sys

    from ..conftest import ROOT

    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("fuzz")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def place(fuzz, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "work").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WELT_CORPORA_CACHE", str(folder / "cache"))
        yield fuzz.Workplace(folder / "work")


@pytest.mark.parametrize("kind, n", [("readers", 400), ("options", 150)])
def test_nothing_breaks(fuzz, place, kind, n):
    cases = fuzz.run_cases(place, kind, n, seed=0)
    assert [case for case in cases if case.broke] == []
    assert {case.outcome for case in cases} == {"taken", "refused in one line"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_nothing_is_lost_when_killed(fuzz, place, mirror):
    cases = fuzz.run_cases(place, "kills", 20, seed=0)
    assert [case for case in cases if case.broke] == []
    assert "killed, and made good" in {case.outcome for case in cases}


def test_what_breaks_is_noticed(fuzz, place):
    """The harness sees tracebacks, hangs, long messages and lost files."""

    def hang():
        while True:
            pass

    def long_message():
        raise fuzz.WeltError("two\nlines")

    def wrong():
        raise IndexError("x")

    original, fuzz.LIMIT = fuzz.LIMIT, 0.2
    try:
        outcomes = [fuzz.attempt("x", 0, f) for f in (hang, long_message, wrong)]
    finally:
        fuzz.LIMIT = original
    assert [case.outcome for case in outcomes] == [
        *("TimeoutError", "long message", "IndexError")
    ]
    assert all(case.broke for case in outcomes)
    place.data.write_text("x")
    assert place.restore() == {"gold.spacy"} and place.restore() == set()
