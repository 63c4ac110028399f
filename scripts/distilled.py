"""Distill MiniLM into a small CPU model: train teachers, label the other corpora, train the
student, then calibrate, evaluate and package it. Work that is up to date is skipped.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import piece_vectors
import typer
from models import find_config, run, run_steps
from wasabi import msg

from welt_spacy.corpora.catalog import CATALOG, get_corpus
from welt_spacy.util.fingerprint import fingerprint
from welt_spacy.util.output_folder import OutputFolder

CONFIG = "distilled"  # the folder in training/
EPOCHS, TEACHER_STEPS = 6, 1800


def main(
    corpus: str,
    encoder: str = str(piece_vectors.ENCODER),
    seeds: str = "0,1,2",
    steps: int = 6000,
    piece_vectors_path: str = "training/minilm.vectors",
    scheme: str = "vanilla",
    gpu_id: int = -1,
    version: str = "0.1.0",
) -> None:
    data = Path("corpus") / corpus
    if not (data / "train.spacy").is_file():
        sys.exit(
            f"✘ {data} is missing. Convert the corpus: 'python -m spacy project run corpora'"
        )
    if encoder == str(piece_vectors.ENCODER):
        run("python", "scripts/fetch_encoder.py")
    use_vectors = piece_vectors_path != piece_vectors.NONE
    if use_vectors and not piece_vectors.make(Path(piece_vectors_path)):
        piece_vectors_path = piece_vectors.NONE
    weighting = f"--components.welt_ner.weighting.@misc=welt_spacy.{scheme}_weights.v1"
    teachers = []
    for seed in seeds.split(","):
        teachers.append(train_teacher(data, encoder, seed, weighting, gpu_id))
    texts, excluded = other_corpora(corpus)
    if not texts:
        sys.exit(
            "✘ No other corpus is converted: 'python -m spacy project run corpora'"
        )
    msg.divider(f"{corpus}: distill")
    distill(
        teachers,
        *("configs/welt_cpu.cfg", data, texts, Path("training") / CONFIG / corpus),
        options=[
            *(part for path in excluded for part in ("--exclude", str(path))),
            *("--gpu-id", str(gpu_id)),
        ],
        overrides=[
            f"--paths.piece_vectors={piece_vectors_path}",
            f"--training.max_steps={steps}",
            weighting,
        ],
    )
    variables = {"config": CONFIG, "gpu_id": gpu_id, "version": version}
    run_steps(corpus, variables, steps=("calibrate", "evaluate", "package"))


def distill(
    teachers: Sequence[Path],
    config: str,
    data: Path,
    texts: Sequence[Path],
    output: Path,
    *,
    options: Sequence[str],
    overrides: Sequence[str],
) -> None:
    """Run `spacy welt distill`, with the gold data of a corpus."""
    run(
        *("python", "-m", "spacy", "welt", "distill", str(teachers[0]), config),
        *map(str, texts),
        *("--output", str(output)),
        *(part for path in teachers[1:] for part in ("--teacher", str(path))),
        *options,
        f"--paths.train={data}/train.spacy",
        f"--paths.dev={data}/dev.spacy",
        *overrides,
    )


def train_teacher(
    data: Path, encoder: str, seed: str, weighting: str, gpu_id: int
) -> Path:
    """Train a teacher, unless it is up to date."""
    folder = Path("training/teachers") / data.name / seed
    command = [
        *("python", "-m", "spacy", "train", "configs/welt.cfg"),
        *("--output", str(folder), "--gpu-id", str(gpu_id)),
        *("--paths.train", f"{data}/train.spacy", "--paths.dev", f"{data}/dev.spacy"),
        *("--paths.encoder", encoder, "--system.seed", seed),
        *("--training.max_epochs", str(EPOCHS), "--training.eval_frequency", "300"),
        *("--training.optimizer.learn_rate.initial_rate", "1e-4"),
        *("--training.optimizer.learn_rate.warmup_steps", "100"),
        *("--training.optimizer.learn_rate.total_steps", str(TEACHER_STEPS)),
        *("--components.welt_ner.model.tok2vec.pooling", "mean"),
        *weighting.split("="),
    ]
    current = fingerprint(
        {"overrides": os.environ.get("SPACY_CONFIG_OVERRIDES", "")},
        config=find_config([command]),
    )
    with OutputFolder(folder, "teacher") as output:
        if output.is_current(current):
            print(f"✔ {data.name}: teacher {seed} is up to date", flush=True)
        else:
            msg.divider(f"{data.name}: teacher {seed}")
            output.start(current, ["model-best", "model-last"], force=True)
            run(*command)
            output.finish()
    return folder / "model-last"


def other_corpora(corpus: str) -> tuple[list[Path], list[Path]]:
    """Return the training texts of the other corpora, and the files to exclude."""
    texts: list[Path] = []
    excluded = [Path("corpus") / corpus / "test.spacy"]
    family = corpus.split("_")[0]
    seen = set()
    for name in CATALOG:
        train = Path("corpus") / name / "train.spacy"
        # A corpus can be converted with several types, or as sentences and documents
        source = get_corpus(name).source.replace("_docs", "")
        if name.split("_")[0] == family or source in seen or not train.is_file():
            continue
        seen.add(source)
        texts.append(train)
        if name.startswith("biored"):  # cross-corpus scores are of it
            excluded.append(train.with_name("test.spacy"))
    return texts, excluded


if __name__ == "__main__":
    typer.run(main)
