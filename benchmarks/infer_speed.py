"""Inference speed, raw text in, entities out, on BC5CDR's test abstracts.

    python benchmarks/infer_speed.py [--encoder assets/encoders/minilm]

In turns, full precision: the transformers library's own pipeline at its best
batch size, spacy-transformers with spaCy's `ner`, `welt_ner` on
spacy-transformers and on `welt_spacy.TransformerEncoder.v1`, and the limit: the
bare encoder over batches of sentences of like length that somebody else has
tokenised and sorted. Then what `spacy welt optimize` makes of `welt_ner`. The
weights of the heads are random, which changes nothing in how long they take.

With `--encoder cpu`: `welt_ner` against spaCy's `ner` on the same tok2vec, without a
transformer, both trained on the first sentences of the training data, since the
time of `ner` depends on what it finds.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import spacy
import typer
from common import about, prepare, start_pipeline
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import (
    fix_random_seed,
    load_config,
    load_config_from_str,
    load_model_from_config,
    minibatch,
)
from thinc.api import Config
from vs_spacy_ner import NER, make_configs

from welt_spacy.packaging.optimize import optimize_pipeline
from welt_spacy.training.config import ConfigSettings, make_config


def load_texts(data: Path, n: int) -> list[str]:
    vocab = spacy.blank("en").vocab
    docs = DocBin().from_disk(data / "test.spacy").get_docs(vocab)
    texts = [" ".join(token.text for token in doc) for doc in docs]
    return texts[:n]


def make_pipeline(
    encoder: str, spacy_transformers: bool, ner: bool, to: str | None = None
) -> Callable:
    text = make_config(
        ConfigSettings(
            encoder=encoder, scheme="vanilla", spacy_transformers=spacy_transformers
        )
    )
    config = load_config_from_str(text)
    if ner:
        parser = Config().from_str(NER)["ner"]
        parser["model"]["tok2vec"] = config["components"].pop("welt_ner")["model"][
            "tok2vec"
        ]
        config["components"]["ner"] = parser
        config["nlp"]["pipeline"] = ["transformer", "ner"]
    nlp, _ = start_pipeline(config)
    if to:
        optimize_pipeline(nlp, to)
    return make_run(nlp)


def make_run(nlp: Language) -> Callable:
    def run(texts: list[str]) -> None:
        for _ in nlp.pipe(texts):
            pass

    return run


def make_cpu_sides(data: Path) -> dict[str, Callable]:
    vocab = spacy.blank("en").vocab
    docs = list(DocBin().from_disk(data / "train.spacy").get_docs(vocab))[:2000]
    sides = {}
    configs = make_configs(Path("training/benchmarks/infer_speed"))
    for name, config in (
        ("spaCy ner", "ner"),
        ("welt_ner", "welt_ner, vanilla"),
    ):
        fix_random_seed(0)
        nlp = load_model_from_config(load_config(configs[config]), auto_fill=True)
        examples = [Example(Doc(nlp.vocab, words=[t.text for t in d]), d) for d in docs]
        optimizer = nlp.initialize(lambda sample=examples: sample)
        for batch in minibatch(examples * 2, 24):
            nlp.update(batch, sgd=optimizer, drop=0.1)
        sides[name] = make_run(nlp)
    return sides


def make_hf_pipeline(encoder: str, batch_size: int) -> Callable:
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        pipeline,
    )

    model = AutoModelForTokenClassification.from_pretrained(encoder, num_labels=3)
    model.config.id2label = {0: "O", 1: "B-Chemical", 2: "I-Chemical"}
    tagger = pipeline(
        "token-classification",
        model=model.eval(),
        tokenizer=AutoTokenizer.from_pretrained(encoder),
        aggregation_strategy="first",
    )

    def run(texts: list[str]) -> None:
        for _ in tagger(texts, batch_size=batch_size):
            pass

    return run


def make_limit(encoder: str, texts: list[str]) -> Callable:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder).eval()
    encoded = sorted(tokenizer(texts, truncation=True)["input_ids"], key=len)
    batches = []
    for i in range(0, len(encoded), 32):
        batch = tokenizer.pad({"input_ids": encoded[i : i + 32]}, return_tensors="pt")
        batches.append(batch)

    def run(texts: list[str]) -> None:
        with torch.inference_mode():
            for batch in batches:
                model(**batch)

    return run


def make_sides(encoder: str, texts: list[str]) -> dict[str, Callable]:
    sides: dict[str, Callable] = {
        f"transformers pipeline, batches of {n}": make_hf_pipeline(encoder, n)
        for n in (1, 8, 32)
    }
    try:
        import spacy_transformers  # noqa: F401

        sides["spacy-transformers, ner"] = make_pipeline(encoder, True, True)
        sides["spacy-transformers, welt_ner"] = make_pipeline(encoder, True, False)
    except ImportError:
        pass
    sides["welt_ner"] = make_pipeline(encoder, False, False)
    sides["limit: the bare encoder"] = make_limit(encoder, texts)
    for to in ("bf16", "onnx", "int8"):
        sides[f"welt_ner, {to}"] = make_pipeline(encoder, False, False, to)
    return sides


def main(
    encoder: str = "assets/encoders/minilm",
    corpus: str = "bc5cdr_chemical",
    sentences: int = 960,
    turns: int = 5,
) -> None:
    texts = load_texts(prepare(corpus, Path("corpus")), sentences)
    n_words = sum(len(text.split()) for text in texts)
    if encoder == "cpu":
        sides = make_cpu_sides(Path("corpus") / corpus)
    else:
        sides = make_sides(encoder, texts)
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for run in sides.values():
        run(texts[:64])  # warm
    for _ in range(turns):
        for side, run in sides.items():
            started = time.perf_counter()
            run(texts)
            rates[side].append(n_words / (time.perf_counter() - started))
    ours = median(rates["welt_ner"])
    print(f"{encoder}, {corpus}: {len(texts)} sentences, {n_words} words a turn\n")
    print("| inference | words/s, median | lowest to highest | `welt_ner` over it |")
    print("|---|---|---|---|")
    for side, speeds in rates.items():
        print(
            f"| {side} | {median(speeds):,.0f} | {min(speeds):,.0f} to {max(speeds):,.0f} "
            f"| {ours / median(speeds):.2f} |"
        )
    print(f"\n{about(['spacy', 'torch', 'transformers'])}")


if __name__ == "__main__":
    typer.run(main)
