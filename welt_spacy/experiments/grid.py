"""What an experiment runs: corpora, encoders, weighting schemes and seeds, from a YAML file."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spacy.util import registry
from thinc.api import Config

from ..corpora.catalog import CATALOG, encoder_names
from ..errors import WeltError, first_line
from ..evaluation.tuning.decoding import PARAMETERS
from ..training.config import ConfigSettings, make_config
from ..util.yaml import read_yaml

Settings = dict[str, Any]
# What a selection may set, as options of `spacy welt select`
SELECTION = (
    *("strategy", "keep", "keep_negatives", "scorer_model", "tagger", "diverse"),
)
KINDS = {"corpora": list, "schemes": dict, "seeds": list}
OPTIONAL = {
    **{"config": str, "encoders": dict, "selections": dict, "overrides": dict},
    **{"per_corpus": dict, "tuned": dict, "keep_models": bool, "train_on_dev": bool},
}


@dataclass(frozen=True)
class Run:
    """One training.

    corpus (str): The id of the corpus.
    scheme (str): What the experiment calls the weighting scheme.
    weighting (dict[str, Any]): The block `components.welt_ner.weighting`.
    seed (int): The random seed.
    tuned (tuple[str, ...]): The settings to tune on dev afterwards, each for itself.
    encoder (str): What the experiment calls the encoder; empty if it has one config.
    selection (str): What it calls the selection of training data; empty for all of them.
    """

    corpus: str
    scheme: str
    weighting: Settings
    seed: int
    tuned: tuple[str, ...] = ()
    encoder: str = ""
    selection: str = ""

    @property
    def name(self) -> str:
        """RETURNS (str): What it is called in messages and, with a checksum, on disk."""
        parts = (self.corpus, self.encoder, self.selection, self.scheme, str(self.seed))
        return "-".join(filter(None, parts))


@dataclass(frozen=True)
class Encoder:
    """An encoder with its training config.

    config (Path | None): The config; None for the paper's encoder of this name with
        the paper's hyper-parameters for each corpus.
    overrides (dict[str, Any]): Other settings of the config, with dots.
    per_corpus (dict[str, dict[str, Any]]): The same, for some corpora.
    """

    config: Path | None = None
    overrides: Settings = field(default_factory=dict)
    per_corpus: dict[str, Settings] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """An experiment: all corpora with all encoders, schemes and seeds.

    config (Path | None): The training config, where there are no encoders.
    corpora (list[str]): Ids of corpora, or names of other folders with train.spacy, dev.spacy
        and test.spacy beside theirs.
    schemes (dict[str, dict[str, Any]]): For each scheme its block
        `components.welt_ner.weighting`. The first is what the others are tested
        against.
    seeds (list[int]): The random seeds.
    overrides (dict[str, Any]): Other settings of the config, with dots.
    tuned (dict[str, list[str]]): For some schemes the settings to tune on dev:
        "o_bias", "logit_adjustment".
    encoders (dict[str, Encoder]): Encoders by name.
    selections (dict[str, dict[str, Any]]): Selections of training data by name: options of
        `spacy welt select`; none for all data.
    per_corpus (dict[str, dict[str, Any]]): Overrides for some corpora.
    keep_models (bool): Whether trained pipelines are kept.
    train_on_dev (bool): Whether dev is trained on too, as the paper did; scores on dev
        mean nothing then.
    """

    config: Path | None
    corpora: list[str]
    schemes: dict[str, Settings]
    seeds: list[int]
    overrides: Settings = field(default_factory=dict)
    tuned: dict[str, list[str]] = field(default_factory=dict)
    encoders: dict[str, Encoder] = field(default_factory=dict)
    selections: dict[str, Settings] = field(default_factory=dict)
    per_corpus: dict[str, Settings] = field(default_factory=dict)
    keep_models: bool = True
    train_on_dev: bool = False

    def runs(self) -> list[Run]:
        """RETURNS (list[Run]): All runs, scheme by scheme."""
        return [
            Run(
                corpus,
                scheme,
                weighting,
                seed,
                tuple(self.tuned.get(scheme, ())),
                encoder,
                selection,
            )
            for encoder in self.encoders or [""]
            for selection in self.selections or [""]
            for scheme, weighting in self.schemes.items()
            for seed in self.seeds
            for corpus in self.corpora
        ]

    def config_of(self, run: Run) -> Config:
        """Get the complete training config of a run.

        run (Run): The run.
        RETURNS (Config): The config; the paths of train and dev are those of the command.
        RAISES (WeltError): If it can't be made.
        """
        setup = self.encoders.get(run.encoder) or Encoder(self.config)
        overrides = {
            **self.overrides,
            **self.per_corpus.get(run.corpus, {}),
            **setup.overrides,
            **setup.per_corpus.get(run.corpus, {}),
            "system.seed": run.seed,
        }
        if setup.config is None:
            text = make_config(
                ConfigSettings(
                    corpus=run.corpus,
                    encoder=run.encoder,
                    scheme="vanilla",
                    paper=run.corpus in CATALOG,
                    train_on_dev=self.train_on_dev,
                )
            )
        else:
            text = _read(setup.config)
        try:
            config = Config().from_str(text, interpolate=False, overrides=overrides)
            config["components"]["welt_ner"]["weighting"] = dict(run.weighting)
        except (ValueError, KeyError) as err:  # thinc's errors are ValueErrors
            raise WeltError(
                f"{setup.config or run.encoder}: can't make the config of {run.name}: "
                f"{' '.join(str(err).split())[:200]}"
            ) from None
        return config


def read_grid(path: Path) -> Grid:
    """Read an experiment.

    path (Path): A YAML file with the fields of `Grid`; paths in it start where the
        command runs.
    RETURNS (Grid): The experiment.
    RAISES (WeltError): If the file is missing or not as it should be.
    """
    found = read_yaml(path, "an experiment")
    if not isinstance(found, dict):
        raise WeltError(f"{path} must have the keys {', '.join(KINDS)}")
    if unknown := sorted(set(found) - set(KINDS) - set(OPTIONAL)):
        raise WeltError(f"{path}: unknown key {unknown[0]!r}")
    for key, kind in {**KINDS, **OPTIONAL}.items():
        if key in KINDS and not found.get(key):
            raise WeltError(f"{path}: {key} is missing")
        if key in found and not isinstance(found[key], kind):
            raise WeltError(f"{path}: {key} must be a {kind.__name__}")
    if bool(found.get("config")) == bool(found.get("encoders")):
        raise WeltError(f"{path}: config is missing (or encoders, but not both)")
    try:
        if found.get("config"):
            found["config"] = Path(found["config"])
        else:
            found["config"] = None
            found["encoders"] = {
                name: _read_encoder(name, told)
                for name, told in found["encoders"].items()
            }
        grid = Grid(**found)
        _check(grid)
    except WeltError as err:
        raise WeltError(f"{path}: {err}") from None
    return grid


def _read_encoder(name: Any, told: Any) -> Encoder:
    _check_name("an encoder", name)
    told = {} if told is None else told
    if not isinstance(told, dict) or set(told) - {"config", "overrides", "per_corpus"}:
        raise WeltError(
            f"encoder {name} may have config, overrides and per_corpus, and nothing else"
        )
    for key in ("overrides", "per_corpus"):
        if not isinstance(told.get(key, {}), dict):
            raise WeltError(f"encoder {name}: {key} must be a dict")
    config = told.get("config")
    if config is None and name not in encoder_names():
        raise WeltError(
            f"encoder {name} needs a config: only {', '.join(encoder_names())} are in "
            "the paper"
        )
    return Encoder(
        None if config is None else Path(str(config)),
        told.get("overrides", {}),
        told.get("per_corpus", {}),
    )


def _check(grid: Grid) -> None:
    for name, weighting in grid.schemes.items():
        _check_scheme(name, weighting)
    for corpus in grid.corpora:
        if not isinstance(corpus, str):
            raise WeltError(f"corpora has {corpus!r}: it must be a list of names")
        _check_name("a corpus", corpus)
    for name, encoder in grid.encoders.items():
        _check_per_corpus(f"encoder {name}", encoder.per_corpus, grid)
        if encoder.config is not None and not encoder.config.is_file():
            raise WeltError(f"the config {encoder.config} is not a file")
    _check_per_corpus("the experiment", grid.per_corpus, grid)
    for name, selection in grid.selections.items():
        _check_name("a selection", name)
        if selection and (
            not isinstance(selection, dict)
            or set(selection) - set(SELECTION)
            or "strategy" not in selection
        ):
            raise WeltError(
                f"selection {name} needs a strategy, and may have {', '.join(SELECTION[1:])}"
            )
    for scheme, knobs in grid.tuned.items():
        if scheme not in grid.schemes:
            raise WeltError(f"tuned names {scheme!r}, which is not a scheme")
        if not isinstance(knobs, list) or not all(isinstance(k, str) for k in knobs):
            raise WeltError(f"tuned has {knobs!r} for {scheme}: it must be a list")
        if unknown := sorted(set(knobs) - set(PARAMETERS)):
            raise WeltError(
                f"{unknown[0]!r} can't be tuned: use {' or '.join(PARAMETERS)}"
            )
    if grid.train_on_dev and any(grid.tuned.values()):
        raise WeltError("train_on_dev leaves nothing to tune on: leave one of both out")
    for seed in grid.seeds:
        if type(seed) is not int or not 0 <= seed < 2**32:
            raise WeltError(f"seeds must be whole numbers below 2^32, not {seed!r}")
    lists: dict[str, list[Any]] = {
        "corpora": grid.corpora,
        "seeds": grid.seeds,
        **grid.tuned,
    }
    for key, values in lists.items():
        if twice := [value for value, n in Counter(values).items() if n > 1]:
            raise WeltError(f"{key} has {twice[0]!r} more than once")
    if grid.config is not None and not grid.config.is_file():
        raise WeltError(f"the config {grid.config} is not a file")


def _check_per_corpus(what: str, found: dict[str, Any], grid: Grid) -> None:
    for corpus, overrides in found.items():
        if corpus not in grid.corpora:
            raise WeltError(f"per_corpus of {what} names {corpus!r}, which is not run")
        if not isinstance(overrides, dict):
            raise WeltError(f"per_corpus of {what}: {corpus} must be a dict")


def _check_name(what: str, name: Any) -> None:
    # It becomes a part of a path
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+]*(-[A-Za-z0-9._+]+)*", str(name)):
        raise WeltError(
            f"{what} can't be called {name!r}: use letters, digits, dots, underscores, "
            "+ and -"
        )


def _check_scheme(name: Any, weighting: Any) -> None:
    _check_name("a scheme", name)
    if not isinstance(weighting, dict) or not isinstance(weighting.get("@misc"), str):
        raise WeltError(f"scheme {name} needs a registered function, @misc")
    if not registry.has("misc", weighting["@misc"]):
        raise WeltError(
            f"scheme {name}: no function is registered as {weighting['@misc']!r}: see "
            "docs/component.md for those of this package"
        )
    try:
        registry.resolve({"weighting": weighting})
    except ValueError as err:  # pydantic's and our own
        told = "; ".join(line.strip() for line in str(err).splitlines() if line.strip())
        raise WeltError(f"scheme {name}: {told[:200]}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as err:
        raise WeltError(f"{path}: can't read this config: {first_line(err)}") from None
