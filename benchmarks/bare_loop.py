"""Fine-tune an encoder with a bare PyTorch loop, as a Hugging Face script would:
random batches of 16, the first piece of a word, AdamW, gradients clipped by their
norm, linear warm-up and decay. Scores are seqeval's. `accuracy.py` runs it.

    python benchmarks/bare_loop.py DATA OUTPUT --encoder assets/encoders/minilm
"""

import json
import random
from pathlib import Path

import spacy
import torch
import typer
from seqeval.metrics import f1_score, precision_score, recall_score
from spacy.tokens import Doc, DocBin
from spacy.util import fix_random_seed
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    get_linear_schedule_with_warmup,
)


def load(path: Path) -> list[Doc]:
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def tags_of(doc: Doc) -> list[str]:
    return [t.ent_iob_ + (f"-{t.ent_type_}" if t.ent_type_ else "") for t in doc]


def encode(docs: list[Doc], tokenizer, tags: dict[str, int]) -> list[dict]:
    rows = []
    for doc in docs:
        row = tokenizer(
            [t.text for t in doc], is_split_into_words=True, truncation=True
        )
        words, gold = row.word_ids(), tags_of(doc)
        row["labels"] = [
            -100 if w is None or (i and words[i - 1] == w) else tags[gold[w]]
            for i, w in enumerate(words)
        ]
        rows.append(dict(row))
    return rows


def evaluate(model, docs: list[Doc], rows: list[dict], collate, names) -> dict:
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    guesses: list[list[str]] = [[] for _ in rows]
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            batch = collate([rows[i] for i in chosen])
            best = model(**batch).logits.argmax(-1)
            for i, row, labels in zip(chosen, best, batch["labels"]):
                guesses[i] = [names[k] for k in row[labels != -100].tolist()]
    golds = [tags_of(doc)[: len(guess)] for doc, guess in zip(docs, guesses)]
    return {
        name: 100 * float(score(golds, guesses))
        for name, score in zip("prf", (precision_score, recall_score, f1_score))
    }


def main(
    data: Path,
    output: Path,
    encoder: str = "assets/encoders/minilm",
    seed: int = 0,
    epochs: int = 3,
    learn_rate: float = 1e-4,
    warmup_steps: int = 100,
) -> None:
    fix_random_seed(seed)
    docs = {split: load(data / f"{split}.spacy") for split in ("train", "dev", "test")}
    names = sorted({tag for doc in docs["train"] for tag in tags_of(doc)})
    tags = {name: i for i, name in enumerate(names)}
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModelForTokenClassification.from_pretrained(
        encoder, num_labels=len(names)
    )
    rows = {
        split: encode(sentences, tokenizer, tags) for split, sentences in docs.items()
    }
    collate = DataCollatorForTokenClassification(tokenizer)
    no_decay = [p for p in model.parameters() if p.ndim < 2]
    decay = [p for p in model.parameters() if p.ndim >= 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": 0.01},
            {"params": no_decay, "weight_decay": 0.0},
        ],
        lr=learn_rate,
    )
    per_epoch = -(-len(rows["train"]) // 16)
    schedule = get_linear_schedule_with_warmup(
        optimizer, warmup_steps, per_epoch * epochs
    )
    best: dict = {}
    curve = []
    for _ in range(epochs):
        random.shuffle(rows["train"])
        model.train()
        for start in range(0, len(rows["train"]), 16):
            model(**collate(rows["train"][start : start + 16])).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        dev = evaluate(model, docs["dev"], rows["dev"], collate, names)
        curve.append(dev["f"])
        print(dev, flush=True)
        if not best or dev["f"] > best["dev"]["f"]:
            test = evaluate(model, docs["test"], rows["test"], collate, names)
            best = {"dev": dev, "test": test}
    (output / "scores.json").write_text(json.dumps({**best, "curve": curve}))


if __name__ == "__main__":
    typer.run(main)
