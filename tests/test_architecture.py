"""Layers of the package: pyproject.toml defines them, docs/architecture.md describes them."""

import re
from pathlib import Path

import pytest

importlinter = pytest.importorskip("importlinter")


def lint(config: Path, *, contracts: int) -> bool:
    from importlinter.application.use_cases import read_user_options
    from importlinter.cli import lint_imports

    options = read_user_options(config_filename=str(config))
    assert len(options.contracts_options) == contracts
    return lint_imports(config_filename=str(config), no_cache=True) == 0


def test_layers_and_no_circles(root, monkeypatch):
    monkeypatch.chdir(root)
    assert lint(root / "pyproject.toml", contracts=2)


def test_the_check_can_fail(root, monkeypatch, tmp_path):
    """Swap two layers."""
    monkeypatch.chdir(root)
    text = (root / "pyproject.toml").read_text(encoding="utf8")
    swapped = text.replace('"corpora",\n    "pipeline"', '"pipeline",\n    "corpora"')
    assert swapped != text
    (tmp_path / "pyproject.toml").write_text(swapped, encoding="utf8")
    assert not lint(tmp_path / "pyproject.toml", contracts=2)


def test_every_layer_is_described(root):
    layers = (root / "pyproject.toml").read_text(encoding="utf8").split("layers = [")[1]
    names = re.findall(r"[a-z_]+", layers.split("]")[0])
    page = (root / "docs/architecture.md").read_text(encoding="utf8")
    assert [name for name in names if f"`{name}" not in page] == []
