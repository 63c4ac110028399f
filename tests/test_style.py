"""The rules of scripts/check_style.py can fail."""

import ast
import importlib
from pathlib import Path

import pytest


@pytest.fixture
def check_style(monkeypatch, root):
    monkeypatch.syspath_prepend(str(root / "scripts"))
    return importlib.import_module("check_style")


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "for told in []: pass",
        "def f(kept): pass",
        "class C:\n    made: int",
        "self.asked = 1",
        "with open(x) as thing: pass",
        '"""What this is."""',
        'class C:\n    """What this is."""',
        'class C:\n    @property\n    def f(self):\n        """Whether it is."""',
        'def f():\n    """The name."""',
        'class C:\n    def f(self):\n        """RETURNS (int): A number."""',
        "x = 1\n" * 451,
        "def f():\n" + "    x = 1\n" * 61,
        f"def f({', '.join(f'a{i}' for i in range(11))}): pass",
    ],
)
def test_violations_are_noticed(check_style, code):
    assert list(check_style.check_file(Path("welt_spacy/a.py"), ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        '"""Whatever."""\nentities = 1',
        'def f():\n    """Return a name."""',
        "def f():\n    '''Return." + "\n" * 70 + "'''",
        'class C:\n    @property\n    def f(self):\n        """The name."""',
        f"def make_f({', '.join(f'a{i}' for i in range(11))}): pass",
        f"class C:\n    def f(self, {', '.join(f'a{i}' for i in range(10))}): pass",
    ],
)
def test_plain_code_passes(check_style, code):
    assert not list(check_style.check_file(Path("welt_spacy/a.py"), ast.parse(code)))


def test_untyped_dicts_between_packages_are_noticed(check_style):
    trees = {
        Path("welt_spacy/a/x.py"): ast.parse("def f(x) -> dict[str, Any]: pass"),
        Path("welt_spacy/a/y.py"): ast.parse("from .x import f"),
    }
    assert list(check_style.check_signatures(trees)) == []
    trees[Path("welt_spacy/b/x.py")] = ast.parse("from ..a.x import f")
    (problem,) = check_style.check_signatures(trees)
    assert problem.startswith("welt_spacy/a/x.py:1: f has dict[str, Any]")
