"""Where the time of a training step and of an inference batch goes.

    python benchmarks/where_time_goes.py [--encoder assets/encoders/minilm]

Profiles `configs/welt.cfg` on BC5CDR-chemical and prints one table: the share of
each part, and what is left for everything that is named nowhere.
"""

import cProfile
import pstats
import random
from pathlib import Path

import typer
from common import about, make_batcher, prepare
from infer_speed import load_texts
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_config_from_str, load_model_from_config
from train_speed import load

from welt_spacy.training.config import ConfigSettings, make_config

# Functions that call none of each other: (file, name) -> part
TRAINING: dict[tuple[str, str], str] = {
    ("word_pieces.py", "__call__"): "words to pieces",
    ("forward.py", "_run"): "encoder, forward",
    ("forward.py", "backprop_vectors"): "encoder, backward",
    ("adamw.py", "step_torch"): "encoder, AdamW",
    ("welt_ner.py", "get_loss"): "alignment, loss and its gradient",
    ("softmax.py", "forward"): "head",
    ("softmax.py", "backprop"): "head",
    ("optimizers.py", "__call__"): "head",
}
INFERENCE: dict[tuple[str, str], str] = {
    ("word_pieces.py", "__call__"): "words to pieces",
    ("forward.py", "_run"): "encoder",
    ("welt_ner.py", "set_annotations"): "decoding, confidences, entities",
    ("softmax.py", "forward"): "head",
    ("language.py", "_ensure_doc"): "tokenizer",
}


def shares(profile: cProfile.Profile, parts: dict[tuple[str, str], str]):
    stats = pstats.Stats(profile)
    total = stats.total_tt  # type: ignore[attr-defined]
    seconds = dict.fromkeys(parts.values(), 0.0)
    for (file, _, name), row in stats.stats.items():  # type: ignore[attr-defined]
        part = parts.get((Path(file).name, name))
        if part:
            seconds[part] += row[3]
    seconds["all else"] = total - sum(seconds.values())
    return total, seconds


def main(
    encoder: str = "assets/encoders/minilm",
    corpus: str = "bc5cdr_chemical",
    sentences: int = 480,
) -> None:
    data = prepare(corpus, Path("corpus"))
    docs = load(data, sentences)
    texts = load_texts(data, 2 * sentences)
    config = load_config_from_str(
        make_config(ConfigSettings(encoder=encoder, scheme="welt"))
    )
    nlp = load_model_from_config(config, auto_fill=True)
    examples = [Example(Doc(nlp.vocab, words=[t.text for t in d]), d) for d in docs]
    optimizer = nlp.initialize(lambda: examples)
    batcher = make_batcher(config)

    def train(examples: list[Example]) -> int:
        batches = list(batcher(examples))
        for batch in batches:
            nlp.update(batch, sgd=optimizer, drop=0.1)
        return len(batches)

    train(examples[:64])  # warm
    random.Random(0).shuffle(examples)
    profile = cProfile.Profile()
    profile.enable()
    steps = train(examples)
    profile.disable()
    total, parts = shares(profile, TRAINING)
    print("| | ms | share |")
    print("|---|---|---|")
    print(f"| **a training step**, mean of {steps} | {1000 * total / steps:.1f} | |")
    for part, seconds in parts.items():
        print(f"| {part} | {1000 * seconds / steps:.2f} | {seconds / total:.1%} |")
    for _ in nlp.pipe(texts[:64]):
        pass
    profile = cProfile.Profile()
    profile.enable()
    for _ in nlp.pipe(texts, batch_size=sentences):
        pass
    profile.disable()
    total, parts = shares(profile, INFERENCE)
    print(f"| **{sentences} sentences predicted** | {500 * total:.0f} | |")
    for part, seconds in parts.items():
        print(f"| {part} | {500 * seconds:.1f} | {seconds / total:.1%} |")
    print(f"\n{about(['spacy', 'torch', 'transformers'])}")


if __name__ == "__main__":
    typer.run(main)
