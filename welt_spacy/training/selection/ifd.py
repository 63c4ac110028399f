"""How hard an example is to a language model: instruction-following difficulty (IFD).

Two quantities have that name. With L(A|Q) the mean negative log-likelihood of the tokens of an
answer given the prompt, and L(A) that of the answer alone:

    ppl_ratio   exp(L(A|Q) - L(A))    Li et al. (ACL 2024), Superfiltering
    loss_ratio  L(A|Q) / L(A)         Li et al. (NAACL 2024), Cherry LLM

Importing this module does not import torch: it is an extra.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import WeltError, check_number
from ...ml.encoder.windows import bucket

Kind = Literal["ppl_ratio", "loss_ratio"]
KINDS = ("ppl_ratio", "loss_ratio")
# Tokens that go through the model at once, padding included
BATCH_TOKENS = 4096


class Difficulty(NamedTuple):
    """How hard an example is.

    ifd (float): The score: the higher, the less the prompt helps.
    given, alone (float): L(A|Q) and L(A), in nats a token.
    n_tokens (int): Tokens of the answer that were scored, the same ones in both.
    truncated (bool): Whether prompt or answer were too long for the model. A prompt loses
        its beginning, an answer its end.
    """

    ifd: float
    given: float
    alone: float
    n_tokens: int
    truncated: bool


class IFDScorer:
    """Scores examples with a causal language model.

    Prompt and answer are tokenised apart and their ids are joined, so no token crosses the
    border; a start token comes before the answer alone, so that each of its tokens has a
    loss on both sides.

    model (PreTrainedModel): The model, as `AutoModelForCausalLM` gives it.
    tokenizer (PreTrainedTokenizerBase): Its tokenizer.
    kind (str): "ppl_ratio" or "loss_ratio".
    max_length (int): Tokens of an example, if fewer than the model takes; 0: as many.
    batch_tokens (int): Tokens that go through the model at once, padding included.
    RAISES (WeltError): If a setting is out of its range, or the tokenizer has no token to
        begin with.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        kind: Kind = "ppl_ratio",
        max_length: int = 0,
        batch_tokens: int = BATCH_TOKENS,
    ):
        if kind not in KINDS:
            raise WeltError(f"kind is {kind!r}: use one of {', '.join(KINDS)}")
        check_number("max_length", max_length, low=0)
        check_number("batch_tokens", batch_tokens, low=1)
        self.model = model
        self.tokenizer = tokenizer
        self.kind = kind
        self.batch_tokens = batch_tokens
        limit = getattr(model.config, "max_position_embeddings", None) or 2048
        self.max_length = min(limit, max_length) if max_length else limit
        check_number("max_length", self.max_length, low=2)
        tokens = (
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
        )
        start = next((token for token in tokens if token is not None), None)
        if start is None:
            raise WeltError(
                "The tokenizer has neither a token that begins a text nor one that ends it"
            )
        self.start: int = start

    def __call__(self, examples: Sequence[tuple[str, str]]) -> list[Difficulty]:
        """Score examples. The batches make no difference.

        examples (Sequence[tuple[str, str]]): Prompts and answers.
        RETURNS (list[Difficulty]): Their scores.
        RAISES (WeltError): If an answer has no token, or a score is not finite; the
            message names the example.
        """
        rows: list[list[int]] = []
        n_answer: list[int] = []
        truncated = []
        for i, (prompt, answer) in enumerate(examples):
            prompt_ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            answer_ids = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
            if not answer_ids:
                raise WeltError(f"Example {i}: the answer {answer!r} has no token")
            kept = answer_ids[: self.max_length - 1]
            # At least the start token stands before an answer
            room = self.max_length - len(kept) - 1
            before = prompt_ids[max(0, len(prompt_ids) - room) :] if room else []
            truncated.append(
                len(kept) < len(answer_ids) or len(before) < len(prompt_ids)
            )
            rows += [[self.start, *before, *kept], [self.start, *kept]]
            n_answer += [len(kept), len(kept)]
        losses = self._losses(rows, n_answer)
        found = []
        for i, cut in enumerate(truncated):
            given, alone = losses[2 * i : 2 * i + 2].tolist()
            found.append(
                Difficulty(
                    self._ratio(given, alone, i), given, alone, n_answer[2 * i], cut
                )
            )
        return found

    def _ratio(self, given: float, alone: float, i: int) -> float:
        try:
            ratio = (
                math.exp(given - alone) if self.kind == "ppl_ratio" else given / alone
            )
        except (OverflowError, ZeroDivisionError):
            ratio = math.nan
        if not math.isfinite(ratio):
            raise WeltError(
                f"Example {i}: the score is not a finite number (loss {given:g} with the "
                f"prompt, {alone:g} without)"
            )
        return ratio

    def _losses(
        self, rows: list[list[int]], n_answer: list[int]
    ) -> NDArray[np.float64]:
        """The mean loss of the last tokens of each row."""
        import torch

        device = next(self.model.parameters()).device
        sizes = np.array([len(row) for row in rows], dtype="int64")
        losses = np.zeros(len(rows))
        self.model.eval()
        for group in bucket(sizes, self.batch_tokens) if rows else ():
            width = int(sizes[group].max())
            ids = np.full((len(group), width), self.start, dtype="int64")
            mask = np.zeros((len(group), width), dtype="int64")
            for place, row in enumerate(group.tolist()):
                ids[place, : sizes[row]] = rows[row]
                mask[place, : sizes[row]] = 1
            inputs = torch.from_numpy(ids).to(device)
            with torch.inference_mode():
                logits = self.model(
                    input_ids=inputs, attention_mask=torch.from_numpy(mask).to(device)
                ).logits
                for place, row in enumerate(group.tolist()):
                    end = int(sizes[row])
                    start = end - n_answer[row]
                    # Weights may be bfloat16; the loss is not
                    told = torch.nn.functional.cross_entropy(
                        logits[place, start - 1 : end - 1].float(),
                        inputs[place, start:end],
                    )
                    losses[row] = float(told)
        return losses
