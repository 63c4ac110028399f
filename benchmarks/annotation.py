"""Measure `spacy welt annotate` on many abstracts: speed against a bare `nlp.pipe`, memory, kills.

    python benchmarks/annotation.py MODEL --docs 200000 --speed-docs 20000 --kills 20

Abstracts are sentences of real corpora, recombined with a seed. All sides run in this one
go, in turns; figures are words a second of the annotation itself, without start and loading,
and seconds of the whole command beside them.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import spacy
import typer
from common import about
from spacy.tokens import DocBin


def main(
    model: Path,
    corpora: str = "bc5cdr,ncbi_disease,bc2gm,linnaeus",
    docs: int = 200_000,
    speed_docs: int = 20_000,
    sentences: int = 8,
    rounds: int = 2,
    kills: int = 20,
    seed: int = 0,
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pool = read_sentences(corpora.split(","))
        print(f"{len(pool):,} sentences of {corpora}. {about(['spacy', 'thinc'])}\n")
        if speed_docs:
            speed(
                model,
                write(folder / "speed.jsonl", pool, speed_docs, sentences, seed),
                rounds,
            )
        if docs:
            memory(model, write(folder / "many.jsonl", pool, docs, sentences, seed + 1))
        if kills:
            kill(
                model,
                write(folder / "kill.jsonl", pool, 6000, sentences, seed + 2),
                kills,
                seed,
            )


def read_sentences(corpora: list[str]) -> list[str]:
    vocab = spacy.blank("en").vocab
    return [
        doc.text
        for corpus in corpora
        for doc in DocBin()
        .from_disk(Path("corpus") / corpus / "train.spacy")
        .get_docs(vocab)
    ]


def write(path: Path, pool: list[str], docs: int, sentences: int, seed: int) -> Path:
    rng = random.Random(seed)
    with path.open("w", encoding="utf8") as file:
        for i in range(docs):
            # A number, so that there are new words all the time, as in a literature
            text = " ".join(rng.choice(pool) for _ in range(sentences))
            row = {"id": str(i), "text": f"Study w{rng.randrange(10**9)}. {text}"}
            file.write(json.dumps(row) + "\n")
    return path


def bare(model: Path, path: Path, *batch_size: str) -> tuple[float, float]:
    """Return words/s of `for doc in nlp.pipe(texts)`, and seconds with loading."""
    code = (
        "import json,sys,time,spacy\n"
        "nlp = spacy.load(sys.argv[1])\n"
        "texts = [json.loads(line)['text'] for line in open(sys.argv[2], encoding='utf8')]\n"
        "start = time.perf_counter()\n"
        "options = {'batch_size': int(sys.argv[3])} if sys.argv[3:] else {}\n"
        "n = sum(len(doc) for doc in nlp.pipe(texts, **options))\n"
        "print(n / (time.perf_counter() - start))\n"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, str(model), str(path), *batch_size],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return float(done.stdout), time.perf_counter() - started


def command(model: Path, path: Path, output: Path, *options: str) -> list[str]:
    arguments = ["annotate", str(model), str(path), str(output), *options]
    return [sys.executable, "-m", "spacy", "welt", *arguments]


def annotate(
    model: Path, path: Path, output: Path, *options: str
) -> tuple[float, float]:
    started = time.perf_counter()
    subprocess.run(
        command(model, path, output, *options), check=True, capture_output=True
    )
    seconds = time.perf_counter() - started
    records = [json.loads(p.read_bytes()) for p in (output / "manifest").iterdir()]
    # From the beginning of the first shard to the end of the last
    ends = {p.stem: p.stat().st_mtime for p in (output / "manifest").iterdir()}
    began = min(ends[r["shard"]] - r["seconds"] for r in records)
    return sum(r["words"] for r in records) / (max(ends.values()) - began), seconds


def speed(model: Path, path: Path, rounds: int) -> None:
    rates: dict[str, list[tuple[float, float]]] = {
        "nlp.pipe": [],
        "nlp.pipe 64": [],
        "1": [],
        "2": [],
    }
    for i in range(rounds):
        for side in rates:
            if side.startswith("nlp.pipe"):
                rates[side].append(bare(model, path, *side.split()[1:]))
            else:
                output = path.parent / f"out-{side}-{i}"
                rates[side].append(annotate(model, path, output, "--workers", side))
                shutil.rmtree(output)
            print(f"... {side}: {rates[side][-1][0]:,.0f} words/s", file=sys.stderr)
    n = sum(1 for _ in path.open("rb"))
    print(f"{n:,} abstracts, {rounds} rounds in turns, median:\n")
    print("| | words/s | against `nlp.pipe` | seconds, with start and loading |")
    print("| --- | --- | --- | --- |")
    base = median(words for words, _ in rates["nlp.pipe"])
    for side, runs in rates.items():
        words, seconds = (median(values) for values in zip(*runs))
        name = f"annotate, {side} worker(s)"
        if side.startswith("nlp.pipe"):
            name = "`nlp.pipe`" + (", batches of 64" if " " in side else "")
        print(f"| {name} | {words:,.0f} | {words / base:.2f} | {seconds:.1f} |")
    print()


def memory(model: Path, path: Path) -> None:
    output = path.parent / "many"
    started = time.perf_counter()
    subprocess.run(
        command(model, path, output, "--workers", "2"), check=True, capture_output=True
    )
    seconds = time.perf_counter() - started
    lines = (output / "manifest.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    docs, words = (sum(r[key] for r in records) for key in ("docs", "words"))
    early = max(r["peak_mb"] for r in records[:10])
    print(
        f"{docs:,} abstracts, {words:,} words, 2 workers: {seconds:,.0f} s, "
        f"{words / seconds:,.0f} words/s, start and planning included. Peak memory of a "
        f"worker after the first 10,000 abstracts {early} MB, at the end "
        f"{max(r['peak_mb'] for r in records)} MB, ratio "
        f"{max(r['peak_mb'] for r in records) / early:.3f}\n"
    )
    shutil.rmtree(output)


def sums(folder: Path) -> dict[str, str]:
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in (folder / "data").iterdir()
    }


def kill(model: Path, path: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    whole, output = path.parent / "whole", path.parent / "killed"
    options = ("--shard-docs", "50", "--workers", "2")
    subprocess.run(
        command(model, path, whole, *options), check=True, capture_output=True
    )
    for two in (False, True):
        n_drivers, n_workers = 0, 0
        shards = [("--shard", "1/2"), ("--shard", "2/2")] if two else [()]
        while n_drivers + n_workers < kills:
            drivers = [
                subprocess.Popen(
                    command(model, path, output, *options, *shard),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                for shard in shards
            ]
            time.sleep(rng.uniform(2, 12))
            alive = [d.pid for d in drivers if d.poll() is None]
            pids = sorted(pid for driver in alive for pid in list_workers(driver))
            victim = rng.choice([*alive, *pids]) if alive or pids else None
            if victim is not None:
                try:
                    os.kill(victim, signal.SIGKILL)
                    n_drivers += victim in alive
                    n_workers += victim not in alive
                except ProcessLookupError:
                    pass
            time.sleep(rng.uniform(0, 2))
            for driver in drivers:
                driver.kill()
                driver.wait()
            if len(list((output / "manifest").glob("*"))) == 120:
                shutil.rmtree(output)  # done too early: begin anew
        for shard in shards:
            final = subprocess.run(command(model, path, output, *options, *shard))
        ids = [
            json.loads(line)["id"]
            for p in sorted((output / "data").glob("*.jsonl"))
            for line in p.read_bytes().splitlines()
        ]
        same = sums(output) == sums(whole)
        print(
            f"\n{'Two drivers' if two else 'One driver'}: {n_drivers} kills of drivers, "
            f"{n_workers} of workers, then a last run (status {final.returncode}): "
            f"{len(ids):,} documents, {len(set(ids)):,} different, same bytes: {same}"
        )
        assert same and len(ids) == len(set(ids)) == 6000
        shutil.rmtree(output)


def list_workers(driver: int) -> list[int]:
    pattern = "welt_spacy.annotation.worker"
    done = subprocess.run(
        ["pgrep", "-P", str(driver), "-f", pattern], capture_output=True, text=True
    )
    return list(map(int, done.stdout.split()))


if __name__ == "__main__":
    typer.run(main)
