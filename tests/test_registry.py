"""Every name in setup.cfg resolves, without an import by the user."""

from configparser import ConfigParser
from pathlib import Path

import pytest
import spacy
from spacy.util import registry

SETUP = ConfigParser()
SETUP.read(Path(__file__).parents[1] / "setup.cfg")
ENTRY_POINTS = [
    (group, *(part.strip() for part in line.split("=", 1)))
    for group, lines in SETUP["options.entry_points"].items()
    for line in lines.strip().splitlines()
]
NEEDS_TRANSFORMERS = {"spacy_span_getters"}


@pytest.mark.parametrize("group, name, target", ENTRY_POINTS)
def test_entry_point_resolves(group, name, target):
    if group in NEEDS_TRANSFORMERS:
        pytest.importorskip("spacy_transformers")
    kind = group.split("_", 1)[1]
    spacy.blank("en")  # until then spaCy knows no factories at all
    function = registry.get(kind, name)
    assert function is not None
    if kind not in ("cli", "factories"):
        assert name.startswith("welt_spacy.") and name.endswith(".v1")
        assert f"{function.__module__}:{function.__qualname__}" == target
