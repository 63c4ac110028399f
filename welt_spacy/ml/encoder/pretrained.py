"""Encoders and tokenizers of the transformers library, and what is known of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from ...errors import WeltError, first_line
from .batches import Special


def load_encoder(name: str, settings: dict[str, Any]) -> Any:
    """Load a pre-trained encoder in full precision.

    name (str): Its name on the hub, or its folder.
    settings (dict[str, Any]): Settings of its config to change.
    RETURNS (PreTrainedModel): The encoder, on the CPU.
    RAISES (WeltError): If it can't be loaded.
    """
    from transformers import AutoModel

    with _clear_errors(name):
        model = AutoModel.from_pretrained(name, trust_remote_code=False, **settings)
    # Encoders that are kept in half precision are trained in full precision.
    return model.float()


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a pre-trained encoder.

    name (str): Its name on the hub, or its folder.
    RETURNS (PreTrainedTokenizerFast): The tokenizer.
    RAISES (WeltError): If it can't be loaded, or is not a fast tokenizer.
    """
    from transformers import AutoTokenizer

    with _clear_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(
            name,
            use_fast=True,
            trust_remote_code=False,
            # Byte-level tokenizers need it for words; others ignore it.
            add_prefix_space=True,
        )
    if not getattr(tokenizer, "is_fast", False):
        raise WeltError(
            f"The encoder {name!r} has no fast tokenizer, which is needed to know "
            "the pieces of words"
        )
    return tokenizer


@contextlib.contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as err:
        raise WeltError(
            f"Can't load the encoder {name!r}: {first_line(err)} Use the name of a model "
            "on the hub, or a local folder with config.json, the weights and the "
            "tokenizer."
        ) from None


def context_length(config: Any, tokenizer: Any) -> int:
    """Find out how many pieces an encoder takes at once.

    config (PretrainedConfig): The config of the encoder.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    RETURNS (int): The pieces, special ones included.
    """
    positions = int(getattr(config, "max_position_embeddings", 512) or 512)
    # RoBERTa and its relatives count positions from the padding id on.
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(getattr(tokenizer, "model_max_length", positions)))


def special_pieces(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Find the pieces around a sequence, e.g. [CLS] and [SEP].

    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    RETURNS (tuple[list[int], list[int]]): Those before and those after it.
    RAISES (WeltError): If they can't be determined.
    """
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start], full[start + len(plain) :]
    raise WeltError("Can't determine the special pieces of this tokenizer")


def special_of(config: Any, tokenizer: Any) -> Special:
    """Find out what an encoder wants besides the pieces of words.

    config (PretrainedConfig): The config of the encoder.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    RETURNS (Special): That.
    RAISES (WeltError): As `special_pieces`.
    """
    prefix, suffix = special_pieces(tokenizer)
    return Special(
        prefix,
        suffix,
        int(tokenizer.pad_token_id or 0),
        int(tokenizer.unk_token_id or 0),
        context_length(config, tokenizer),
    )


def layer_of(name: str) -> int | None:
    """Find the depth of a parameter.

    name (str): Its name, e.g. "encoder.layer.3.output.dense.weight".
    RETURNS (int | None): -1 for embeddings, 0 for the first layer; None for
        what lies outside the layers.
    """
    parts = name.split(".")
    for before, part in zip(parts, parts[1:]):
        if before in ("layer", "layers", "h") and part.isdigit():
            return int(part)
    return -1 if "embeddings" in name else None


def freeze_layers(model: Any, n: int) -> None:
    """Keep the lower layers of an encoder as they are.

    model (PreTrainedModel): The encoder.
    n (int): The embeddings and so many layers; -1: all of them; 0: none.
    """
    if not n:
        return
    for name, parameter in model.named_parameters():
        depth = layer_of(name)
        if n < 0 or (depth is not None and depth < n):
            parameter.requires_grad_(False)


def group_parameters(model: Any, layer_decay: float) -> list[dict[str, Any]]:
    """Group the parameters that are trained by what an optimizer does with them.

    model (PreTrainedModel): The encoder.
    layer_decay (float): The learning rate of a layer over that of the layer above it.
    RETURNS (list[dict[str, Any]]): Groups with "params", "scale" (of the learning
        rate) and "decays" (whether weight decay applies: not to biases and layer
        normalisation).
    """
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    depths = [layer_of(name) for name, _ in trained]
    n_layers = 1 + max((depth for depth in depths if depth is not None), default=-1)
    groups: dict[tuple[float, bool], list[Any]] = {}
    for (_, parameter), depth in zip(trained, depths):
        below = 0 if depth is None else n_layers - 1 - depth
        key = (layer_decay**below, parameter.ndim >= 2)
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "scale": scale, "decays": decays}
        for (scale, decays), parameters in groups.items()
    ]
