"""Train, evaluate, package, install and use a pipeline on a CPU.

The corpus is BC5CDR if it is available, else the sample corpus in assets/sample.
"""

import subprocess
import sys
import time
from pathlib import Path

import srsly
import typer
from models import find_vectors, run_steps
from wasabi import msg

from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.convert import convert
from welt_spacy.corpora.corpus_folder import convert_corpus
from welt_spacy.corpora.fetch import fetch
from welt_spacy.errors import WeltError

SAMPLE = Path("assets/sample")


def main(seed: int = 0, version: str = "0.1.0", sample: bool = False) -> None:
    started = time.perf_counter()
    corpus = prepare_sample() if sample else prepare()
    variables = {"config": "welt_cpu", "seed": seed, "version": version}
    # The sample corpus needs no network
    none = {"piece_vectors": "null"} if corpus == "sample" else {}
    run_steps(corpus, find_vectors({**variables, **none}))
    print_scores(Path("training/welt_cpu") / corpus / "metrics.json")
    wheel = Path("packages") / f"en_welt_{corpus}-{version}-py3-none-any.whl"
    msg.divider("install and use")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--no-index", "--force-reinstall", "--disable-pip-version-check"),
            str(wheel),
        ],
        check=True,
    )
    msg.good(f"Installed {wheel}")
    subprocess.run([sys.executable, "scripts/show.py", f"en_welt_{corpus}"], check=True)
    msg.good(f"Done in {(time.perf_counter() - started) / 60:.1f} minutes")


def prepare() -> str:
    """Convert BC5CDR, or else the sample corpus, and return its name."""
    try:
        convert_to_corpus("bc5cdr")
    except WeltError as err:
        msg.divider("SAMPLE CORPUS")
        msg.warn(
            "BC5CDR is not available. The demo runs on the 330 sentences of "
            "assets/sample: it shows the commands, NOT the accuracy.",
            str(err),
        )
        return prepare_sample()
    try:
        convert_to_corpus("bc5cdr_docs")
    except WeltError as err:
        msg.warn(
            "The pipeline is scored on sentences, not on whole abstracts.", str(err)
        )
    msg.good("The demo runs on BC5CDR (chemicals and diseases)")
    return "bc5cdr"


def convert_to_corpus(name: str) -> None:
    corpus, output = get_corpus(name), Path("corpus") / name
    files = fetch(corpus, cache=Path("assets/corpora"), progress=True)
    msg.divider(corpus.title)
    convert_corpus(corpus, files, output)


def prepare_sample() -> str:
    output = Path("corpus/sample")
    for split in ("train", "dev", "test"):
        convert(SAMPLE / f"{split}.pubtator", output / f"{split}.spacy")
    srsly.write_json(
        output / "corpus.json",
        {
            "title": "the sample corpus of welt-spacy (not for use)",
            "source": "assets/sample",
            "licence": "MIT",
            "citation": "written for this project",
        },
    )
    return "sample"


def print_scores(path: Path) -> None:
    scores = srsly.read_json(path)
    rows = [("all", *scores["strict"].values())]
    for label, part in sorted(scores["per_type"].items()):
        rows.append((label, *part["strict"].values()))
    msg.divider("scores on test (strict)")
    msg.table(
        [(name, *(f"{100 * value:.2f}" for value in row)) for name, *row in rows],
        header=("", "P", "R", "F1"),
        divider=True,
        aligns=("l", "r", "r", "r"),
    )


if __name__ == "__main__":
    typer.run(main)
