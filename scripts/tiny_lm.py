"""Make a tiny causal language model without a network: its tokenizer and its weights are
learned from the texts of converted corpora.

Use it to try commands that need a language model. Its scores say nothing about the method.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import spacy
import torch
import typer
from spacy.tokens import DocBin
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    set_seed,
)

from welt_spacy.llm.prompts import JsonPrompt
from welt_spacy.llm.responses import make_response

END = "<|endoftext|>"
WINDOW = 512


def main(
    output: Path,
    texts: list[Path] = typer.Argument(..., help="Training files (.spacy)."),
    vocab: int = 8000,
    width: int = 256,
    layers: int = 4,
    minutes: float = typer.Option(5.0, help="Minutes of training."),
    batch_size: int = 8,
    seed: int = 0,
) -> None:
    if (output / "model.safetensors").is_file():
        print(f"✔ {output} is up to date")
        return
    set_seed(seed)
    lines = list(read(texts))
    tokenizer = make_tokenizer(lines, vocab)
    ids = torch.tensor(
        [
            token
            for line in tokenizer(lines, add_special_tokens=False)["input_ids"]
            for token in (*line, tokenizer.eos_token_id)
        ]
    )
    window = min(WINDOW, len(ids))
    blocks = ids[: len(ids) // window * window].view(-1, window)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 128),
        head_dim=64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = AutoModelForCausalLM.from_config(config)
    n = sum(weight.numel() for weight in model.parameters())
    print(f"{n / 1e6:.1f} million parameters, {len(ids):,} tokens, {minutes:g} minutes")
    train(model, blocks, 60 * minutes, batch_size)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    print(f"✔ {output}")


def read(paths: list[Path]) -> Iterator[str]:
    """Yield the texts without annotation; the form of responses is learned later."""
    vocab = spacy.blank("en").vocab
    for path in paths:
        for doc in DocBin().from_disk(path).get_docs(vocab):
            yield doc.text.strip()


def make_tokenizer(lines: list[str], size: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    doc = spacy.blank("en").make_doc("")
    # The words of the prompt are whole pieces, too
    frame = [JsonPrompt()("", ["Chemical", "Disease", "Gene"]), make_response(doc)]
    frame += ['[{"entity": "Disease", "name": "', '"}, {"entity": "Chemical"', '"}]']
    tokenizer.train_from_iterator(
        [*lines, *frame * 200],
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=1024
    )


def train(
    model: torch.nn.Module, blocks: torch.Tensor, seconds: float, batch_size: int
) -> None:
    """Train until the time is over. The learning rate falls with the time, too."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    started, step, shown = time.perf_counter(), 0, 0.0
    order = torch.randperm(len(blocks))
    model.train()
    while (passed := time.perf_counter() - started) < seconds:
        place = step * batch_size % max(len(blocks) - batch_size, 1)
        batch = blocks[order[place : place + batch_size]]
        for group in optimizer.param_groups:
            group["lr"] = (
                1e-3 * min(1.0, (step + 1) / 50) * (1 - 0.9 * passed / seconds)
            )
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if passed - shown > 30:
            shown = passed
            print(f"{passed:5.0f} s, step {step}, loss {loss.item():.3f}", flush=True)
    model.eval()


if __name__ == "__main__":
    typer.run(main)
