"""Training data of language models: prompts and correct responses as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spacy.tokens import Doc

from ..errors import WeltError
from ..tokens.annotated_labels import is_annotated
from .causal_lm import encode_prompt
from .finetune_config import FinetuneConfig
from .prompts import JsonPrompt
from .responses import make_response

# The target that torch's cross entropy ignores
IGNORED = -100


@dataclass(frozen=True)
class TrainingRows:
    """Result of `make_training_rows`.

    rows (list[dict[str, list[int]]]): "input_ids" and "labels" of each document; labels of the
        prompt are -100.
    n_too_long (int): Number of documents that are left out because of their length.
    n_negatives (int): Number of rows without entities.
    """

    rows: list[dict[str, list[int]]]
    n_too_long: int
    n_negatives: int


def make_training_rows(
    docs: Sequence[Doc], config: FinetuneConfig, tokenizer: Any, labels: Sequence[str]
) -> TrainingRows:
    """Convert documents to prompts and correct responses."""
    prompt = JsonPrompt(config.instruction, config.definitions)
    excluded = _draw_excluded(docs, config)
    rows, n_too_long, n_negatives = [], 0, 0
    for i, doc in enumerate(docs):
        if i in excluded or not doc.text.strip():
            continue
        annotated = [label for label in labels if is_annotated(doc, label)]
        prompt_ids = encode_prompt(tokenizer, prompt(doc[:].text, annotated))
        response = tokenizer(make_response(doc, annotated), add_special_tokens=False)
        response_ids = [*response["input_ids"], tokenizer.eos_token_id]
        if len(prompt_ids) + len(response_ids) > config.max_length:
            n_too_long += 1
            continue
        n_negatives += not doc.ents
        rows.append(
            {
                "input_ids": [*prompt_ids, *response_ids],
                "labels": [IGNORED] * len(prompt_ids) + response_ids,
            }
        )
    if not rows:
        raise WeltError(
            f"{config.train}: no document is left for training. {n_too_long} are longer than "
            f"max_length, {config.max_length} tokens"
        )
    return TrainingRows(rows, n_too_long, n_negatives)


def _draw_excluded(docs: Sequence[Doc], config: FinetuneConfig) -> set[int]:
    """Draw the documents without entities to leave out."""
    rng = np.random.default_rng(config.seed)
    negatives = [i for i, doc in enumerate(docs) if not doc.ents]
    n_kept = int(np.floor(config.keep_negatives * len(negatives) + 0.5))
    order = rng.permutation(len(negatives))
    return {negatives[place] for place in order[n_kept:].tolist()}


def sample_dev_docs(docs: Sequence[Doc], config: FinetuneConfig) -> list[Doc]:
    """Draw the documents to evaluate on, in their order."""
    if not config.eval_docs or config.eval_docs >= len(docs):
        return list(docs)
    rng = np.random.default_rng(config.seed)
    places = rng.permutation(len(docs))[: config.eval_docs]
    return [docs[i] for i in sorted(places.tolist())]
