"""Call one loaded pipeline from many threads and processes, and compare the results with those
of one thread.

    python scripts/fetch_encoder.py
    python benchmarks/threads.py --threads 16 --calls 1000

Runs the CPU pipeline, MiniLM and MiniLM in int8, with random heads: from threads, by
`nlp.pipe` in a fork and in a spawn, and behind FastAPI (pip install fastapi httpx) with
50 requests at a time.
"""

import asyncio
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import spacy
import typer
from common import ROOT, start_pipeline
from spacy.util import load_config_from_str

from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.fetch import fetch
from welt_spacy.formats.iob import read_iob
from welt_spacy.packaging.optimize import optimize_pipeline
from welt_spacy.training.config import ConfigSettings, make_config

sys.path.insert(0, str(ROOT))
from tests.fuzz.threads import call_from_threads
from tests.fuzz.workplace import Prediction, predict

TEXTS = 200


def make(folder: Path, kind: str, encoder: Path) -> Path:
    """Save a pipeline whose head is random, so that all confidences occur."""
    config = make_config(
        ConfigSettings(encoder="cpu" if kind == "cpu" else str(encoder), paper=False)
    )
    parsed = load_config_from_str(config)
    parsed["components"]["welt_ner"].update(threshold=0.0, spans_key="welt_ner")
    parsed["components"]["welt_ner"]["o_bias"] = -2.0
    nlp, _ = start_pipeline(parsed)
    if kind == "int8":
        optimize_pipeline(nlp, "int8")
    nlp.to_disk(folder / kind)
    return folder / kind


def real_texts(n: int) -> list[str]:
    corpus = get_corpus("bc5cdr_chemical")
    sentences = list(read_iob(fetch(corpus)["test"], label="Chemical"))
    return [" ".join(s.words) for s in random.Random(0).sample(sentences, n)]


def piped(path: Path, texts: list[str], method: str | None) -> list[np.ndarray]:
    if method is not None:
        multiprocessing.set_start_method(method, force=True)
    nlp = spacy.load(path)
    docs = nlp.pipe(texts, batch_size=20, n_process=1 if method is None else 2)
    docs = list(docs)  # a group of spans does not keep its doc alive
    return [doc.spans["welt_ner"].attrs["scores"].copy() for doc in docs]


def furthest(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Return the largest difference of a confidence; infinite if entities differ."""
    if [len(a) for a in one] != [len(b) for b in other]:
        return float("inf")
    return max(
        (float(np.abs(a - b).max()) for a, b in zip(one, other) if len(a)), default=0.0
    )


def fastapi_requests(
    path: Path, texts: list[str], expected: list[Prediction], n: int
) -> Counter:
    """Call a sync handler, which FastAPI runs in its pool of threads, from 50 clients."""
    import fastapi
    import httpx

    nlp = spacy.load(path)
    app = fastapi.FastAPI()

    @app.get("/{i}")
    def annotate(i: int) -> dict:
        return {"equal": predict(nlp, [texts[i]]) == [expected[i]]}

    outcomes: Counter = Counter()

    async def client(seed: int) -> None:
        rng = random.Random(seed)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            for _ in range(n // 50):
                answer = await http.get(f"/{rng.randrange(len(texts))}")
                outcomes[str(answer.json().get("equal"))] += 1

    async def all_clients() -> None:
        await asyncio.gather(*(client(seed) for seed in range(50)))

    asyncio.run(all_clients())
    return outcomes


def main(
    threads: int = 16,
    calls: int = 1_000,
    requests: int = 5_000,
    kinds: str = "cpu,minilm,int8",
    encoder: Path = ROOT / "assets/encoders/minilm",
    output: Path | None = None,
) -> None:
    texts = real_texts(TEXTS)
    process = psutil.Process()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds.split(","):
            path = make(Path(folder), kind, encoder)
            nlp = spacy.load(path)
            expected = predict(nlp, texts)
            single = [np.frombuffer(scores, "float32") for _, scores in expected]
            before = process.memory_info().rss
            started = time.perf_counter()
            figures: dict[str, Any] = {
                "threads": dict(
                    call_from_threads(path, expected, threads, calls, texts)
                )
            }
            figures["seconds"] = round(time.perf_counter() - started, 1)
            figures["RSS, MB"] = [before >> 20, process.memory_info().rss >> 20]
            if "fastapi" in sys.modules or _has("fastapi"):
                figures["FastAPI"] = dict(
                    fastapi_requests(path, texts, expected, requests)
                )
            # Batches round otherwise than single docs, so pipes are held to a pipe
            whole = piped(path, texts, None)
            figures["pipe, largest difference to single docs"] = furthest(single, whole)
            for method in ("fork", "spawn"):
                parts = piped(path, texts, method)
                figures[f"pipe in a {method}, to one process"] = furthest(whole, parts)
            results[kind] = figures
            print(kind, json.dumps(figures), flush=True)
    if output is not None:
        output.write_text(json.dumps(results, indent=2))


def _has(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    typer.run(main)
