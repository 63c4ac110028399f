"""The layout of the folder of an experiment, and the state of its runs."""

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import srsly

from ..errors import WeltError
from ..util.files import is_locked, write_atomically
from ..util.fingerprint import Fingerprint
from ..util.output_folder import OutputFolder

# The folder of an experiment:
#
#     experiment.json        the names of all runs and versions of packages, of the last `run`
#     runs/NAME/             a run; NAME ends in the digest of its fingerprint
#         config.cfg         its training config
#         STEP.log           output of each step: select, train, tune-PARAMETER, test[-PARAMETER]
#         STEP.usage.json    time and memory of each step
#         model-best/        the trained pipeline, and model-last/, model-PARAMETER/
#         test[-PARAMETER].json, predictions[-PARAMETER].spacy
#                            scores and predictions of each pipeline
#         metrics.json       a row for each scored pipeline
#         error.json         the step that failed and its error
#         run.json           fingerprint and checksums; marks a run as done
#     selected/              selected training data, shared by runs
#     results/               the Parquet data set

COMMAND = "spacy welt experiment run"
CONFIG, METRICS, ERROR, RECORD = "config.cfg", "metrics.json", "error.json", "run.json"


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run."""

    path: Path

    @property
    def name(self) -> str:
        """The name of the run with the digest of its fingerprint."""
        return self.path.name

    def open(self) -> OutputFolder:
        """Return the folder as the output of a command, not locked yet."""
        return OutputFolder(self.path, COMMAND, record=RECORD)

    def clear(self) -> None:
        """Delete everything but the lock."""
        for path in self.path.iterdir():
            if path.name.endswith(".lock"):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def is_done(self, fingerprint: Fingerprint) -> bool:
        """Return whether the results of this fingerprint are there, undamaged."""
        return self.open().is_current(fingerprint)

    def is_locked(self) -> bool:
        """Return whether a process has locked the run."""
        return is_locked(self.path / RECORD)

    def write_error(self, message: str) -> None:
        """Record that the run failed. Nothing happens if the disk is full."""
        with contextlib.suppress(WeltError):
            write_atomically(self.path / ERROR, to_json({"message": message}))

    def read_error(self) -> str:
        """Return the message of the error with which the run failed; empty if it did not."""
        try:
            return str(srsly.read_json(self.path / ERROR)["message"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def get_plan(output: Path) -> Path:
    """Return the file with the names of all runs."""
    return output / "experiment.json"


def get_run(output: Path, name: str) -> RunFolder:
    """Return the folder of a run."""
    return RunFolder(output / "runs" / name)


def get_split(corpora: Path, corpus: str, split: str) -> Path:
    """Return the file of a split of a corpus."""
    return corpora / corpus / f"{split}.spacy"


def to_json(record: Any) -> str:
    """Return JSON for people, the same for the same content."""
    return json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
