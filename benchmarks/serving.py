"""`spacy welt serve` under load: 50 clients for a minute, against a bare `nlp.pipe`.

    python benchmarks/serving.py MODEL --clients 50 --seconds 60

The clients are a process of their own. `nlp.pipe` runs before and after, on the same texts,
in batches as it likes; figures are words a second.
"""

import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import spacy
import typer
from annotation import read_sentences, write
from common import about

CORPORA = ["bc5cdr", "ncbi_disease", "bc2gm", "linnaeus"]


def main(
    model: Path,
    clients: int = 50,
    seconds: float = 60.0,
    sentences: int = 8,
    docs: int = 2000,
) -> None:
    import json
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = write(
            Path(folder) / "a.jsonl", read_sentences(CORPORA), docs, sentences, 0
        )
        texts = [json.loads(line)["text"] for line in path.open(encoding="utf8")]
    nlp = spacy.load(model)
    n_words = [len(doc) for doc in nlp.tokenizer.pipe(texts)]
    before = bare(nlp, texts)
    process, address = start(model)
    result = asyncio.run(load(address, texts, n_words, clients, seconds))
    served = result["words"] / result["seconds"]
    stop(process)
    after = bare(nlp, texts)
    base = (before + after) / 2
    times = sorted(result["times"])
    print(
        f"{clients} clients, {result['seconds']:.0f} s, one abstract of {sentences} sentences "
        f"a request. {about(['spacy', 'fastapi', 'uvicorn'])}\n"
    )
    print("| | |\n| --- | --- |")
    for name, server in (
        ("requests", f"{len(times):,}"),
        ("answers", str(result["codes"])),
        ("words/s", f"{served:,.0f}"),
        ("`nlp.pipe`, before and after", f"{before:,.0f}, {after:,.0f}"),
        ("ratio", f"{served / base:.2f}"),
        ("p50, p99 (ms)", f"{1000 * times[len(times) // 2]:.0f}, "
         f"{1000 * times[int(0.99 * len(times))]:.0f}"),
    ):  # fmt: skip
        print(f"| {name} | {server} |")
    overload(model, texts)
    terminate(model, texts)


def bare(nlp: Any, texts: list[str]) -> float:
    started = time.perf_counter()
    n = sum(len(doc) for doc in nlp.pipe(texts))
    return n / (time.perf_counter() - started)


def start(model: Path, *options: str) -> Any:
    process = subprocess.Popen(
        [sys.executable, "-m", "spacy", "welt", "serve", str(model), "--port", "0"]
        + list(options),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"http://[\w.:]+", line):
            return process, match[0]
    sys.exit("✘ the server did not start")


def stop(process: subprocess.Popen) -> str:
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    line = process.stdout.read()
    process.wait()
    return line


async def load(
    address: str, texts: list[str], n_words: list[int], clients: int, seconds: float
) -> dict[str, Any]:
    result: dict[str, Any] = {"words": 0, "times": [], "codes": {}}
    started = time.perf_counter()

    async def client(number: int) -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            i = number
            while time.perf_counter() - started < seconds:
                begun = time.perf_counter()
                answer = await http.post(
                    f"{address}/annotate", json={"text": texts[i % len(texts)]}
                )
                result["times"].append(time.perf_counter() - begun)
                code = answer.status_code
                result["codes"][code] = result["codes"].get(code, 0) + 1
                if code == 200:
                    result["words"] += n_words[i % len(texts)]
                i += clients

    await asyncio.gather(*(client(i) for i in range(clients)))
    result["seconds"] = time.perf_counter() - started
    return result


def overload(model: Path, texts: list[str]) -> None:
    process, address = start(model, "--max-queue", "20")

    async def run() -> None:
        async with httpx.AsyncClient(
            timeout=60, limits=httpx.Limits(max_connections=300)
        ) as http:

            async def ask(text: str) -> Any:
                begun = time.perf_counter()
                answer = await http.post(f"{address}/annotate", json={"text": text})
                return answer.status_code, time.perf_counter() - begun

            responses = await asyncio.gather(*(ask(text) for text in texts[:300]))
            refused = [seconds for code, seconds in responses if code == 503]
            print(
                f"\n300 at once with room for 20 texts: {len(refused)} x 503, the slowest of "
                f"them after {1000 * max(refused):.0f} ms; "
                f"{sum(code == 200 for code, _ in responses)} x 200. "
                f"Right after that: {(await ask(texts[0]))[0]}"
            )

    asyncio.run(run())
    stop(process)


def terminate(model: Path, texts: list[str]) -> None:
    process, address = start(model)
    codes: list[Any] = []

    async def run() -> None:
        async def client(number: int) -> None:
            for i in range(1000):
                try:
                    async with httpx.AsyncClient(timeout=60) as http:
                        text = texts[(number + 50 * i) % len(texts)]
                        answer = await http.post(
                            f"{address}/annotate", json={"text": text}
                        )
                    codes.append(answer.status_code)
                except httpx.TransportError:
                    return

        async def end() -> None:
            await asyncio.sleep(5)
            process.send_signal(signal.SIGTERM)

        await asyncio.gather(end(), *(client(i) for i in range(50)))

    asyncio.run(run())
    assert process.stdout is not None
    line = process.stdout.read().strip()
    process.wait()
    print(
        f"\nSIGTERM under load: {line}; clients got {len(codes):,} answers, "
        f"{sum(code == 200 for code in codes):,} x 200; exit status {process.returncode}"
    )


if __name__ == "__main__":
    typer.run(main)
