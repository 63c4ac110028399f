"""Train one small CPU model for the types of several corpora.

A model of each corpus with a new type labels the texts of the others; the last model learns
from gold annotation and from these labels, and is calibrated, evaluated and packaged. Work
that is up to date is skipped.
"""

import sys
from pathlib import Path

import typer
from distilled import distill
from models import find_vectors, run_steps
from wasabi import msg

from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.combine import RENAMED

CONFIG, CORPUS = "welt_bio", "bio"


def main(
    corpora: str,
    steps: int = 8000,
    seed: int = 0,
    piece_vectors: str = "training/minilm.vectors",
    version: str = "0.1.0",
) -> None:
    # Without class weights, because teachers are to be right on average
    settings = {"piece_vectors": piece_vectors, "scheme": "vanilla", "seed": seed}
    variables = find_vectors({"config": "welt_cpu", "version": version, **settings})
    data = Path("corpus") / CORPUS
    train = data / "train.spacy"
    if not train.is_file():
        sys.exit(f"✘ {data} is missing: 'python -m spacy project run combine'")
    names = corpora_with_new_types(corpora.split())
    teachers = [find_teacher(name, variables) for name in names]
    msg.divider(f"{CORPUS}: distill")
    distill(
        teachers,
        *(f"configs/{CONFIG}.cfg", data, [train], Path("training") / CONFIG / CORPUS),
        options=[
            *("--keep-gold", "--gold-epochs", "0", "--alpha", "0"),
            *("--exclude", f"{data}/test.spacy"),
        ],
        overrides=[
            f"--paths.piece_vectors={variables['piece_vectors']}",
            f"--training.max_steps={steps}",
            f"--system.seed={seed}",
        ],
    )
    remaining = ("calibrate", "evaluate", "package")
    run_steps(CORPUS, {**variables, "config": CONFIG}, steps=remaining)


def corpora_with_new_types(names: list[str]) -> list[str]:
    """Return the corpora with a type that those before them do not have."""
    known: set[str] = set()
    corpora = []
    for name in names:
        types = {RENAMED.get(new, new) for new in get_corpus(name).types.values()}
        if types - known:
            corpora.append(name)
        known |= types
    return corpora


def find_teacher(name: str, variables: dict) -> Path:
    """Return the model of `project run distilled`, or train one."""
    distilled = Path("training/distilled") / name / "model-best"
    if distilled.is_dir():
        print(f"✔ {name}: {distilled} is a teacher", flush=True)
        return distilled
    run_steps(name, variables, steps=("train",))
    return Path("training/welt_cpu") / name / "model-best"


if __name__ == "__main__":
    typer.run(main)
