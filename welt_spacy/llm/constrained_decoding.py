"""Constrained decoding with llguidance: restrict generated tokens to grammars.

Importing this module does not import torch, which is part of an extra.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WeltError, extra_needed, first_line
from .backends import Completion, Request

EXTRA = "llm"
# Parts of "[]", and of what ends a name, an object and the array
CLOSERS = {b"[", b"[]", b"]", b"}", b"}]", b'"', b'"}', b'"}]'}


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a language model.

    tokenizer (Any): An llguidance.LLTokenizer.
    closers (ndarray): Shape (n_vocab,), bool: tokens that help to close a response and begin
        nothing new.
    ends (list[int]): Ids of the tokens that end a response, at least one.
    """

    tokenizer: Any
    closers: NDArray[np.bool_]
    ends: list[int]


def load_vocabulary(model: Any, tokenizer: Any) -> Vocabulary:
    """Build the vocabulary of a transformers model and its fast tokenizer."""
    with extra_needed("Constrained decoding", EXTRA):
        from llguidance.hf import from_tokenizer

    ends = _get_end_tokens(model, tokenizer)
    n_vocab = max(int(model.get_input_embeddings().weight.shape[0]), len(tokenizer))
    tokens = from_tokenizer(tokenizer, n_vocab=n_vocab, eos_token=ends)
    closers = [tokens.decode_bytes([i]) in CLOSERS for i in range(n_vocab)]
    return Vocabulary(tokens, np.array(closers), ends)


def _get_end_tokens(model: Any, tokenizer: Any) -> list[int]:
    of_model = getattr(model.generation_config, "eos_token_id", None)
    if not isinstance(of_model, (list, tuple)):
        of_model = [of_model]
    tokens = [tokenizer.eos_token_id, *of_model]
    ends = list(dict.fromkeys(int(token) for token in tokens if token is not None))
    if not ends:
        raise WeltError(
            "The language model has no token that ends a response. Set eos_token in its "
            "tokenizer_config.json"
        )
    return ends


class GrammarProcessor:
    """A logits processor of transformers for greedy search: restricts each row to the grammar
    of its request, and stores the log-probabilities of the chosen tokens.
    """

    def __init__(self, vocabulary: Vocabulary, requests: Sequence[Request]):
        from llguidance import LLMatcher

        self.vocabulary = vocabulary
        self.requests = requests
        self.matchers = [
            None
            if request.grammar is None
            else LLMatcher(vocabulary.tokenizer, request.grammar)
            for request in requests
        ]
        for matcher in self.matchers:
            _check(matcher)
        self.log_probs: list[Any] = []
        self.is_done = [False] * len(requests)
        # Rows that were closed although the model would have gone on
        self.is_cut = [False] * len(requests)
        n_words = (vocabulary.tokenizer.vocab_size + 31) // 32
        self._masks = np.zeros((len(requests), n_words), dtype="int32")

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the logits with those of forbidden tokens set to -inf."""
        import torch

        if self.log_probs:
            self._advance(input_ids[:, -1].tolist())
        scores = scores.float()
        if any(matcher is not None for matcher in self.matchers):
            allowed = self._get_allowed(scores.shape[1])
            if rows := self._get_closing_rows():
                self._close(rows, allowed, scores)
            scores = scores.masked_fill(
                torch.from_numpy(~allowed).to(scores.device), float("-inf")
            )
        best = scores.max(dim=1).values
        self.log_probs.append((best - scores.logsumexp(dim=1)).cpu())
        return scores

    def _advance(self, tokens: list[int]) -> None:
        for row, (matcher, token) in enumerate(zip(self.matchers, tokens)):
            if self.is_done[row] or token in self.vocabulary.ends:
                self.is_done[row] = True
            elif matcher is not None:
                matcher.consume_token(token)
                _check(matcher)

    def _get_allowed(self, n_vocab: int) -> NDArray[np.bool_]:
        for row, matcher in enumerate(self.matchers):
            mask = self._masks[row]
            if matcher is None or self.is_done[row]:
                mask[:] = -1
            else:
                matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        bits = np.unpackbits(
            self._masks.view("uint8"), axis=1, count=n_vocab, bitorder="little"
        )
        return bits.astype(bool)

    def _get_closing_rows(self) -> list[int]:
        """Return the rows whose remaining tokens are reserved for closing."""
        return [
            row
            for row, request in enumerate(self.requests)
            if request.grammar is not None
            and not self.is_done[row]
            and request.max_tokens - len(self.log_probs) <= request.closing_tokens
        ]

    def _close(self, rows: list[int], allowed: NDArray[np.bool_], scores: Any) -> None:
        """Allow rows only tokens that close the response, where the grammar has such."""
        import torch

        forbidden = torch.from_numpy(~allowed[rows]).to(scores.device)
        best = scores[rows].masked_fill(forbidden, float("-inf")).argmax(dim=1)
        for row, token in zip(rows, best.tolist()):
            closing = allowed[row] & self.vocabulary.closers[: allowed.shape[1]]
            if closing.any():
                self.is_cut[row] |= not closing[token]
                allowed[row] = closing

    def make_completions(self, tokens: list[list[int]]) -> list[Completion]:
        """Decode the generated tokens of each row."""
        import torch

        log_probs = torch.stack(self.log_probs, dim=1).tolist()
        return [
            self._make_completion(row, row_tokens[: request.max_tokens], log_probs[row])
            for row, (row_tokens, request) in enumerate(zip(tokens, self.requests))
        ]

    def _make_completion(
        self, row: int, tokens: list[int], log_probs: list[float]
    ) -> Completion:
        ends = self.vocabulary.ends
        n = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
        # A character can have several tokens, so bytes are joined before they are decoded
        data = b""
        offsets = []
        for token, log_prob in zip(tokens[:n], log_probs):
            data += self.vocabulary.tokenizer.decode_bytes([token])
            offsets.append((len(data.decode("utf8", errors="ignore")), log_prob))
        text = data.decode("utf8", errors="ignore")
        is_cut = self.is_cut[row] or n == len(tokens)
        return Completion(text, offsets, cut_off=is_cut)


def _check(matcher: Any) -> None:
    if matcher is not None and matcher.is_error():
        reason = first_line(ValueError(matcher.get_error()))
        raise WeltError(f"Constrained decoding failed: {reason}")
