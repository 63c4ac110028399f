"""One small CPU model for the types of several corpora: a model for each type that a corpus
brings, which annotate what the other corpora lack, and one that learns from gold and from
them; then calibrated, evaluated and packaged. What is done is not done again.
"""

import sys
from pathlib import Path
from typing import List, Set

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
    # Teachers are to be right on average: no class weighs more
    settings = {"piece_vectors": piece_vectors, "scheme": "vanilla", "seed": seed}
    variables = find_vectors({"config": "welt_cpu", "version": version, **settings})
    data = Path("corpus") / CORPUS
    train = data / "train.spacy"
    if not train.is_file():
        sys.exit(f"✘ {data} is missing: 'python -m spacy project run combine'")
    teachers = [find_teacher(name, variables) for name in bringers(corpora.split())]
    msg.divider(f"{CORPUS}: distill")
    distill(
        teachers,
        *(f"configs/{CONFIG}.cfg", data, [train], Path("training") / CONFIG / CORPUS),
        options=[
            *("--complete", "--gold-repeats", "0", "--alpha", "0"),
            *("--exclude", f"{data}/test.spacy"),
        ],
        overrides=[
            f"--paths.piece_vectors={variables['piece_vectors']}",
            f"--training.max_steps={steps}",
            f"--system.seed={seed}",
        ],
    )
    steps_left = ("calibrate", "evaluate", "package")
    run_steps(CORPUS, {**variables, "config": CONFIG}, steps=steps_left)


def bringers(names: List[str]) -> List[str]:
    """RETURNS (List[str]): The corpora that have a type which those before do not."""
    known: Set[str] = set()
    found = []
    for name in names:
        types = {RENAMED.get(new, new) for new in get_corpus(name).types.values()}
        if types - known:
            found.append(name)
        known |= types
    return found


def find_teacher(name: str, variables: dict) -> Path:
    """Take the model that `project run distilled` has made, or train one."""
    distilled = Path("training/distilled") / name / "model-best"
    if distilled.is_dir():
        print(f"✔ {name}: {distilled} teaches", flush=True)
        return distilled
    run_steps(name, variables, steps=("train",))
    return Path("training/welt_cpu") / name / "model-best"


if __name__ == "__main__":
    typer.run(main)
