"""AdamW for encoders, in Thinc's form."""

from collections.abc import Sequence
from typing import Any

from thinc.optimizers import FloatOrSeq, KeyT, Optimizer
from thinc.types import FloatsXd

from ..errors import check_number


class AdamW(Optimizer):
    """Adam with decoupled weight decay, as transformers are fine-tuned with.

    Registered as `welt_spacy.AdamW.v1` in `@optimizers`. It differs from
    `Adam.v1` where that holds encoders back:

    - Encoders of `welt_spacy.TransformerEncoder.v1` are updated by torch's own
      fused AdamW, and their gradient is clipped by its norm over all weights,
      not array by array, which changes its direction.
    - Biases and the weights of layer normalisation do not decay.
    - Layers of Thinc, such as the head, learn at their own rate.

    Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization", ICLR.
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
        """Initialize the optimizer.

        learn_rate (float | Schedule): The learning rate of encoders.
        weight_decay (float): The decay of weights.
        beta1, beta2 (float): Decay of the moments.
        eps (float): Added to the denominator.
        grad_clip (float): The norm to which gradients are clipped: of an encoder
            as a whole, of other layers array by array. 0: no clipping.
        head_rate (float): The learning rate of layers of Thinc over that of
            encoders.
        RAISES (WeltError): If a setting is out of its range.
        """
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
        """Update an array of a layer of Thinc. See `Optimizer.__call__`."""
        decay = self.L2
        if weights.ndim < 2:  # biases and scales
            self.L2 = 0.0
        try:
            return super().__call__(
                key, weights, gradient, lr_scale=lr_scale * self.head_rate
            )
        finally:
            self.L2 = decay

    def step_torch(self, key: int, groups: Sequence[dict[str, Any]]) -> None:
        """Update the parameters of a module of torch with the gradients in them, and
        clear these.

        key (int): The module's own key: its moments are kept under it.
        groups (Sequence[dict[str, Any]]): Groups of parameters: "params", "scale" (of
            the learning rate) and "decays" (whether weight decay applies).
        """
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
    """Create an `AdamW`; its arguments are described there."""
    return AdamW(
        learn_rate,
        weight_decay=weight_decay,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        grad_clip=grad_clip,
        head_rate=head_rate,
    )
