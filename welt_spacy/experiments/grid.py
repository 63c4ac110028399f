"""Experiments as YAML files: corpora, encoders, weighting schemes and seeds."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from spacy.util import registry

from ..corpora.catalog import encoder_names
from ..errors import WeltError, shorten
from ..evaluation.tuning.decoding import PARAMETERS
from ..training.selection.ifd import ScorerSettings
from ..training.selection.select_file import SelectionSettings
from ..util.yaml import YamlModel, read_yaml_model

Settings = dict[str, Any]
# A name becomes a part of a path
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+]*(-[A-Za-z0-9._+]+)*")


@dataclass(frozen=True)
class Run:
    """A training.

    corpus (str): The id of the corpus.
    scheme (str): The name of the weighting scheme in the experiment.
    weighting (dict[str, Any]): The block `components.welt_ner.weighting`.
    seed (int): The random seed.
    tuned (tuple[str, ...]): The parameters to tune on dev afterwards, each for itself.
    encoder (str): The name of the encoder; empty if the experiment has one config.
    selection (str): The name of the selection of training data; empty for all data.
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
        """The name in messages and, with a checksum, of the folder."""
        parts = (self.corpus, self.encoder, self.selection, self.scheme, str(self.seed))
        return "-".join(filter(None, parts))


class Encoder(YamlModel):
    """An encoder with its training config.

    config (Path | None): The config; None for the paper's encoder of this name with
        the paper's hyper-parameters for each corpus.
    overrides (dict[str, Any]): Other settings of the config, with dots.
    per_corpus (dict[str, dict[str, Any]]): The same, for single corpora.
    """

    config: Path | None = None
    overrides: Settings = Field(default_factory=dict)
    per_corpus: dict[str, Settings] = Field(default_factory=dict)


class SelectionOptions(YamlModel):
    """A selection of training data: options of `spacy welt select`."""

    strategy: str
    keep: float = 0.5
    keep_negatives: float = 1.0
    scorer_model: str | None = None
    ifd_variant: Literal["ppl_ratio", "loss_ratio"] = "ppl_ratio"
    max_length: int = 0
    tagger: Path | None = None
    diverse: bool = False

    def to_settings(self, seed: int) -> SelectionSettings:
        """Return the settings of `select_file`."""
        scorer = None
        if self.scorer_model is not None:
            scorer = ScorerSettings(
                self.scorer_model, self.ifd_variant, self.max_length
            )
        return SelectionSettings(
            strategy=self.strategy,
            keep=self.keep,
            keep_negatives=self.keep_negatives,
            scorer=scorer,
            tagger=self.tagger,
            diverse=self.diverse,
            seed=seed,
        )


class Grid(YamlModel):
    """An experiment: all corpora with all encoders, schemes and seeds.

    config (Path | None): The training config, if there are no encoders.
    corpora (list[str]): Ids of corpora, or names of other folders with train.spacy, dev.spacy
        and test.spacy beside theirs.
    schemes (dict[str, dict[str, Any]]): Name of each scheme -> its block
        `components.welt_ner.weighting`. The first is the baseline of the tests.
    seeds (list[int]): The random seeds.
    overrides (dict[str, Any]): Other settings of the config, with dots.
    tuned (dict[str, list[str]]): Scheme -> the parameters to tune on dev: "o_bias",
        "logit_adjustment".
    encoders (dict[str, Encoder | None]): Encoders by name.
    selections (dict[str, SelectionOptions | None]): Selections of training data by name; None
        for all data.
    per_corpus (dict[str, dict[str, Any]]): Overrides for single corpora.
    keep_models (bool): Whether trained pipelines are kept.
    train_on_dev (bool): Whether dev is trained on too, as the paper did; then scores on dev
        mean nothing.
    """

    config: Path | None = None
    corpora: list[str]
    schemes: dict[str, Settings]
    seeds: list[int]
    overrides: Settings = Field(default_factory=dict)
    tuned: dict[str, list[str]] = Field(default_factory=dict)
    encoders: dict[str, Encoder | None] = Field(default_factory=dict)
    selections: dict[str, SelectionOptions | None] = Field(default_factory=dict)
    per_corpus: dict[str, Settings] = Field(default_factory=dict)
    keep_models: bool = True
    train_on_dev: bool = False

    @field_validator("corpora", "schemes", "seeds")
    @classmethod
    def _check_content(cls, values: Any) -> Any:
        if not values:
            raise WeltError("it is empty")
        return values

    @field_validator("corpora", "schemes", "encoders", "selections")
    @classmethod
    def _check_names(cls, names: Any) -> Any:
        for name in names:
            if not _NAME.fullmatch(name):
                raise WeltError(
                    f"{name!r} is no valid name. Use letters, digits, dots, underscores, "
                    "+ and -"
                )
        return names

    @field_validator("corpora", "seeds")
    @classmethod
    def _check_list(cls, values: Any) -> Any:
        _check_unique(values)
        return values

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int]) -> list[int]:
        for seed in seeds:
            if not 0 <= seed < 2**32:
                raise WeltError(f"{seed} is not between 0 and 2^32 - 1")
        return seeds

    @field_validator("tuned")
    @classmethod
    def _check_tuned(cls, tuned: dict[str, list[str]]) -> dict[str, list[str]]:
        for parameters in tuned.values():
            _check_unique(parameters)
            if unknown := sorted({*parameters} - {*PARAMETERS}):
                raise WeltError(
                    f"{unknown[0]!r} can't be tuned. Use {' or '.join(PARAMETERS)}"
                )
        return tuned

    @property
    def splits(self) -> tuple[str, str, str]:
        """The names of the splits for training, for scores during training, and for the final
        scores.
        """
        return ("train_dev" if self.train_on_dev else "train", "dev", "test")

    def runs(self) -> list[Run]:
        """Return all runs, scheme by scheme."""
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


def read_grid(path: Path) -> Grid:
    """Read an experiment.

    path (Path): A YAML file with the fields of `Grid`; paths in it start at the current folder.
    RETURNS (Grid): The experiment.
    RAISES (WeltError): If the file is missing, or a value is missing, unknown or invalid.
    """
    grid = read_yaml_model(path, Grid, "an experiment")
    try:
        _check_references(grid)
        _check_configs(grid)
        for name, weighting in grid.schemes.items():
            _check_scheme(name, weighting)
        for name, options in grid.selections.items():
            if options is not None:
                _check_selection(name, options)
    except WeltError as err:
        raise WeltError(f"{path}: {err}") from None
    return grid


def _check_unique(values: Iterable[Any]) -> None:
    if repeated := [value for value, n in Counter(values).items() if n > 1]:
        raise WeltError(f"{repeated[0]!r} is there more than once")


def _check_references(grid: Grid) -> None:
    """Check the names of corpora and schemes in other keys."""
    for scheme in grid.tuned:
        if scheme not in grid.schemes:
            raise WeltError(f"tuned: {scheme!r} is not a scheme")
    if grid.train_on_dev and any(grid.tuned.values()):
        raise WeltError("train_on_dev leaves nothing to tune on. Leave one of both out")
    places: dict[str, Mapping[str, Settings]] = {"per_corpus": grid.per_corpus}
    for name, encoder in grid.encoders.items():
        if encoder is not None:
            places[f"encoders.{name}.per_corpus"] = encoder.per_corpus
    for place, overrides in places.items():
        for corpus in overrides:
            if corpus not in grid.corpora:
                raise WeltError(f"{place}: {corpus!r} is not in corpora")


def _check_configs(grid: Grid) -> None:
    if (grid.config is None) == (not grid.encoders):
        raise WeltError("config is missing (or encoders, but not both)")
    configs = [grid.config]
    for name, encoder in grid.encoders.items():
        config = encoder.config if encoder else None
        if config is None and name not in encoder_names():
            raise WeltError(
                f"encoders.{name} needs a config: only {', '.join(encoder_names())} are in "
                "the paper"
            )
        configs.append(config)
    for config in configs:
        if config is not None and not config.is_file():
            raise WeltError(f"the config {config} is not a file")


def _check_scheme(name: str, weighting: Settings) -> None:
    function = weighting.get("@misc")
    if not isinstance(function, str):
        raise WeltError(f"schemes.{name} needs a registered function, @misc")
    if not registry.has("misc", function):
        raise WeltError(
            f"schemes.{name}: no function is registered as {function!r}. See "
            "docs/component.md for those of this package"
        )
    try:
        registry.resolve({"weighting": weighting})
    except ValueError as err:  # pydantic's and our own
        lines = (line.strip() for line in str(err).splitlines())
        message = shorten("; ".join(filter(None, lines)), 200)
        raise WeltError(f"schemes.{name}: {message}") from None


def _check_selection(name: str, options: SelectionOptions) -> None:
    try:
        options.to_settings(seed=0)
    except WeltError as err:
        raise WeltError(f"selections.{name}: {err}") from None
