"""The names that `import welt_spacy` offers."""

import subprocess
import sys

import pytest

import welt_spacy


@pytest.mark.parametrize("name", welt_spacy.__all__)
def test_public_names_are_defined_in_the_package(name):
    item = getattr(welt_spacy, name)
    assert name in dir(welt_spacy)
    if not name.startswith("__"):
        assert item.__name__ == name
        assert item.__module__.startswith("welt_spacy.")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'anotate'"):
        welt_spacy.anotate  # noqa: B018


def test_the_import_is_light():
    code = (
        "import sys, welt_spacy; dir(welt_spacy); "
        "print([m for m in ('spacy', 'numpy', 'torch') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
