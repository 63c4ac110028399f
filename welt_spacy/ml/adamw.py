"""AdamW for encoders, with the interface of Thinc's optimizers."""

from collections.abc import Sequence
from typing import Any

from thinc.optimizers import FloatOrSeq, KeyT, Optimizer
from thinc.types import FloatsXd

from ..errors import check_number


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    It differs from `Adam.v1` in three points that matter for fine-tuning transformers:

    - Encoders of `welt_spacy.TransformerEncoder.v1` are updated by torch's fused AdamW.
      Their gradient is clipped by its norm over all weights; clipping array by array would
      change its direction.
    - Biases and the weights of layer normalization do not decay.
    - Layers of Thinc, such as the output layer, have their own learning rate.
    """

    __slots__ = ["head_rate", "torch_states"]

    def __init__(
        self,
        learn_rate: FloatOrSeq,
        *,
        weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        grad_clip: float = 1.0,
        head_rate: float = 1.0,
    ):
        """Initialize the optimizer. See `make_adamw`."""
        if isinstance(learn_rate, (int, float)):
            check_number("learn_rate", learn_rate, low=0)
        check_number("weight_decay", weight_decay, low=0)
        check_number("beta1", beta1, low=0, below=1)
        check_number("beta2", beta2, low=0, below=1)
        check_number("eps", eps, above=0)
        check_number("grad_clip", grad_clip, low=0)
        check_number("head_rate", head_rate, low=0)
        super().__init__(
            learn_rate,
            L2=weight_decay,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            grad_clip=grad_clip,
            use_averages=False,
            L2_is_weight_decay=True,
        )
        self.head_rate = head_rate
        self.torch_states: dict[int, Any] = {}

    def __call__(
        self, key: KeyT, weights: FloatsXd, gradient: FloatsXd, *, lr_scale: float = 1.0
    ):
        """Update a parameter of a Thinc layer. See `Optimizer.__call__`."""
        decay = self.L2
        if weights.ndim < 2:  # Biases and scales
            self.L2 = 0.0
        try:
            return super().__call__(
                key, weights, gradient, lr_scale=lr_scale * self.head_rate
            )
        finally:
            self.L2 = decay

    def step_torch(self, key: int, groups: Sequence[dict[str, Any]]) -> None:
        """Update the parameters of a torch module with their gradients, and clear these."""
        import torch

        if key not in self.torch_states:
            self.torch_states[key] = torch.optim.AdamW(
                [
                    {**group, "weight_decay": self.L2 if group["decays"] else 0.0}
                    for group in groups
                ],
                lr=self.learn_rate,
                betas=(self.b1, self.b2),
                eps=self.eps,
                fused=True,
            )
        state = self.torch_states[key]
        if self.grad_clip:
            parameters = [p for group in state.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.grad_clip)
        for group in state.param_groups:
            group["lr"] = self.learn_rate * group["scale"]
        state.step()
        state.zero_grad(set_to_none=True)


def make_adamw(
    learn_rate: FloatOrSeq = 5e-5,
    *,
    weight_decay: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    grad_clip: float = 1.0,
    head_rate: float = 1.0,
) -> AdamW:
    """Create the optimizer `welt_spacy.AdamW.v1`: Adam with decoupled weight decay.

    learn_rate (float | Schedule): The learning rate of encoders.
    weight_decay (float): The weight decay.
    beta1, beta2 (float): The decay rates of the moments.
    eps (float): Added to the denominator.
    grad_clip (float): Maximum norm of gradients: of an encoder as a whole, of other layers
        array by array. 0 for no clipping.
    head_rate (float): The learning rate of Thinc layers, relative to that of encoders.
    RETURNS (AdamW): The optimizer.
    RAISES (WeltError): If a setting is out of range.
    """
    return AdamW(
        learn_rate,
        weight_decay=weight_decay,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        grad_clip=grad_clip,
        head_rate=head_rate,
    )
