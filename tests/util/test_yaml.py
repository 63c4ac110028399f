"""YAML files and their models."""

from pathlib import Path

import pytest
from pydantic import field_validator

from welt_spacy.errors import WeltError
from welt_spacy.util.yaml import YamlModel, read_yaml, read_yaml_model


class Part(YamlModel):
    rate: float = 0.5


class Settings(YamlModel):
    model: Path
    names: tuple[str, ...]
    seed: int = 0
    use_gpu: bool = False
    part: Part = Part()

    @field_validator("seed")
    @classmethod
    def _check_seed(cls, seed: int) -> int:
        if seed < 0:
            raise WeltError("it must be positive")
        return seed


def read(tmp_path, text, **options):
    path = tmp_path / "settings.yml"
    path.write_text(text, encoding="utf8")
    return read_yaml_model(path, Settings, "settings", **options)


def test_values_have_the_types_of_the_fields(tmp_path):
    settings = read(tmp_path, "model: a/b\nnames: [x, 'ü']\npart: {rate: 1}")
    assert settings == Settings(model=Path("a/b"), names=("x", "ü"), part=Part(rate=1))


def test_values_are_changed_before_the_check(tmp_path):
    settings = read(
        tmp_path, "names: []", change=lambda values: {**values, "model": "m"}
    )
    assert settings.model == Path("m")


@pytest.mark.parametrize(
    "text, message",
    [
        ("names: [a]", "settings.yml: model is missing"),
        ("model: a\nnames: [a]\nsed: 1", "settings.yml: unknown key 'sed'. Known keys are model,"),
        ("model: a\nnames: [a]\npart: {rat: 1}", "settings.yml: unknown key 'part.rat'"),
        ("model: a\nnames: [a]\nseed: '1'", 'settings.yml: seed: input should be a valid integer, not "1"'),
        ("model: a\nnames: [a]\nseed: true", "seed: input should be a valid integer, not true"),
        ("model: a\nnames: [a]\nuse_gpu: 1", "use_gpu: input should be a valid boolean, not 1"),
        ("model: a\nnames: a", 'names: input should be a valid array, not "a"'),
        ("model: a\nnames: [a, 1]", "names.1: input should be a valid string, not 1"),
        ("model: a\nnames: [a]\nseed: -1", "settings.yml: seed: it must be positive"),
        ("names: 1", "model is missing (and 1 more errors)"),
        ("[1]", "settings.yml: it must have the keys model, names"),
        ("{", "settings.yml is not YAML: "),
    ],
)  # fmt: skip
def test_an_error_names_the_file_and_the_key(tmp_path, text, message):
    with pytest.raises(WeltError) as error:
        read(tmp_path, text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(
        WeltError, match="none.yml is not a file. Name a YAML file with x"
    ):
        read_yaml(tmp_path / "none.yml", "x")
