"""Encoders as bytes: the files of `save_pretrained` in one message."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import srsly
import torch

from ...errors import WeltError
from ...util.files import pack_folder, unpack_folder

OPTIMIZED_FILE = "welt_optimized.json"


class Encoder(NamedTuple):
    """What is saved.

    model (Any): A PreTrainedModel; None before there is an encoder.
    tokenizer (Any): Its tokenizer.
    optimized (str | None): How it was made faster, if it was.
    """

    model: Any
    tokenizer: Any
    optimized: str | None


def encode_encoder(encoder: Encoder) -> bytes:
    """Write an encoder.

    encoder (Encoder): The encoder.
    RETURNS (bytes): The message.
    """
    if encoder.model is None:
        return srsly.msgpack_dumps({})
    with tempfile.TemporaryDirectory() as folder, no_progress():
        if encoder.optimized:
            told = {"optimized": encoder.optimized}
            srsly.write_json(Path(folder) / OPTIMIZED_FILE, told)
        # One file, whatever its size
        encoder.model.save_pretrained(folder, max_shard_size="1000GB")
        encoder.tokenizer.save_pretrained(folder)
        return srsly.msgpack_dumps(pack_folder(Path(folder)))


def decode_encoder(bytes_data: bytes) -> Encoder | None:
    """Read an encoder. Nothing is asked of a hub, and no code in the message is run.

    bytes_data (bytes): The message.
    RETURNS (Encoder | None): The encoder, on the CPU; None if there was none.
    RAISES (WeltError): If it is in a form that is not read any more, or a file has a path outside
        of its folder.
    """
    from transformers import AutoModel, AutoTokenizer

    files = srsly.msgpack_loads(bytes_data)
    if not files:
        return None
    if "model.onnx" in files:
        raise WeltError(
            "This pipeline was optimized by an earlier version of welt-spacy: optimize "
            "the pipeline it was made from again"
        )
    told = srsly.json_loads(files.pop(OPTIMIZED_FILE, b"{}"))
    optimized = told.get("optimized")
    with tempfile.TemporaryDirectory() as folder, no_progress():
        unpack_folder(files, Path(folder))
        local = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **local)
        model = AutoModel.from_pretrained(folder, use_safetensors=True, **local)
        # Which precision it loads in depends on the version of transformers.
        model.to(torch.bfloat16 if optimized == "bf16" else torch.float32)
    return Encoder(model, tokenizer, optimized)


@contextlib.contextmanager
def no_progress() -> Iterator[None]:
    """Keep transformers' progress bars out of the tables of `spacy train`, and out of files.

    YIELDS (None): While there are none.
    """
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
