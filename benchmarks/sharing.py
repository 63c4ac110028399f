"""How well runs are shared out: dummy runs of known length, 8 to 64 at once.

    python benchmarks/sharing.py --runs 1000
    python benchmarks/sharing.py --engine ray --runs 1000 --seconds 600

With claims each process takes runs that no other is at, as `spacy welt experiment run --claim` and
`spacy welt annotate --claim` do. With Ray a cluster of two nodes is simulated on this machine, and
each run is a task in a process of its own, as with `--engine ray`. A run sleeps. Efficiency: the sum
of all lengths, over the processes times the time from the first start to the last end. The mean
length grows with the number of processes, so that each has about `--seconds` of them.
"""

import multiprocessing
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import typer

from welt_spacy.parallel.claims import Claims, share_work


def work(folder: Path, lengths: list[float], begin: Any, queue: Any) -> None:
    names = [f"{i:04d}" for i in range(len(lengths))]

    def do(name: str, claim: Any) -> None:
        time.sleep(lengths[int(name)])
        (folder / "done" / name).touch()

    claims = Claims(folder / "claims")
    begin.wait()
    share_work(claims, names, lambda name: (folder / "done" / name).exists(), do)
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def by_claims(n: int, lengths: list[float]) -> tuple[float, str]:
    """Seconds, and the memory of a process."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as told:
        folder = Path(told)
        (folder / "done").mkdir()
        begin, queue = context.Barrier(n + 1), context.Queue()
        workers = [
            context.Process(target=work, args=(folder, lengths, begin, queue))
            for _ in range(n)
        ]
        for worker in workers:
            worker.start()
        begin.wait()
        started = time.perf_counter()
        n_done = 0
        while n_done < len(lengths):
            n_done = sum(1 for _ in (folder / "done").iterdir())
            time.sleep(0.05)
        wall = time.perf_counter() - started
        memory = max(queue.get() for _ in workers)
        for worker in workers:
            worker.join()
    return wall, str(memory)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def by_ray(n: int, lengths: list[float]) -> tuple[float, str]:
    """Seconds, and the memory of the driver after a tenth of the runs and in the end."""
    import ray
    from ray.cluster_utils import Cluster

    from welt_spacy.parallel.ray_cluster import in_window

    node = {"num_cpus": n // 2, "object_store_memory": 100 << 20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}
    )
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        task = ray.remote(num_cpus=1, max_calls=1, max_retries=3)(sleep)
        memory = []
        started = time.perf_counter()
        for _ in in_window(ray, task.remote, lengths, {"CPU": 1.0}):
            status = Path("/proc/self/status").read_text().partition("VmRSS:")[2]
            memory.append(int(status.split()[0]) // 1024)
        wall = time.perf_counter() - started
    finally:
        ray.shutdown()
        cluster.shutdown()
    return wall, f"{memory[len(memory) // 10]}, {memory[-1]}"


def main(
    runs: int = 1000,
    processes: list[int] = None,
    seconds: float = 60.0,
    engine: str = "claims",
) -> None:
    share = {"claims": by_claims, "ray": by_ray}[engine]
    print("| processes | mean length, s | wall, s | efficiency | memory, MB |")
    print("| --- | --- | --- | --- | --- |")
    for n in processes or [8, 16, 32, 64]:
        rng = random.Random(n)
        mean = seconds * n / runs
        lengths = [mean * rng.uniform(0.5, 1.5) for _ in range(runs)]
        wall, memory = share(n, lengths)
        told = f"{mean:.2f} | {wall:.1f} | {sum(lengths) / (n * wall):.3f} | {memory}"
        print(f"| {n} | {told} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
