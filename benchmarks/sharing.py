"""Measure what handing out runs costs: dummy runs of known length, 8 to 64 at once.

    python benchmarks/sharing.py --runs 1000
    python benchmarks/sharing.py --engine ray --runs 1000 --seconds 600

The local engine is the pool of worker processes of `spacy welt annotate` and `spacy welt
experiment run`. With Ray a cluster of two nodes is simulated on this machine, and each run is a
task in a process of its own, as with `--engine ray`. A run sleeps. Efficiency: the sum of all
lengths, divided by the number of processes times the time from the first start to the last end.
The mean length grows with the number of processes, so that each has about `--seconds` of them.
"""

import random
import sys
import time
from pathlib import Path
from typing import Any

import typer

from welt_spacy.parallel.pool import WorkerPool, serve_tasks


def sleep(seconds: float, report: Any = None) -> None:
    time.sleep(seconds)


def run(pool: Any, lengths: list[float]) -> tuple[float, str]:
    """Return seconds, and the memory of the driver after a tenth of the runs and at the end."""
    for length in lengths:
        pool.submit(length)
    memory = []
    started = time.perf_counter()
    while pool.n_unfinished:
        for event in pool.wait():
            if event.is_last:
                memory.append(get_memory())
    wall = time.perf_counter() - started
    return wall, f"{memory[len(memory) // 10]}, {memory[-1]}"


def get_memory() -> int:
    status = Path("/proc/self/status").read_text().partition("VmRSS:")[2]
    return int(status.split()[0]) // 1024


def run_local(n: int, lengths: list[float]) -> tuple[float, str]:
    with WorkerPool("benchmarks.sharing", [["worker"]] * n) as pool:
        return run(pool, lengths)


def run_ray(n: int, lengths: list[float]) -> tuple[float, str]:
    import ray
    from ray.cluster_utils import Cluster

    from welt_spacy.parallel.ray import RayTaskPool

    node = {"num_cpus": n // 2, "object_store_memory": 100 << 20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}
    )
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        with RayTaskPool(ray, sleep, needs={"CPU": 1.0}) as pool:
            return run(pool, lengths)
    finally:
        ray.shutdown()
        cluster.shutdown()


def main(
    runs: int = 1000,
    processes: list[int] = None,
    seconds: float = 60.0,
    engine: str = "local",
) -> None:
    measure = {"local": run_local, "ray": run_ray}[engine]
    print("| processes | mean length, s | wall, s | efficiency | memory, MB |")
    print("| --- | --- | --- | --- | --- |")
    for n in processes or [8, 16, 32, 64]:
        rng = random.Random(n)
        mean = seconds * n / runs
        lengths = [mean * rng.uniform(0.5, 1.5) for _ in range(runs)]
        wall, memory = measure(n, lengths)
        efficiency = sum(lengths) / (n * wall)
        print(
            f"| {n} | {mean:.2f} | {wall:.1f} | {efficiency:.3f} | {memory} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[2:] == ["worker"]:
        serve_tasks(sleep)
    else:
        typer.run(main)
