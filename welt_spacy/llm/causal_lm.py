"""Causal language models of the transformers library: load, generate, save.

Importing this module does not import torch, which is part of an extra.
"""

import contextlib
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from thinc.util import get_torch_default_device

from ..errors import WeltError, check_number, extra_needed
from ..ml.encoder.pretrained import clear_errors
from ..ml.encoder.windows import bucket
from .backends import Completion, Request
from .constrained_decoding import EXTRA, GrammarProcessor, Vocabulary, load_vocabulary

# Tokens of the prompts and responses of a batch
BATCH_TOKENS = 16384
DTYPES = ("auto", "float32", "bfloat16", "float16")
WEIGHTS, ADAPTER = "model", "adapter"
# Otherwise Qwen3 and its relatives write their reasoning before the response
TEMPLATE_ARGUMENTS = {"enable_thinking": False}


@dataclass(frozen=True)
class CausalLM:
    """A causal language model with its tokenizer.

    model (Any): A PreTrainedModel or PeftModel in evaluation mode.
    tokenizer (Any): A PreTrainedTokenizerFast.
    """

    model: Any
    tokenizer: Any


def load_causal_lm(
    name: str,
    *,
    revision: str | None = None,
    adapter: Path | None = None,
    dtype: str = "auto",
    local: bool = False,
) -> CausalLM:
    """Load a language model onto the GPU that spaCy uses, or the CPU. Code in its repository
    is not run.
    """
    with extra_needed("A language model", EXTRA):
        import torch
        import transformers

    # The argument was renamed in transformers 5
    major = int(transformers.__version__.partition(".")[0])
    dtype_argument = "dtype" if major >= 5 else "torch_dtype"
    device = get_torch_default_device()
    if dtype == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        dtype = "bfloat16" if has_bf16 else "float32"
    source = {
        "revision": revision,
        "local_files_only": local,
        "trust_remote_code": False,
    }
    from ..ml.encoder.serialization import no_progress

    quiet = contextlib.nullcontext() if sys.stderr.isatty() else no_progress()
    with quiet, clear_errors(f"the language model {name!r}"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            name, use_fast=True, **source
        )
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name, **{dtype_argument: getattr(torch, dtype)}, **source
        )
    if not getattr(tokenizer, "is_fast", False):
        raise WeltError(
            f"The language model {name!r} has no fast tokenizer. Use a model with "
            "tokenizer.json"
        )
    if adapter is not None:
        with extra_needed("An adapter", EXTRA):
            from peft import PeftModel

        with clear_errors(f"the adapter {str(adapter)!r}"):
            model = PeftModel.from_pretrained(model, str(adapter))
    return CausalLM(model.to(device).eval(), tokenizer)


def encode_prompt(
    tokenizer: Any, prompt: str, arguments: Mapping[str, Any] = TEMPLATE_ARGUMENTS
) -> list[int]:
    """Return the token ids of a prompt up to the beginning of the response."""
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            **arguments,
        )
        return tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = tokenizer(prompt + "\n", add_special_tokens=False)["input_ids"]
    return ids if tokenizer.bos_token_id is None else [tokenizer.bos_token_id, *ids]


class TransformersBackend:
    """A language model in this process. Registered as `welt_spacy.TransformersBackend.v1` in
    `@misc`. It generates greedily in batches of similar length, with a cache of keys and
    values. The model is loaded on first use.

    name (str): Its name on the hub, or its folder.
    revision (str | None): The commit, branch or tag on the hub.
    store (bool): Whether the weights are saved with the pipeline. If not, they are loaded
        again by name and revision. An adapter is always saved, its base model never.
    dtype (str): See `load_causal_lm`.
    batch_tokens (int): Maximum number of tokens of a batch, with padding and responses.
    template_arguments (Mapping[str, Any] | None): Arguments of the chat template.
    RAISES (WeltError): If a setting is out of its range.
    """

    extra = EXTRA

    def __init__(
        self,
        name: str = "",
        *,
        revision: str | None = None,
        store: bool = False,
        dtype: str = "auto",
        batch_tokens: int = BATCH_TOKENS,
        template_arguments: Mapping[str, Any] | None = None,
    ):
        if dtype not in DTYPES:
            raise WeltError(f"dtype is {dtype!r}: use one of {', '.join(DTYPES)}")
        check_number("batch_tokens", batch_tokens, low=1)
        self.name = name
        self.revision = revision
        self.store = store
        self.dtype = dtype
        self.batch_tokens = batch_tokens
        self.template_arguments: dict[str, Any] = dict(
            TEMPLATE_ARGUMENTS if template_arguments is None else template_arguments
        )
        self._lm: CausalLM | None = None
        self._vocabulary: Vocabulary | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Neither the lock nor the tables of llguidance can be pickled or copied
        return {**self.__dict__, "_lock": None, "_vocabulary": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def lm(self) -> CausalLM:
        """The model; loaded on first use. Raises a WeltError if it can't be loaded."""
        with self._lock:
            if self._lm is None:
                if not self.name:
                    raise WeltError(
                        "No language model is set. Give the backend a name on the hub, or "
                        "a folder"
                    )
                self._lm = load_causal_lm(
                    self.name, revision=self.revision, dtype=self.dtype
                )
            return self._lm

    @lm.setter
    def lm(self, lm: CausalLM) -> None:
        with self._lock:
            self._lm = CausalLM(lm.model.eval(), lm.tokenizer)
            self._vocabulary = None

    def to_disk(self, path: Path) -> None:
        """Save the weights if `store` is set, and the adapter if there is one.

        path (Path): The folder of the component.
        """
        if self._lm is None and not self.store:
            return
        lm = self.lm
        if hasattr(lm.model, "peft_config"):
            lm.model.save_pretrained(path / ADAPTER)
        elif self.store:
            lm.model.save_pretrained(path / WEIGHTS)
            lm.tokenizer.save_pretrained(path / WEIGHTS)

    def from_disk(self, path: Path) -> None:
        """Load what `to_disk` saved. Other weights are loaded on first use.

        path (Path): The folder of the component.
        RAISES (WeltError): If it can't be loaded.
        """
        if (path / WEIGHTS).is_dir():
            self.lm = load_causal_lm(str(path / WEIGHTS), dtype=self.dtype, local=True)
        elif (path / ADAPTER).is_dir():
            self.lm = load_causal_lm(
                self.name,
                revision=self.revision,
                adapter=path / ADAPTER,
                dtype=self.dtype,
            )

    def __call__(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete requests. See `Backend`."""
        from ..ml.encoder.fork_safety import limit_threads_after_fork

        lm = self.lm
        limit_threads_after_fork()
        prompts = [
            encode_prompt(lm.tokenizer, request.prompt, self.template_arguments)
            for request in requests
        ]
        sizes = [
            len(ids) + request.max_tokens for ids, request in zip(prompts, requests)
        ]
        context_length = _get_context_length(lm.model)
        completions = {
            i: Completion(
                "",
                error=f"prompt and response may have {len(prompts[i])} + "
                f"{requests[i].max_tokens} tokens, but the context length of the model is "
                f"{context_length}. Set n_sents to split long texts",
            )
            for i, size in enumerate(sizes)
            if size > context_length
        }
        fitting = [i for i, size in enumerate(sizes) if size <= context_length]
        if fitting:
            fitting_sizes = np.array([sizes[i] for i in fitting], dtype="int64")
            for batch in bucket(fitting_sizes, self.batch_tokens):
                rows = [fitting[i] for i in batch.tolist()]
                batch_completions = self._generate(
                    [prompts[row] for row in rows], [requests[row] for row in rows]
                )
                completions.update(zip(rows, batch_completions))
        return [completions[i] for i in range(len(requests))]

    def _get_vocabulary(self, lm: CausalLM) -> Vocabulary:
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = load_vocabulary(lm.model, lm.tokenizer)
            return self._vocabulary

    def _generate(
        self, prompts: list[list[int]], requests: list[Request]
    ) -> list[Completion]:
        import torch

        lm = self.lm
        vocabulary = self._get_vocabulary(lm)
        ends = vocabulary.ends
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), ends[0], dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        device = lm.model.device
        processor = GrammarProcessor(vocabulary, requests)
        with torch.inference_mode():
            output = lm.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=max(request.max_tokens for request in requests),
                # The settings that come with a model are those of a chat
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                repetition_penalty=1.0,
                eos_token_id=ends,
                pad_token_id=ends[0],
                logits_processor=[processor],
            )
        return processor.make_completions(output[:, width:].tolist())


def _get_context_length(model: Any) -> int:
    return int(getattr(model.config, "max_position_embeddings", None) or 2048)
