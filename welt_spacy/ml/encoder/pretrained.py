"""Load pre-trained encoders and tokenizers of the transformers library, and read their settings."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import WeltError, first_line
from .batches import SpecialTokens


def load_encoder(name: str, settings: Mapping[str, object]) -> Any:
    """Load a pre-trained encoder from the hub or a folder, in full precision, on the CPU. The
    settings are those of its config to change.
    """
    from transformers import AutoModel

    with clear_errors(f"the encoder {name!r}"):
        model = AutoModel.from_pretrained(name, trust_remote_code=False, **settings)
    # Encoders that are stored in half precision are trained in full precision
    return model.float()


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a pre-trained encoder. It must be a fast one."""
    from transformers import AutoTokenizer

    with clear_errors(f"the encoder {name!r}"):
        tokenizer = AutoTokenizer.from_pretrained(
            name,
            use_fast=True,
            trust_remote_code=False,
            # Byte-level tokenizers need it for words; others ignore it
            add_prefix_space=True,
        )
    if not getattr(tokenizer, "is_fast", False):
        raise WeltError(
            f"The encoder {name!r} has no fast tokenizer, so the word pieces of a word are "
            "unknown. Use another encoder"
        )
    return tokenizer


@contextlib.contextmanager
def clear_errors(what: str) -> Iterator[None]:
    """Raise errors of transformers as one line. `what` names the object to load."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError) as err:
        raise WeltError(
            f"Can't load {what}: {first_line(err)} Use a name on the hub, or a local "
            "folder with config.json, the weights and the tokenizer."
        ) from None


def context_length(config: Any, tokenizer: Any) -> int:
    """Compute the maximum number of word pieces of an encoder, special ones included."""
    positions = int(getattr(config, "max_position_embeddings", 512) or 512)
    # RoBERTa and its relatives count positions from the padding id
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(getattr(tokenizer, "model_max_length", positions)))


def find_special_pieces(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Find the word pieces before and after a sequence, such as [CLS] and [SEP]."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start], full[start + len(plain) :]
    raise WeltError("The special word pieces of this tokenizer can't be determined")


def get_special_tokens(config: Any, tokenizer: Any) -> SpecialTokens:
    """Return the special word pieces and the length of an encoder."""
    prefix, suffix = find_special_pieces(tokenizer)
    return SpecialTokens(
        prefix,
        suffix,
        int(tokenizer.pad_token_id or 0),
        int(tokenizer.unk_token_id or 0),
        context_length(config, tokenizer),
    )


def get_layer(name: str) -> int | None:
    """Return the number of the layer of a parameter, such as 3 for
    "encoder.layer.3.output.dense.weight"; -1 for embeddings; None outside of the layers.
    """
    parts = name.split(".")
    for before, part in zip(parts, parts[1:]):
        if before in ("layer", "layers", "h") and part.isdigit():
            return int(part)
    return -1 if "embeddings" in name else None


def freeze_layers(model: Any, n: int) -> None:
    """Freeze the embeddings and the n lowest layers of an encoder in training; all of it if
    n is -1 or there are not more layers, nothing if n is 0.
    """
    if not n:
        return
    layers = {name: get_layer(name) for name, _ in model.named_parameters()}
    n_layers = len({layer for layer in layers.values() if layer not in (None, -1)})
    is_all = n < 0 or 0 < n_layers <= n
    for name, parameter in model.named_parameters():
        layer = layers[name]
        # What is above the layers, such as a pooler, does not contribute to the output
        if is_all or (layer is not None and layer < n):
            parameter.requires_grad_(False)


def group_parameters(model: Any, layer_decay: float) -> list[dict[str, Any]]:
    """Group the trained parameters of an encoder for an optimizer of torch: "params", "scale" (of
    the learning rate) and "decays" (not for biases and layer normalization).
    """
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    layers = [get_layer(name) for name, _ in trained]
    n_layers = 1 + max((layer for layer in layers if layer is not None), default=-1)
    groups: dict[tuple[float, bool], list[Any]] = {}
    for (_, parameter), layer in zip(trained, layers):
        n_above = 0 if layer is None else n_layers - 1 - layer
        key = (layer_decay**n_above, parameter.ndim >= 2)
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "scale": scale, "decays": decays}
        for (scale, decays), parameters in groups.items()
    ]
