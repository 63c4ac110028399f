"""Memory over many docs and over long ones.

    python benchmarks/memory.py [--encoder assets/encoders/minilm]

Each case runs in a process of its own. Many docs: sentences of BC5CDR's test
abstracts, cut to 12 words, with a new number in each, so that there are always new
words, in `nlp.memory_zone` of 10,000 docs. Long docs: abstracts end to end. The
weights of the heads are random; for many docs the encoder has one layer. About ten
minutes on 2 cores.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import typer
from common import about, prepare, start_pipeline
from infer_speed import load_texts
from spacy.training import Example
from spacy.util import load_config_from_str

from welt_spacy.training.config import ConfigSettings, make_config

ZONE = 10_000
CASES = ["many, cpu", "many, encoder", "1,000", "10,000", "100,000"]
TRAINED = ["train 1,000", "train 10,000", "train 100,000"]


def megabytes() -> float:
    return psutil.Process().memory_info().rss / 2**20


def many(texts: list[str], n: int) -> Iterator[str]:
    words = [text.split()[:12] for text in texts]
    for i in range(n):
        yield " ".join([*words[i % len(words)], str(i)])


def run_case(case: str, encoder: str, n_docs: int, corpus: str) -> dict:
    name = "cpu" if case == "many, cpu" else encoder
    config = load_config_from_str(
        make_config(ConfigSettings(encoder=name, scheme="vanilla"))
    )
    if case == "many, encoder":
        # One layer is as good as six to show whether anything grows.
        tok2vec = config["components"]["welt_ner"]["model"]["tok2vec"]
        tok2vec["transformer_config"] = {"num_hidden_layers": 1}
    nlp, optimizer = start_pipeline(config)
    texts = load_texts(Path("corpus") / corpus, 5000)
    seen = []
    if case.startswith("many"):
        stream = many(texts, n_docs)
        for _ in range(0, n_docs, ZONE):
            with nlp.memory_zone():
                chunk = [text for _, text in zip(range(ZONE), stream)]
                for _ in nlp.pipe(chunk):
                    pass
            seen.append(megabytes())
    else:
        n_tokens = int(case.split()[-1].replace(",", ""))
        words = " ".join(texts).split()
        words = (words * (1 + n_tokens // len(words)))[:n_tokens]
        doc = nlp.make_doc(" ".join(words))
        seen.append(megabytes())
        if case.startswith("train"):
            truth = doc.copy()
            truth.set_ents([])
            nlp.update([Example(doc, truth)], sgd=optimizer, drop=0.1)
        else:
            for _, pipe in nlp.pipeline:
                doc = pipe(doc)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"seen": seen, "peak": peak}


def main(
    encoder: str = "assets/encoders/minilm",
    corpus: str = "bc5cdr_chemical",
    docs: int = 200_000,
    case: str = "",
) -> None:
    if case:
        print(json.dumps(run_case(case, encoder, docs, corpus)))
        return
    prepare(corpus, Path("corpus"))
    print("| | RSS before, or after a tenth, MB | at the end | peak |")
    print("|---|---|---|---|")
    for each in CASES + TRAINED:
        done = subprocess.run(
            [
                *(sys.executable, __file__, "--case", each, "--encoder", encoder),
                *("--docs", str(docs), "--corpus", corpus),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        result = json.loads(done.stdout.splitlines()[-1])
        seen = result["seen"]
        name = f"{docs:,} docs, {each[6:]}" if "many" in each else f"{each} tokens"
        end = f"{seen[-1]:,.0f}" if "many" in each else ""
        print(
            f"| {name} | {seen[len(seen) // 10]:,.0f} | {end} | {result['peak']:,.0f} |",
            flush=True,
        )
    print(f"\n{encoder}; {about(['spacy', 'torch', 'transformers'])}")


if __name__ == "__main__":
    typer.run(main)
