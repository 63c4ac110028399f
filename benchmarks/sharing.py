"""How well work is shared by claims: dummy runs of known length, 8 to 64 processes.

    python benchmarks/sharing.py --runs 1000

Each process takes runs that no other is at, as `spacy welt experiment run --claim` and
`spacy welt annotate --claim` do; a run sleeps. Efficiency: the sum of all lengths, over the
processes times the time from the first start to the last end. The mean length grows with the number
of processes, so that each takes about a minute.
"""

import multiprocessing
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, List

import typer

from welt_spacy.claims import Claims, share_work


def work(folder: Path, lengths: List[float], begin: Any, queue: Any) -> None:
    names = [f"{i:04d}" for i in range(len(lengths))]

    def do(name: str, claim: Any) -> None:
        time.sleep(lengths[int(name)])
        (folder / "done" / name).touch()

    claims = Claims(folder / "claims")
    begin.wait()
    share_work(claims, names, lambda name: (folder / "done" / name).exists(), do)
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main(runs: int = 1000, processes: List[int] = None, seconds: float = 60.0) -> None:
    if processes is None:
        processes = [8, 16, 32, 64]
    context = multiprocessing.get_context("spawn")
    print("| processes | mean length, s | wall, s | efficiency | memory of one, MB |")
    print("| --- | --- | --- | --- | --- |")
    for n in processes:
        rng = random.Random(n)
        mean = seconds * n / runs
        lengths = [mean * rng.uniform(0.5, 1.5) for _ in range(runs)]
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
            ends = {}
            while len(ends) < runs:
                ends = {p.name: p.stat().st_mtime for p in (folder / "done").iterdir()}
                time.sleep(0.05)
            wall = time.perf_counter() - started
            memory = max(queue.get() for _ in workers)
            for worker in workers:
                worker.join()
        told = [
            f"{mean:.2f}",
            f"{wall:.1f}",
            f"{sum(lengths) / (n * wall):.3f}",
            str(memory),
        ]
        print(f"| {n} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
