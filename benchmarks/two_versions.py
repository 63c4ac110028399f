"""Two installed versions of welt-spacy against each other, in turns: training, `nlp.pipe` and
`annotate`.

    python benchmarks/two_versions.py BEFORE/bin/python AFTER/bin/python BEFORE/CONFIG \
        AFTER/CONFIG DATA/bc5cdr_docs

Each version trains its own config with the same seed and runs its own pipeline. Ratios are
those of medians, above 1 where the second version is faster. Scores and entities of the two
are compared.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import typer

PIPE = """
import hashlib, json, sys, time
import spacy
from spacy.tokens import DocBin
nlp = spacy.load(sys.argv[1])
docs = list(DocBin().from_disk(sys.argv[2]).get_docs(nlp.vocab))
texts = [doc.text for doc in docs] * int(sys.argv[3])
list(nlp.pipe(texts[:100]))
start = time.perf_counter()
entities = []
n_words = 0
for doc in nlp.pipe(texts):
    n_words += len(doc)
    entities += [(e.start_char, e.end_char, e.label_, e._.confidence) for e in doc.ents]
seconds = time.perf_counter() - start
sha = hashlib.sha256(json.dumps(entities).encode()).hexdigest()
print(json.dumps({"speed": n_words / seconds, "entities": len(entities), "sha": sha}))
"""
TEXTS = """
import json, sys
import spacy
from spacy.tokens import DocBin
docs = DocBin().from_disk(sys.argv[1]).get_docs(spacy.blank("en").vocab)
lines = [json.dumps({"id": str(i), "text": doc.text}) for i, doc in enumerate(docs)]
with open(sys.argv[2], "w") as file:
    file.write("\\n".join(lines * int(sys.argv[3])) + "\\n")
"""


def main(
    before: Path,
    after: Path,
    before_config: Path,
    after_config: Path,
    data: Path,
    steps: int = 300,
    rounds: int = 3,
    copies: int = 4,
) -> None:
    pythons = {"before": before.absolute(), "after": after.absolute()}
    configs = {"before": before_config.absolute(), "after": after_config.absolute()}
    data = data.absolute()
    results: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(after, work, "-c", TEXTS, data / "test.spacy", "in.jsonl", copies)
        for i in range(rounds):
            for side, python in pythons.items():
                model = work / side / "model-last"
                seconds = train(python, work, configs[side], data, work / side, steps)
                add(results, "training, steps/s", side, steps / seconds)
                piped = json.loads(
                    run(python, work, "-c", PIPE, model, data / "test.spacy", copies)
                )
                add(results, "nlp.pipe, words/s", side, piped["speed"])
                output = work / f"{side}{i}"
                command = ("-m", "welt_spacy", "annotate", model, "in.jsonl", output)
                start = time.perf_counter()
                run(python, work, *command)
                seconds = time.perf_counter() - start
                add(results, "annotate, runs/s", side, 1 / seconds)
                meta = json.loads((model / "meta.json").read_text())
                scores = {k: v for k, v in meta["performance"].items() if "ents_f" in k}
                lines = read_lines(output)
                print(
                    f"{side}: {scores} {piped['entities']} entities {piped['sha']:.8}"
                )
                print(f"    annotate: {len(lines)} lines, hash {hash_lines(lines)}")
    for name, sides in results.items():
        medians = [median(sides[side]) for side in ("before", "after")]
        rounded = {side: [round(v, 2) for v in sides[side]] for side in sides}
        print(f"{name}: {medians[1] / medians[0]:.3f} {rounded}")


def add(results: dict, name: str, side: str, value: float) -> None:
    results.setdefault(name, {}).setdefault(side, []).append(value)


def run(python: Path, folder: Path, *arguments: object) -> str:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    result = subprocess.run(
        [str(python), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    return result.stdout


def train(
    python: Path, folder: Path, config: Path, data: Path, output: Path, steps: int
) -> float:
    start = time.perf_counter()
    run(
        python,
        folder,
        *("-m", "spacy", "train", config, "--output", output),
        *("--paths.train", data / "train.spacy", "--paths.dev", data / "dev.spacy"),
        *("--training.max_steps", steps, "--training.eval_frequency", steps),
    )
    return time.perf_counter() - start


def read_lines(output: Path) -> list[str]:
    files = sorted((output / "data").glob("*.jsonl"))
    return [line for file in files for line in file.read_text().splitlines()]


def hash_lines(lines: list[str]) -> str:
    import hashlib

    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


if __name__ == "__main__":
    typer.run(main)
