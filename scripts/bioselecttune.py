"""BioSelectTune for one corpus: select with a weak model, tune a strong one, choose its
threshold on dev, score it on test, package it.

With --demo both are tiny models that this script makes without a network.
"""

import sys
import time
from pathlib import Path

import typer
from models import run, run_steps
from wasabi import msg

CONFIG = "bioselecttune"
TINY = Path("training/tiny_lm")


def main(
    corpus: str,
    llm: str = "Qwen/Qwen3-8B",
    scorer_model: str = "Qwen/Qwen3-0.6B",
    keep: float = 0.5,
    seed: int = 0,
    gpu_id: int = -1,
    version: str = "0.1.0",
    demo: bool = False,
    minutes: float = typer.Option(
        2.0, help="Minutes of training for each of the two models of --demo."
    ),
    steps: int = typer.Option(500, help="Updates of the tuned model of --demo."),
) -> None:
    started = time.perf_counter()
    data = Path("corpus") / corpus
    config = f"{CONFIG}_demo" if demo else CONFIG
    output = Path("training") / config / corpus
    if not (data / "train.spacy").is_file():
        sys.exit(f"✘ {data} is missing: 'python -m spacy project run convert'")
    tuning: list[str] = []
    if demo:
        scorer_model, llm = make_tiny_models(minutes, seed)
        tuning = tiny_tuning(steps)
    selected = output / "selected.spacy"
    msg.divider(f"{corpus}: select")
    run(
        *("python", "-m", "spacy", "welt", "select"),
        *(str(data / "train.spacy"), str(selected)),
        *("--scorer-model", scorer_model, "--keep", str(keep), "--seed", str(seed)),
        *("--gpu-id", str(gpu_id)),
    )
    msg.divider(f"{corpus}: finetune")
    settings = [
        *(f"model={llm}", f"train={selected}", f"dev={data / 'dev.spacy'}"),
        *(f"output={output}", f"seed={seed}", *tuning),
    ]
    run(
        *("python", "-m", "spacy", "welt", "finetune", "configs/finetune.yml"),
        *(part for setting in settings for part in ("--set", setting)),
        *("--gpu-id", str(gpu_id)),
    )
    variables = {"config": config, "gpu_id": gpu_id, "version": version}
    # The name must differ from that of the tagger of the corpus
    variables["suffix"] = "_demo" if demo else "_llm"
    run_steps(
        corpus, {**variables, "documents": ""}, ("threshold", "evaluate", "package")
    )
    if demo:
        msg.warn("A tiny model: its F1 shows how things work, NOT how well.")
    msg.good(f"Done in {(time.perf_counter() - started) / 60:.1f} minutes")


def make_tiny_models(minutes: float, seed: int) -> tuple[str, str]:
    """Make a weak and a strong language model of the converted corpora."""
    msg.divider("TINY MODELS")
    msg.warn(
        "The demo tunes a model of a few million parameters that was trained on the "
        "training texts alone: its F1 shows how things work, NOT how well."
    )
    texts = sorted(map(str, Path("corpus").glob("*/train.spacy")))
    for name, width, layers in (("weak", 128, 2), ("strong", 256, 4)):
        run(
            *("python", "scripts/tiny_lm.py", str(TINY / name), *texts),
            *("--width", str(width), "--layers", str(layers)),
            *("--minutes", str(minutes), "--seed", str(seed)),
        )
    return str(TINY / "weak"), str(TINY / "strong")


def tiny_tuning(steps: int) -> list[str]:
    """Return the settings of `finetune` for a tiny model, of which all weights are tuned."""
    return [
        *("lora=null", f"steps={steps}", "learning_rate=0.001", "batch_size=16"),
        *("accumulate=1", "gradient_checkpointing=false", "eval_docs=100"),
        *("max_length=512", "max_response_tokens=160", f"eval_every={steps // 2}"),
    ]


if __name__ == "__main__":
    typer.run(main)
