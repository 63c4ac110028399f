"""Costs of a pipeline where it is used: size of the installation, seconds to import and
to load, the first doc, words a second. Each environment has a fresh process a turn.

    python benchmarks/light.py corpus/bc5cdr/test.spacy ENV/bin/python=PIPELINE ...

An environment is a virtual environment with what the pipeline needs, and nothing else.
"""

import json
import os
import subprocess
from pathlib import Path
from statistics import median

import spacy
import typer
from spacy.tokens import DocBin

TURNS = 3
WORDS = 10_000
CODE = """
import json, sys, time
start = time.perf_counter()
import spacy
imported = time.perf_counter()
nlp = spacy.load(sys.argv[1])
loaded = time.perf_counter()
texts = json.load(open(sys.argv[2]))
nlp(texts[0])
first = time.perf_counter()
n = 0
for doc in nlp.pipe(texts):
    pass
end = time.perf_counter()
for doc in nlp.pipe(texts):  # once more: word pieces are known, caches are warm
    n += len(doc)
print(json.dumps({
    "import": imported - start, "load": loaded - imported,
    "first doc": first - loaded, "words/s": n / (time.perf_counter() - end),
}))
"""


def size(folder: Path) -> float:
    """Measure the packages of an environment in MB, without pip."""
    total = 0
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and not path.is_symlink() and "pip" not in parts:
            total += path.stat().st_size if path.suffix != ".pyc" else 0
    return total / 2**20


def main(data: Path, environments: list[str]) -> None:
    docs = list(DocBin().from_disk(data).get_docs(spacy.blank("en").vocab))
    texts, n = [], 0
    for doc in docs:
        texts.append(doc.text)
        n += len(doc)
        if n >= WORDS:
            break
    place = Path("training/benchmarks/light.json")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(texts))
    pairs = [environment.split("=", 1) for environment in environments]
    results: dict[str, list[dict]] = {environment: [] for environment in environments}
    for _ in range(TURNS):
        for environment, (python, model) in zip(environments, pairs):
            done = subprocess.run(
                [python, "-c", CODE, model, str(place)],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            results[environment].append(json.loads(done.stdout.splitlines()[-1]))
    print(
        "| pipeline | MB installed | MB | import, s | load, s | first doc, ms | words/s |"
    )
    print("|---|---|---|---|---|---|---|")
    for environment, (python, model) in zip(environments, pairs):
        runs = results[environment]
        middle = {key: median(run[key] for run in runs) for key in runs[0]}
        packages = next((Path(python).parents[1] / "lib").glob("python*/site-packages"))
        print(
            f"| {model} | {size(packages):,.0f} | {size(Path(model)):,.0f} "
            f"| {middle['import']:.2f} | {middle['load']:.2f} "
            f"| {1000 * middle['first doc']:.0f} | {middle['words/s']:,.0f} |"
        )


if __name__ == "__main__":
    typer.run(main)
