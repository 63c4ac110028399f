"""Serialize encoders: the files of `save_pretrained` in one message."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import srsly
import torch

from ...util.files import pack_folder, unpack_folder

OPTIMIZED_FILE = "welt_optimized.json"


class Encoder(NamedTuple):
    """An encoder to serialize.

    model (PreTrainedModel | None): The model; None before it is loaded.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    optimized (str | None): The format if it was optimized for prediction, such as "bf16".
    """

    model: Any
    tokenizer: Any
    optimized: str | None


def encode_encoder(encoder: Encoder) -> bytes:
    """Serialize an encoder."""
    if encoder.model is None:
        return srsly.msgpack_dumps({})
    with tempfile.TemporaryDirectory() as folder, no_progress():
        if encoder.optimized:
            header = {"optimized": encoder.optimized}
            srsly.write_json(Path(folder) / OPTIMIZED_FILE, header)
        # One file, whatever its size
        encoder.model.save_pretrained(folder, max_shard_size="1000GB")
        encoder.tokenizer.save_pretrained(folder)
        return srsly.msgpack_dumps(pack_folder(Path(folder)))


def decode_encoder(bytes_data: bytes) -> Encoder | None:
    """Deserialize an encoder, without network, and without running code of the message; None if
    it was not loaded when it was serialized.
    """
    from transformers import AutoModel, AutoTokenizer

    files = srsly.msgpack_loads(bytes_data)
    if not files:
        return None
    header = srsly.json_loads(files.pop(OPTIMIZED_FILE, b"{}"))
    optimized = header.get("optimized")
    with tempfile.TemporaryDirectory() as folder, no_progress():
        unpack_folder(files, Path(folder))
        local = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **local)
        model = AutoModel.from_pretrained(folder, use_safetensors=True, **local)
        # Because the precision of loaded weights depends on the version of transformers
        model.to(torch.bfloat16 if optimized == "bf16" else torch.float32)
    return Encoder(model, tokenizer, optimized)


@contextlib.contextmanager
def no_progress() -> Iterator[None]:
    """Hide progress bars of transformers, because the tables of `spacy train` and files are no
    place for them.
    """
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
