"""Constrained decoding over real sentences with language models of random weights: how many
answers are valid, how many names are not in the text, and what the grammar costs a token.
The same models without it, beside.

    WELT_CORPORA_MIRROR=... python benchmarks/generation.py
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import spacy
import torch
import transformers
import typer
from common import about, prepare
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from welt_spacy.scoring.llm_responses import count_issues
from welt_spacy.scoring.pairs import pair_examples
from welt_spacy.tokens.llm_responses import get_llm_responses

FAMILIES = ("qwen3", "llama", "gpt2")
LABELS = ["Chemical", "Disease"]


def main(
    n: int = typer.Option(2000, help="Answers of all models together."),
    max_response_tokens: int = 120,
    vocab: int = 8000,
) -> None:
    print(about(["torch", "transformers", "llguidance"]))
    path = prepare("bc5cdr", Path("corpus")) / "test.spacy"
    docs = DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)
    texts = [doc.text.strip() for doc in docs]
    n_each = -(-n // len(FAMILIES))
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(texts, vocab)
        for seed, family in enumerate(FAMILIES):
            path = Path(folder) / family
            make_model(family, len(tokenizer), seed).save_pretrained(path)
            tokenizer.save_pretrained(path)
        outputs: dict[bool, list[Doc]] = {True: [], False: []}
        spent: dict[bool, list[tuple[float, int]]] = {True: [], False: []}
        for family in FAMILIES:
            pipes = {
                way: make_nlp(Path(folder) / family, way, max_response_tokens)
                for way in outputs
            }
            counters = {way: Positions(nlp) for way, nlp in pipes.items()}
            chosen = texts[:n_each]
            # In turns, so that both see the machine in the same state
            for start in range(0, len(chosen), 64):
                for way, nlp in pipes.items():
                    before = counters[way].n
                    began = time.perf_counter()
                    docs = list(nlp.pipe(chosen[start : start + 64], batch_size=64))
                    seconds = time.perf_counter() - began
                    outputs[way] += docs
                    spent[way].append((seconds, counters[way].n - before))
    for way, docs in outputs.items():
        issues = count_issues(pair_examples(Example(doc, doc) for doc in docs))
        assert issues is not None
        valid = sum(is_json(text) for doc in docs for text in answers(doc))
        seconds = sum(part for part, _ in spent[way])
        tokens = sum(part for _, part in spent[way])
        print(
            f"\n{'with' if way else 'without'} the grammar: {issues.responses:,} responses, "
            f"{valid:,} valid JSON, {issues.entities:,} entities"
        )
        for name, share in issues.issues.items():
            print(f"  {name}: {share.n:,} of {share.of:,}")
        print(
            f"  {tokens:,} tokens, ended rows included, {1e3 * seconds / tokens:.3f} ms each"
        )
    costs = [
        sum(s for s, _ in spent[w]) / sum(t for _, t in spent[w]) for w in (True, False)
    ]
    print(f"\nA token with the grammar takes {costs[0] / costs[1]:.2f} times as long")


def answers(doc: Doc) -> list[str]:
    return [
        text
        for responses in get_llm_responses(doc).values()
        for text in responses.texts
    ]


def is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


class Positions:
    """Counts what a model computes: rows of a batch times steps, those included that have
    ended while others go on. A prompt counts as a step.
    """

    def __init__(self, nlp: Language):
        self.n = 0
        nlp.get_pipe("generative_ner").backend.lm.model.register_forward_hook(self)

    def __call__(self, module: Any, inputs: Any, output: Any) -> None:
        self.n += len(output.logits)


def make_nlp(path: Path, constrained: bool, max_response_tokens: int):
    nlp = spacy.blank("en")
    backend = {"@misc": "welt_spacy.TransformersBackend.v1", "name": str(path)}
    nlp.add_pipe(
        "generative_ner",
        config={
            "labels": LABELS,
            "constrained": constrained,
            "max_response_tokens": max_response_tokens,
            "backend": backend,
        },
    )
    return nlp


def make_tokenizer(texts: list[str], size: int):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    frame = ['[{"entity": "Chemical", "name": "', '"}, {"entity": "Disease", "name"']
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<end>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([*texts, *frame * 100], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", model_max_length=1024
    )


def make_model(family: str, n_vocab: int, seed: int):
    ids = {"eos_token_id": 0, "bos_token_id": None}
    if family == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=n_vocab, n_positions=1024, n_embd=128, n_layer=2, n_head=2, **ids
        )
    else:
        kind = {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config}
        config = kind[family](
            vocab_size=n_vocab,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=64,
            max_position_embeddings=1024,
            **ids,
        )
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # else all tokens are as likely
    return model


if __name__ == "__main__":
    typer.run(main)
