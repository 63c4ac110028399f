"""Run an experiment: the commands that anyone would type, one run after another."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import srsly

from ..corpora.files import write_atomically
from ..errors import WeltError
from .grid import Grid, Run

RECORD = "run.json"


def run_all(
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    at_once: int = 1,
    gpu_id: int = -1,
    report: Callable[[str], None] = print,
) -> List[str]:
    """Run what has not been run yet.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment. A run has a folder in it, with
        `model-best`, `test.json` (what `spacy welt evaluate` writes), `train.log`, and
        at last `run.json`. A run that has this with the same settings is not repeated.
    at_once (int): How many runs share the cores; they are divided among them.
    gpu_id (int): As of `spacy train`.
    report (Callable[[str], None]): Is given a line about each run.
    RETURNS (List[str]): What failed, a line a run.
    RAISES (WeltError): If a corpus is not there.
    """
    for corpus in grid.corpora:
        for split in ("train", "dev", "test"):
            path = corpora / corpus / f"{split}.spacy"
            if not path.is_file():
                raise WeltError(
                    f"{path} is missing: 'spacy welt corpora convert {corpus} --output "
                    f"{corpora}' makes it"
                )
    runs = [run for run in grid.runs() if not is_done(grid, run, output)]
    done = len(grid.runs()) - len(runs)
    report(f"{len(grid.runs())} runs, {done} of them done before")
    threads = max(1, (os.cpu_count() or 1) // at_once)
    failed = []
    with ThreadPoolExecutor(at_once) as pool:
        running = {
            pool.submit(run_one, grid, run, corpora, output, threads, gpu_id): run
            for run in runs
        }
        try:
            for future in as_completed(running):
                run = running[future]
                done += 1
                try:
                    seconds = future.result()
                    told = f"✔ {run.name}: {seconds:.0f} s"
                except WeltError as err:
                    told = f"✘ {run.name}: {err}"
                    failed.append(f"{run.name}: {err}")
                report(f"{told} ({done} of {len(grid.runs())})")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def is_done(grid: Grid, run: Run, output: Path) -> bool:
    """RETURNS (bool): Whether a run is there, with the same settings."""
    path = output / run.name / RECORD
    if not path.is_file():
        return False
    return bool(srsly.read_json(path).get("settings") == _settings(grid, run))


def run_one(
    grid: Grid, run: Run, corpora: Path, output: Path, threads: int, gpu_id: int = -1
) -> float:
    """Train, tune and score.

    grid, run, corpora, output, gpu_id: See `run_all`.
    threads (int): For each process.
    RETURNS (float): Seconds of the training.
    RAISES (WeltError): If a command fails, with its last line.
    """
    folder = output / run.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    started = time.perf_counter()
    seconds = 0.0
    for name, command in _commands(grid, run, corpora / run.corpus, folder, gpu_id):
        _call(command, folder / f"{name}.log", threads)
        if name == "train":
            seconds = time.perf_counter() - started
    record = {"settings": _settings(grid, run), "seconds": round(seconds, 1)}
    write_atomically(folder / RECORD, srsly.json_dumps(record, indent=2) + "\n")
    return seconds


def _commands(
    grid: Grid, run: Run, data: Path, folder: Path, gpu_id: int
) -> Iterator[Tuple[str, List[str]]]:
    best = folder / "model-best"
    gpu = ["--gpu-id", str(gpu_id)]
    yield (
        "train",
        [
            *("train", str(grid.config), "--output", str(folder), *gpu),
            *_overrides(grid, run),
            *(f"--paths.{split}={data / split}.spacy" for split in ("train", "dev")),
        ],
    )
    scored = {"test": best}
    for knob in run.tuned:
        model = folder / f"model-{knob}"
        yield (
            f"tune-{knob}",
            [
                *("welt", "tune", str(best), str(data / "dev.spacy"), str(model)),
                *("--knob", knob, "--force", *gpu),
            ],
        )
        scored[f"test-{knob}"] = model
    for name, model in scored.items():
        scores = folder / f"{name}.json"
        yield (
            f"evaluate-{name}",
            [
                *("welt", "evaluate", str(model), str(data / "test.spacy"), *gpu),
                *("--train", str(data / "train.spacy"), "--json", str(scores)),
            ],
        )


def _overrides(grid: Grid, run: Run) -> List[str]:
    settings = {
        "system.seed": run.seed,
        **{f"components.welt_ner.weighting.{k}": v for k, v in run.weighting.items()},
        **grid.overrides,
    }
    return [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in settings.items()
    ]


def _settings(grid: Grid, run: Run) -> Dict[str, Any]:
    # What decides the result
    return {
        "corpus": run.corpus,
        "overrides": _overrides(grid, run),
        "tuned": list(run.tuned),
        "config": grid.config.read_text(encoding="utf8"),
    }


def _call(command: Sequence[str], log: Path, threads: int) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {
        **os.environ,
        **dict.fromkeys(names, str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
    }
    with log.open("w", encoding="utf8") as file:
        found = subprocess.run(
            [sys.executable, "-m", "spacy", *command],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    if found.returncode:
        raise WeltError(f"{_last_line(log) or 'no output'} (see {log})")


def _last_line(path: Path) -> Optional[str]:
    lines = path.read_text(encoding="utf8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else None
