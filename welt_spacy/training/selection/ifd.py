"""Instruction-following difficulty (IFD): the difficulty of examples for a language model.

Two quantities have that name. With L(A|Q) the mean negative log-likelihood of the tokens of an
answer given the prompt, and L(A) that of the answer alone:

    ppl_ratio   exp(L(A|Q) - L(A))    Li et al. (ACL 2024), Superfiltering
    loss_ratio  L(A|Q) / L(A)         Li et al. (NAACL 2024), Cherry LLM

Importing this module does not import torch, which is an extra.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import WeltError, check_number
from ...llm.causal_lm import load_causal_lm
from ...ml.encoder.windows import bucket

Variant = Literal["ppl_ratio", "loss_ratio"]
VARIANTS: tuple[str, ...] = get_args(Variant)
# Number of tokens that go through the model at once, padding included
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class ScorerSettings:
    """Settings of an `IFDScorer`.

    model (str): The causal language model: a name on the hub, or a folder.
    variant (str): "ppl_ratio" or "loss_ratio".
    max_length (int): Maximum number of tokens of prompt and answer; 0 for as many as the
        model takes.
    RAISES (WeltError): If a setting is out of its range.
    """

    model: str
    variant: Variant = "ppl_ratio"
    max_length: int = 0

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise WeltError(
                f"The IFD variant is {self.variant!r}: use one of {', '.join(VARIANTS)}"
            )
        check_number("max_length", self.max_length, low=0)


class Difficulty(NamedTuple):
    """Difficulty of an example.

    ifd (float): The score: the higher, the less the prompt helps.
    conditioned_loss (float): L(A|Q), in nats per token.
    direct_loss (float): L(A), in nats per token.
    n_tokens (int): Number of tokens of the answer that were scored.
    truncated (bool): Whether the prompt or the answer was too long for the model. A prompt
        loses its beginning, an answer its end.
    """

    ifd: float
    conditioned_loss: float
    direct_loss: float
    n_tokens: int
    truncated: bool


class ExampleError(WeltError):
    """An example can't be scored. Has its place among the examples as `index`."""

    def __init__(self, index: int, problem: str):
        super().__init__(f"Example {index}: {problem}")
        self.index = index
        self.problem = problem


class IFDScorer:
    """Scores examples with a causal language model; see `ScorerSettings`.

    Prompt and answer are tokenized separately and their ids are concatenated, so no token
    crosses the border. A start token precedes the answer alone, so that each of its tokens
    has a loss in both cases.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: ScorerSettings,
        *,
        batch_tokens: int = BATCH_TOKENS,
    ):
        self.model = model
        self.tokenizer = tokenizer
        self.variant = settings.variant
        self.batch_tokens = batch_tokens
        limit = getattr(model.config, "max_position_embeddings", None) or 2048
        self.max_length = min(limit, settings.max_length or limit)
        check_number("max_length", self.max_length, low=2)
        tokens = (
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
        )
        start = next((token for token in tokens if token is not None), None)
        if start is None:
            raise WeltError(
                "The tokenizer has no token for the start, the end or the padding of a text. "
                "Use another model"
            )
        self.start: int = start

    def __call__(self, examples: Sequence[tuple[str, str]]) -> list[Difficulty]:
        """Score pairs of prompt and answer. Scores do not depend on the batches."""
        rows: list[list[int]] = []
        n_answer: list[int] = []
        truncated = []
        for i, (prompt, answer) in enumerate(examples):
            prompt_ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            answer_ids = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
            if not answer_ids:
                raise ExampleError(i, f"the answer {answer!r} has no token")
            target = answer_ids[: self.max_length - 1]
            # The start token precedes the answer in any case
            room = self.max_length - len(target) - 1
            context = prompt_ids[max(0, len(prompt_ids) - room) :] if room else []
            truncated.append(
                len(target) < len(answer_ids) or len(context) < len(prompt_ids)
            )
            rows += [[self.start, *context, *target], [self.start, *target]]
            n_answer += [len(target), len(target)]
        losses = self._losses(rows, n_answer).reshape(-1, 2).tolist()
        return [
            Difficulty(
                self._ratio(conditioned, direct, i),
                conditioned,
                direct,
                n_answer[2 * i],
                truncated[i],
            )
            for i, (conditioned, direct) in enumerate(losses)
        ]

    def _ratio(self, conditioned: float, direct: float, i: int) -> float:
        try:
            if self.variant == "ppl_ratio":
                ratio = math.exp(conditioned - direct)
            else:
                ratio = conditioned / direct
        except (OverflowError, ZeroDivisionError):
            ratio = math.nan
        if not math.isfinite(ratio):
            raise ExampleError(
                i,
                f"the score is not a finite number (loss {conditioned:g} with the prompt, "
                f"{direct:g} without)",
            )
        return ratio

    def _losses(
        self, rows: list[list[int]], n_answer: list[int]
    ) -> NDArray[np.float64]:
        """Compute the mean loss of the last tokens of each row."""
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
                    # In float32, because weights may be bfloat16
                    loss = torch.nn.functional.cross_entropy(
                        logits[place, start - 1 : end - 1].float(),
                        inputs[place, start:end],
                    )
                    losses[row] = float(loss)
        return losses


def load_scorer(settings: ScorerSettings) -> IFDScorer:
    """Load the language model of a scorer."""
    lm = load_causal_lm(settings.model)
    return IFDScorer(lm.model, lm.tokenizer, settings)
