"""Test the package on a GPU and measure its speed there, in under nine minutes.

    make gpu-check            # or: python benchmarks/gpu.py --output gpu.json

It needs the package, torch and CuPy for CUDA, transformers and pytest, and no network.

1. The tests marked `gpu`, and those of losses and encoders.
2. Training and inference with an encoder of BERT-base's shape and random weights, against
   the Trainer and the pipeline of transformers (the Trainer needs accelerate): words/s,
   peak memory, and the share of the card's own rate of matrix products in bfloat16, which
   is measured first.
3. If there is MiniLM in assets/encoders/minilm and BC5CDR can be reached: two epochs.

One table on the terminal, and all figures as JSON.
"""

import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import typer
from common import ROOT

TESTS = ["tests/gpu", "tests/ml"]
TURNS = 3
# [batch, width], as a BERT-base: 12 layers, 768 wide
SHAPE = {
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"intermediate_size": 3072, "max_position_embeddings": 512},
}
WORDS = ["aspirin", "mice", "we", "gave", "to", *"abcdefghijklmnopqrstuvwxyz"]


def matmul_rate(size: int = 8192, seconds: float = 3.0) -> float:
    """Measure the FLOP/s of square matrix products in bfloat16, the limit of the card."""
    import torch

    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in "ab")
    for _ in range(5):
        a @ b
    torch.cuda.synchronize()
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        n += 10
    return 2.0 * size**3 * n / (time.perf_counter() - started)


def make_encoder(folder: Path) -> Path:
    """Save an encoder of BERT-base's shape with random weights and a tokenizer of letters."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,-()'/%"
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    vocab += [f"##{letter}" for letter in letters] + WORDS[:5]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=512)
    tokenizer.save_pretrained(folder)
    BertModel(BertConfig(vocab_size=30522, **SHAPE)).save_pretrained(folder)
    return folder


def make_sentences(n: int) -> list[list[str]]:
    """Return sentences of 3 to 60 words of 1 to 3 pieces, as in abstracts."""
    rng = random.Random(0)

    def word() -> str:
        return (
            rng.choice(WORDS)
            if rng.random() < 0.7
            else "".join(rng.choices(WORDS[5:], k=3))
        )

    lengths = [min(60, max(3, int(rng.gauss(26, 12)))) for _ in range(n)]
    return [[word() for _ in range(length)] for length in lengths]


def flops_of_training(n_pieces: int) -> float:
    """Estimate 6 FLOPs for each parameter of the layers and each piece, without attention."""
    parameters = 12 * (4 * 768**2 + 2 * 768 * 3072)
    return 6.0 * parameters * n_pieces


def make_pipeline(encoder: Path, sentences: list[list[str]]) -> Any:
    from spacy.tokens import Doc
    from spacy.training import Example
    from spacy.util import load_config_from_str, load_model_from_config

    from welt_spacy.training.config import ConfigSettings, make_config

    text = make_config(
        ConfigSettings(encoder=str(encoder), scheme="vanilla", paper=False)
    )
    config = load_config_from_str(text)
    config["training"]["batcher"]["size"] = 8000
    nlp = load_model_from_config(config, auto_fill=True)
    examples = []
    for words in sentences:
        tags = ["B-Chemical" if word == "aspirin" else "O" for word in words]
        gold = Doc(nlp.vocab, words=words, ents=tags)
        examples.append(Example(Doc(nlp.vocab, words=words), gold))
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 5e-5
    return config, nlp, optimizer, examples


def our_training(encoder: Path, sentences: list[list[str]]) -> Callable[[], float]:
    from common import make_batcher

    config, nlp, optimizer, examples = make_pipeline(encoder, sentences)
    batcher = make_batcher(config)

    def run() -> float:
        import torch

        started = time.perf_counter()
        for batch in batcher(examples):
            nlp.update(batch, sgd=optimizer, drop=0.1)
        torch.cuda.synchronize()
        return time.perf_counter() - started

    return run


def their_training(encoder: Path, sentences: list[list[str]]) -> Callable[[], float]:
    """Prepare the Trainer in bfloat16, with the mean batch size of `our_training`."""
    import spacy
    import train_speed
    from spacy.tokens import Doc
    from train_speed import make_trainer

    train_speed.BATCH = 128
    vocab = spacy.blank("en").vocab
    docs = [
        Doc(vocab, words=w, ents=["B-x" if word == "aspirin" else "O" for word in w])
        for w in sentences
    ]
    return make_trainer(docs, str(encoder), Path(tempfile.mkdtemp()), bf16=True)


def our_inference(encoder: Path, sentences: list[list[str]]) -> Callable[[], float]:
    _, nlp, _, _ = make_pipeline(encoder, sentences[:64])
    texts = [" ".join(words) for words in sentences]

    def run() -> float:
        started = time.perf_counter()
        for _ in nlp.pipe(texts):
            pass
        return time.perf_counter() - started

    return run


def their_inference(encoder: Path, sentences: list[list[str]]) -> Callable[[], float]:
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

    model = AutoModelForTokenClassification.from_pretrained(encoder, num_labels=3)
    tagger = pipeline(
        "token-classification",
        model=model.to("cuda", dtype=torch.bfloat16),
        tokenizer=AutoTokenizer.from_pretrained(encoder),
        device=0,
        batch_size=128,
    )
    texts = [" ".join(words) for words in sentences]

    def run() -> float:
        started = time.perf_counter()
        for _ in tagger(text for text in texts):
            pass
        return time.perf_counter() - started

    return run


def measure(
    sides: dict[str, Callable[[], Callable[[], float]]], n_words: int
) -> dict[str, Any]:
    """Measure all sides in turns. A side that fails is reported, and the others continue."""
    import torch

    runs: dict[str, Callable[[], float]] = {}
    results: dict[str, Any] = {}
    for side, make in sides.items():
        try:
            runs[side] = make()
            torch.cuda.reset_peak_memory_stats()
            runs[side]()  # warm
            peak = torch.cuda.max_memory_allocated() / 2**20
            results[side] = {"peak MB": round(peak), "rates": []}
        except Exception as err:
            runs.pop(side, None)
            results[side] = {"failed": f"{type(err).__name__}: {err}"[:300]}
    for _ in range(TURNS):
        for side, run in runs.items():
            results[side]["rates"].append(n_words / run())
    for part in results.values():
        if part.get("rates"):
            part["words/s"] = median(part["rates"])
    runs.clear()
    gc.collect()
    torch.cuda.empty_cache()
    return results


def run_tests(seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-m", ""]
    command += ["--maxfail=50", "-p", "no:cacheprovider", *TESTS]
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=seconds
        )
        lines = done.stdout.strip().splitlines()
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        summary = lines[-1] if lines else done.stderr[-500:]
    except subprocess.TimeoutExpired:
        failed, summary = [], f"not done after {seconds:.0f} s"
    took = round(time.perf_counter() - started, 1)
    return {"summary": summary, "failed": failed, "seconds": took}


def train_minilm(encoder: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """Train two epochs of BC5CDR on the GPU with the public commands."""
    data = folder / "corpus" / "bc5cdr"
    spacy_command = [sys.executable, "-m", "spacy"]
    limit = time.perf_counter() + seconds

    def call(*words: str) -> str:
        left = max(1.0, limit - time.perf_counter())
        return subprocess.run(
            [*spacy_command, *words],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=left,
        ).stdout

    call("welt", "corpora", "convert", "bc5cdr", "--output", str(data.parent))
    started = time.perf_counter()
    call(
        *("train", "configs/welt.cfg", "--output", str(folder / "minilm")),
        *(f"--paths.{split}={data / split}.spacy" for split in ("train", "dev")),
        *(f"--paths.encoder={encoder}", "--gpu-id", "0", "--training.max_epochs=2"),
        *("--training.optimizer.learn_rate.initial_rate=0.0001",),
    )
    took = time.perf_counter() - started
    scores = folder / "scores.json"
    best = str(folder / "minilm" / "model-best")
    call(
        *("welt", "evaluate", best, str(data / "test.spacy"), "--gpu-id", "0"),
        *("--json", str(scores)),
    )
    metrics = json.loads(scores.read_text())
    return {
        "seconds of training": round(took, 1),
        **{f"test {key}": round(100 * metrics["strict"][key], 2) for key in "prf"},
        "words/s": round(metrics["speed"]),
    }


def main(
    sentences: int = 4000,
    minutes: float = 9.0,
    encoder: Path = ROOT / "assets/encoders/minilm",
    output: Path = Path("gpu.json"),
    only: str | None = typer.Option(None, help="tests, speed or minilm"),
) -> None:
    import torch

    if not torch.cuda.is_available():
        sys.exit("✘ There is no GPU that torch can use (torch.cuda.is_available())")
    import spacy
    from thinc.api import set_gpu_allocator

    started = time.perf_counter()

    def left() -> float:
        return 60 * minutes - (time.perf_counter() - started)

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    results: dict[str, Any] = {
        "card": torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "spacy": spacy.__version__,
    }

    def save() -> None:
        output.write_text(json.dumps(results, indent=2) + "\n")

    if only in (None, "tests"):
        results["tests"] = run_tests(min(180.0, left()))
        print(f"tests: {results['tests']['summary']}", flush=True)
        for line in results["tests"]["failed"]:
            print(f"  {line}", flush=True)
        save()
    if only in (None, "speed"):
        set_gpu_allocator("pytorch")
        spacy.require_gpu()
        results["bfloat16 TFLOP/s of the card"] = round(matmul_rate() / 1e12, 1)
        with tempfile.TemporaryDirectory() as folder:
            random_bert = make_encoder(Path(folder) / "bert")
            texts = make_sentences(sentences)
            n_words = sum(map(len, texts))
            results["training"] = measure(
                {
                    "transformers Trainer, bf16": lambda: their_training(
                        random_bert, texts
                    ),
                    "welt_ner": lambda: our_training(random_bert, texts),
                },
                n_words,
            )
            save()
            results["inference"] = measure(
                {
                    "transformers pipeline, bf16": lambda: their_inference(
                        random_bert, texts
                    ),
                    "welt_ner": lambda: our_inference(random_bert, texts),
                },
                n_words,
            )
        n_pieces = sum(
            2 + sum(1 if w in WORDS else 3 for w in words) for words in texts
        )
        for side in results["training"].values():
            if "words/s" in side:
                rate = flops_of_training(n_pieces) * side["words/s"] / n_words
                peak = results["bfloat16 TFLOP/s of the card"] * 1e12
                side["share of bfloat16"] = round(rate / peak, 3)
        save()
    if only in (None, "minilm") and encoder.is_dir() and left() > 60:
        try:
            with tempfile.TemporaryDirectory() as folder:
                results["MiniLM, BC5CDR, 2 epochs"] = train_minilm(
                    encoder, Path(folder), left()
                )
        except Exception as err:
            reason = getattr(err, "stderr", "") or str(err)
            results["MiniLM, BC5CDR, 2 epochs"] = {"failed": str(reason)[-500:]}
        save()
    _print(results)
    print(f"\n✔ {output}, {time.perf_counter() - started:.0f} s")
    if results.get("tests", {}).get("failed"):
        sys.exit(1)


def _print(results: dict[str, Any]) -> None:
    print(
        f"\n{results['card']}: {results.get('bfloat16 TFLOP/s of the card', '?')} TFLOP/s\n"
    )
    print("| | words/s | peak MB | share of bfloat16 |")
    print("|---|---|---|---|")
    for part in ("training", "inference"):
        for side, figures in results.get(part, {}).items():
            if "failed" in figures:
                print(f"| {part}, {side} | {figures['failed']} | | |")
                continue
            share = figures.get("share of bfloat16", "")
            print(
                f"| {part}, {side} | {figures['words/s']:,.0f} | {figures['peak MB']:,} "
                f"| {share} |"
            )
    if "MiniLM, BC5CDR, 2 epochs" in results:
        print(f"\nMiniLM, BC5CDR, 2 epochs: {results['MiniLM, BC5CDR, 2 epochs']}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    typer.run(main)
