"""Run the fuzzer of the tests for long: malformed input, nonsense on the command line, kills
and threads.

    python benchmarks/fuzz.py --cases 10000 --kills 200 --output training/benchmarks/fuzz.json

Cases are numbered: `--seed 7 --only readers` makes the same ones again. tests/fuzz runs a
few of them in every test run.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import typer

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.fuzz.cases import Case
from tests.fuzz.run import run_cases
from tests.fuzz.threads import call_from_threads
from tests.fuzz.workplace import Workplace


def main(
    cases: int = 10_000,
    kills: int = 200,
    threads: int = 16,
    calls: int = 1_000,
    seed: int = 0,
    only: str = "readers,options,kills,threads",
    output: Path | None = None,
) -> None:
    kinds = only.split(",")
    counts = {"readers": cases // 2, "options": cases - cases // 2, "kills": kills}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("WELT_CORPORA_CACHE", str(Path(folder) / "cache"))
        (Path(folder) / "work").mkdir()
        place = Workplace(Path(folder) / "work")
        results: list[Case] = []
        started = time.perf_counter()
        for kind, n in counts.items():
            if kind in kinds:
                results += run_cases(place, kind, n, seed, show=True)
        table: dict[str, Any] = {
            target: dict(Counter(c.outcome for c in results if c.target == target))
            for target in sorted({case.target for case in results})
        }
        if "threads" in kinds:
            outcomes = call_from_threads(place.model, place.predictions, threads, calls)
            table[f"{threads} threads x {calls} calls"] = dict(outcomes)
    defects = [case._asdict() for case in results if case.is_defect]
    print(json.dumps(table, indent=2))
    print(f"{time.perf_counter() - started:.0f} s, {len(defects)} defects")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"table": table, "defects": defects}, indent=2))
    if defects:
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
