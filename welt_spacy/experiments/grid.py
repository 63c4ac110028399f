"""What an experiment runs: corpora, weighting schemes and seeds, from a YAML file."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Tuple

from spacy.util import registry

from ..corpora.catalog import get_corpus
from ..deployment.tuning import KNOBS
from ..errors import WeltError
from ..io import read_yaml

Settings = Dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training.

    corpus (str): The id of the corpus.
    scheme (str): What the experiment calls the weighting scheme.
    weighting (Dict[str, Any]): The block `components.welt_ner.weighting`.
    seed (int): The random seed.
    tuned (Tuple[str, ...]): The settings to tune on dev afterwards, each for itself.
    """

    corpus: str
    scheme: str
    weighting: Settings
    seed: int
    tuned: Tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """RETURNS (str): Its folder below that of the experiment."""
        return f"{self.corpus}/{self.scheme}-{self.seed}"


@dataclass(frozen=True)
class Grid:
    """An experiment: all corpora with all schemes and all seeds.

    config (Path): The training config, the same for all runs.
    corpora (List[str]): Ids of corpora.
    schemes (Dict[str, Dict[str, Any]]): For each scheme its block
        `components.welt_ner.weighting`. The first is what the others are tested
        against.
    seeds (List[int]): The random seeds.
    overrides (Dict[str, Any]): Other settings of the config, with dots.
    tuned (Dict[str, List[str]]): For some schemes the settings to tune on dev:
        "o_bias", "logit_adjustment".
    """

    config: Path
    corpora: List[str]
    schemes: Dict[str, Settings]
    seeds: List[int]
    overrides: Settings = field(default_factory=dict)
    tuned: Dict[str, List[str]] = field(default_factory=dict)

    def runs(self) -> List[Run]:
        """RETURNS (List[Run]): All runs, scheme by scheme."""
        return [
            Run(corpus, scheme, weighting, seed, tuple(self.tuned.get(scheme, ())))
            for scheme, weighting in self.schemes.items()
            for seed in self.seeds
            for corpus in self.corpora
        ]


def read_grid(path: Path) -> Grid:
    """Read an experiment.

    path (Path): A YAML file with the fields of `Grid`; paths in it start where the
        command runs.
    RETURNS (Grid): The experiment.
    RAISES (WeltError): If the file is missing or not as it should be.
    """
    found = read_yaml(path, "an experiment")
    kinds = {"config": str, "corpora": list, "schemes": dict, "seeds": list}
    optional = {"overrides": dict, "tuned": dict}
    if not isinstance(found, dict):
        raise WeltError(f"{path} must have the keys {', '.join(kinds)}")
    if unknown := sorted(set(found) - set(kinds) - set(optional)):
        raise WeltError(f"{path}: unknown key {unknown[0]!r}")
    for key, kind in {**kinds, **optional}.items():
        if key in kinds and not found.get(key):
            raise WeltError(f"{path}: {key} is missing")
        if key in found and not isinstance(found[key], kind):
            raise WeltError(f"{path}: {key} must be a {kind.__name__}")
    grid = Grid(**{**found, "config": Path(found["config"])})
    try:
        _check(grid)
    except WeltError as err:
        raise WeltError(f"{path}: {err}") from None
    return grid


def _check(grid: Grid) -> None:
    for name, weighting in grid.schemes.items():
        _check_scheme(name, weighting)
    for corpus in grid.corpora:
        if not isinstance(corpus, str):
            raise WeltError(f"corpora has {corpus!r}: it must be a list of names")
        get_corpus(corpus)
    for scheme, knobs in grid.tuned.items():
        if scheme not in grid.schemes:
            raise WeltError(f"tuned names {scheme!r}, which is not a scheme")
        if not isinstance(knobs, list) or not all(isinstance(k, str) for k in knobs):
            raise WeltError(f"tuned has {knobs!r} for {scheme}: it must be a list")
        if unknown := sorted(set(knobs) - set(KNOBS)):
            raise WeltError(f"{unknown[0]!r} can't be tuned: use {' or '.join(KNOBS)}")
    for seed in grid.seeds:
        if type(seed) is not int or not 0 <= seed < 2**32:
            raise WeltError(f"seeds must be whole numbers below 2^32, not {seed!r}")
    lists: Dict[str, List[Any]] = {
        "corpora": grid.corpora,
        "seeds": grid.seeds,
        **grid.tuned,
    }
    for key, values in lists.items():
        if twice := [value for value, n in Counter(values).items() if n > 1]:
            raise WeltError(f"{key} has {twice[0]!r} more than once")
    if not grid.config.is_file():
        raise WeltError(f"the config {grid.config} is not a file")


def _check_scheme(name: Any, weighting: Any) -> None:
    # It becomes a part of a path
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", str(name)):
        raise WeltError(
            f"a scheme can't be called {name!r}: use letters, digits, dots, underscores, "
            "+ and -"
        )
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
