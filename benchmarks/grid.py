"""Run one grid with every engine, and compare durations and results.

    python benchmarks/grid.py configs/experiments/laptop.yml --corpora corpus

One run at a time, two at once, two commands in one folder, and Ray with two nodes on this machine,
each into a folder of its own. Overhead: the time of the whole command times the
runs at once, over the sum of what the processes of its runs took; and over the sum of what was done
in them, without the start of Python and spaCy. Needs the extra `ray`.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import srsly
import typer

COSTS = {"seconds", "train_seconds", "words_s", "peak_mb", "peak_gpu_mb"}


def start(experiment: Path, corpora: Path, output: Path, *options: str) -> Any:
    command = [sys.executable, "-m", "spacy", "welt", "experiment", "run"]
    command += [str(experiment), "--corpora", str(corpora), "--output", str(output)]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def on_ray(experiment: Path, corpora: Path, output: Path) -> Any:
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}
    )
    cluster.add_node(**node)
    options = ("--engine", "ray", "--ray-address", cluster.address)
    process = start(experiment, corpora, output, *options)
    process.wait()
    cluster.shutdown()
    return process


def figures(output: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the metrics of each run without its costs."""
    return {
        path.parent.name: [
            {key: value for key, value in row.items() if key not in COSTS}
            for row in srsly.read_json(path)
        ]
        for path in output.glob("runs/*/metrics.json")
    }


def main(experiment: Path, corpora: Path = Path("corpus")) -> None:
    ways = {
        "one at a time": lambda to: [start(experiment, corpora, to)],
        "two at once": lambda to: [start(experiment, corpora, to, "--jobs", "2")],
        "two commands": lambda to: [start(experiment, corpora, to) for _ in range(2)],
        "Ray, two nodes": lambda to: [on_ray(experiment, corpora, to)],
    }
    print(
        "| | minutes | over processes | over commands | runs | files | same figures |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    first = None
    with tempfile.TemporaryDirectory() as folder:
        for way, begin in ways.items():
            output = Path(folder) / way.replace(" ", "-")
            began = time.perf_counter()
            codes = [process.wait() for process in begin(output)]
            wall = time.perf_counter() - began
            assert not any(codes), f"{way} ended with {codes}"
            processes = [
                srsly.read_json(path)[0]["seconds"]
                for path in output.glob("runs/*/metrics.json")
            ]
            steps = [
                srsly.read_json(path)["seconds"]
                for path in output.glob("runs/*/*.usage.json")
            ]
            metrics = figures(output)
            first = first or metrics
            workers = 1 if way == "one at a time" else 2
            print(
                f"| {way} | {wall / 60:.1f} | {workers * wall / sum(processes):.3f} "
                f"| {workers * wall / sum(steps):.3f} | {len(metrics)} "
                f"| {sum(p.is_file() for p in output.glob('runs/**/*'))} "
                f"| {'yes' if metrics == first else 'NO'} |",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
