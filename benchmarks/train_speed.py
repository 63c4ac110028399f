"""Training speed: `welt_ner` against the transformers library's own Trainer.

    pip install accelerate  # which the Trainer needs
    python benchmarks/train_speed.py [--encoder assets/encoders/minilm]

Both train a token classifier on the same sentences, AdamW, in turns, and the words
per second of each turn are printed with their median and the ratio. The Trainer
has its defaults, batches of 16, the dynamic padding of its token classification
collator, and gets its data tokenised beforehand, outside of what is timed.
`welt_ner` has the batches of `configs/welt.cfg`, about 17 sentences, and is timed
with all that it does, batching and tokenisation included. `spacy-transformers` is
the same component on that package.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import spacy
import typer
from common import about, make_batcher, prepare
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import load_config_from_str, load_model_from_config

from welt_spacy.training.config import ConfigSettings, make_config

BATCH = 16


def load(data: Path, n: int) -> list[Doc]:
    vocab = spacy.blank("en").vocab
    docs = list(DocBin().from_disk(data / "train.spacy").get_docs(vocab))
    return docs[:n]


def make_ours(docs: list[Doc], encoder: str, spacy_transformers: bool) -> Callable:
    config = load_config_from_str(
        make_config(
            ConfigSettings(
                encoder=encoder, scheme="vanilla", spacy_transformers=spacy_transformers
            )
        )
    )
    nlp = load_model_from_config(config, auto_fill=True)
    examples = [Example(Doc(nlp.vocab, words=[t.text for t in d]), d) for d in docs]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 5e-5
    batcher = make_batcher(config)

    def run() -> float:
        random.shuffle(examples)
        started = time.perf_counter()
        for batch in batcher(examples):
            nlp.update(batch, sgd=optimizer, drop=0.1)
        return time.perf_counter() - started

    return run


def make_trainer(
    docs: list[Doc], encoder: str, folder: Path, bf16: bool = False
) -> Callable:
    import torch
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tags = {"O": 0, "B": 1, "I": 2}
    rows = []
    for doc in docs:
        encoded = tokenizer(
            [t.text for t in doc], is_split_into_words=True, truncation=True
        )
        labels, last = [], None
        for word in encoded.word_ids():
            first = word is not None and word != last
            labels.append(tags[doc[word].ent_iob_ or "O"] if first else -100)
            last = word
        rows.append({**encoded, "labels": labels})
    model = AutoModelForTokenClassification.from_pretrained(encoder, num_labels=3)
    on_gpu = torch.cuda.is_available()

    def run() -> float:
        arguments = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not on_gpu,
            bf16=bf16,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=DataCollatorForTokenClassification(tokenizer),
        )
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started

    return run


def main(
    encoder: str = "assets/encoders/minilm",
    corpus: str = "bc5cdr_chemical",
    sentences: int = 480,
    turns: int = 5,
    output: Path = Path("training/benchmarks/train_speed"),
) -> None:
    docs = load(prepare(corpus, Path("corpus")), sentences)
    n_words = sum(map(len, docs))
    sides: dict[str, Callable] = {
        "transformers Trainer": make_trainer(docs, encoder, output),
        "welt_ner": make_ours(docs, encoder, False),
    }
    try:
        import spacy_transformers  # noqa: F401

        sides["welt_ner on spacy-transformers"] = make_ours(docs, encoder, True)
    except ImportError:
        pass
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for run in sides.values():
        run()  # warm
    for _ in range(turns):
        for side, run in sides.items():
            rates[side].append(n_words / run())
    base = median(rates["transformers Trainer"])
    print(f"{encoder}, {corpus}: {sentences} sentences, {n_words} words a turn\n")
    print("| training | words/s, median | of each turn | ratio |")
    print("|---|---|---|---|")
    for side, speeds in rates.items():
        turns = ", ".join(f"{rate:,.0f}" for rate in speeds)
        print(
            f"| {side} | {median(speeds):,.0f} | {turns} "
            f"| {median(speeds) / base:.2f} |"
        )
    print(f"\n{about(['spacy', 'torch', 'transformers', 'accelerate'])}")


if __name__ == "__main__":
    typer.run(main)
