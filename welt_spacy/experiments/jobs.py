"""Jobs: runs with everything that is needed to run them and to recognise their results."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from thinc.api import Config

from ..corpora.catalog import CATALOG
from ..errors import WeltError, first_line
from ..training.config import ConfigSettings, make_config
from ..util.fingerprint import Fingerprint, fingerprint
from .grid import Encoder, Grid, Run, SelectionOptions
from .layout import METRICS
from .workspace import Workspace

# These paths of a config are set when training starts
TRAINING_PATHS = ("paths.train", "paths.dev")


@dataclass(frozen=True)
class Job:
    """A run with everything that it needs, independent of its experiment.

    run (Run): The run.
    config (str): Its complete training config.
    splits (tuple[str, str, str]): Names of the splits for training, dev and test.
    selection (SelectionOptions | None): The selection of training data.
    keep_models (bool): Whether trained pipelines are kept.
    fingerprint (Fingerprint): Everything that decides the result.
    """

    run: Run
    config: str
    splits: tuple[str, str, str]
    selection: SelectionOptions | None
    keep_models: bool
    fingerprint: Fingerprint

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.run.name}-{self.fingerprint.digest[:16]}"

    @property
    def scored(self) -> dict[str, str]:
        """Parameter that was tuned, "" for none -> suffix of the files with its results."""
        return {"": "", **{name: f"-{name}" for name in self.run.tuned}}

    @property
    def outputs(self) -> list[str]:
        """The files by which the run is done."""
        names = [METRICS]
        for suffix in self.scored.values():
            names += [f"test{suffix}.json", f"predictions{suffix}.spacy"]
        return names

    def is_done(self, workspace: Workspace) -> bool:
        """Return whether the results are there, undamaged."""
        return workspace.get_run(self.name).is_done(self.fingerprint)

    def check_inputs(self, workspace: Workspace) -> None:
        """Raise a `WeltError` if files or packages are not those of the fingerprint."""
        now = _make_fingerprint(
            self.run, _parse(self.config), self.splits, self.selection, workspace
        )
        versions = Fingerprint({}, {}, self.fingerprint.versions)
        names = versions.differences(Fingerprint({}, {}, now.versions))
        files = self.fingerprint.files
        names += [f"files.{key}" for key in files if files[key] != now.files.get(key)]
        if names:
            raise WeltError(
                f"inputs are not those with which the run was planned ({', '.join(names)} "
                "differ). Run the experiment again"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON data."""
        selection = self.selection and self.selection.model_dump(mode="json")
        return {
            **{"run": asdict(self.run), "config": self.config, "splits": self.splits},
            **{"selection": selection, "keep_models": self.keep_models},
            "fingerprint": self.fingerprint.to_dict(),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Job":
        """Read what `to_dict` returned."""
        run = Run(**{**record["run"], "tuned": tuple(record["run"]["tuned"])})
        selection = record["selection"]
        if selection is not None:
            selection = SelectionOptions.model_validate(selection, strict=False)
        return cls(
            run,
            record["config"],
            tuple(record["splits"]),
            selection,
            record["keep_models"],
            Fingerprint(**record["fingerprint"]),
        )


def make_jobs(grid: Grid, workspace: Workspace) -> list[Job]:
    """Make the jobs of all runs of an experiment."""
    for corpus in grid.corpora:
        for split in grid.splits:
            path = workspace.get_split(corpus, split)
            if not path.is_file():
                raise WeltError(
                    f"{path} is missing. Make it with 'spacy welt corpora convert {corpus} "
                    f"--output {workspace.corpora}'"
                )
    return list(iterate_jobs(grid, workspace))


def iterate_jobs(grid: Grid, workspace: Workspace) -> Iterator[Job]:
    """Yield the jobs of all runs. Corpora that are missing are left out of the fingerprints."""
    for run in grid.runs():
        config = make_run_config(grid, run)
        selection = grid.selections.get(run.selection)
        yield Job(
            run,
            config.to_str(interpolate=False),
            grid.splits,
            selection,
            grid.keep_models,
            _make_fingerprint(run, config, grid.splits, selection, workspace),
        )


def make_run_config(grid: Grid, run: Run) -> Config:
    """Return the complete training config of a run. Raise a `WeltError` if it can't be made."""
    encoder = grid.encoders.get(run.encoder) or Encoder(config=grid.config)
    overrides = {
        **grid.overrides,
        **grid.per_corpus.get(run.corpus, {}),
        **encoder.overrides,
        **encoder.per_corpus.get(run.corpus, {}),
        "system.seed": run.seed,
    }
    if encoder.config is None:
        text = _make_paper_config(run.corpus, run.encoder, grid.train_on_dev)
    else:
        text = _read_config(encoder.config)
    try:
        config = _parse(text, overrides)
        config["components"]["welt_ner"]["weighting"] = dict(run.weighting)
    except (ValueError, KeyError) as err:  # thinc's errors are ValueErrors
        raise WeltError(
            f"{encoder.config or run.encoder}: can't make the config of {run.name}: "
            f"{' '.join(str(err).split())[:200]}"
        ) from None
    return config


def _make_fingerprint(
    run: Run,
    config: Config,
    splits: tuple[str, str, str],
    selection: SelectionOptions | None,
    workspace: Workspace,
) -> Fingerprint:
    settings: dict[str, Any] = {"corpus": run.corpus, "tuned": list(run.tuned)}
    models = {}
    if selection is not None:
        settings["selection"] = selection.model_dump(mode="json") | {"seed": run.seed}
        for key in ("scorer_model", "tagger"):
            if (model := getattr(selection, key)) is not None:
                models[f"selection.{key}"] = model
    paths = {split: workspace.get_split(run.corpus, split) for split in splits}
    return fingerprint(
        settings,
        files={split: path for split, path in paths.items() if path.is_file()},
        config=config,
        models=models,
        exclude=TRAINING_PATHS,
    )


def cache_encoders(grid: Grid) -> list[str]:
    """Fetch `config.json` of encoders on the hub, so that their commits are known and become a
    part of the fingerprints. Return the names of those that can't be fetched.
    """
    runs = {(run.encoder, run.corpus): run for run in grid.runs()}
    configs = [make_run_config(grid, run) for run in runs.values()]
    names = {str(config.get("paths", {}).get("encoder") or "") for config in configs}
    names = {name for name in names if name and not Path(name).exists()}
    return _fetch_configs(sorted(names))


def _fetch_configs(names: list[str]) -> list[str]:
    """Fetch `config.json` of models on the hub, and return the names for which that failed."""
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.utils import LocalEntryNotFoundError
    except ImportError:
        return names
    failed = []
    is_online = True
    logger = logging.getLogger("huggingface_hub")  # warns of each attempt
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        for name in names:
            try:
                if isinstance(try_to_load_from_cache(name, "config.json"), str):
                    continue
                if is_online:
                    hf_hub_download(name, "config.json")
                    continue
            except LocalEntryNotFoundError:  # no network, so no more attempts
                is_online = False
            except Exception:  # no such model, no valid name, no access
                pass
            failed.append(name)
    finally:
        logger.setLevel(level)
    return failed


@lru_cache
def _make_paper_config(corpus: str, encoder: str, train_on_dev: bool) -> str:
    """Make the config of an encoder of the paper, once for all schemes and seeds."""
    return make_config(
        ConfigSettings(
            corpus=corpus,
            encoder=encoder,
            scheme="vanilla",
            paper=corpus in CATALOG,
            train_on_dev=train_on_dev,
        )
    )


def _parse(text: str, overrides: dict[str, Any] | None = None) -> Config:
    return Config().from_str(text, interpolate=False, overrides=overrides or {})


def _read_config(path: Path) -> str:
    try:
        return path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as err:
        raise WeltError(f"{path}: can't read this config: {first_line(err)}") from None
