"""Causal language models of the transformers library: loaded, asked, saved.

Importing this module does not import torch: it is an extra.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from thinc.util import get_torch_default_device

from ..errors import WeltError, check_number, extra_needed, first_line
from ..ml.encoder.windows import bucket
from .backends import Completion, Request

EXTRA = "llm"
# Prompt and answer tokens that are generated at once
BATCH_TOKENS = 16384
DTYPES = ("auto", "float32", "bfloat16", "float16")
WEIGHTS, ADAPTER = "model", "adapter"
# Parts of "[]", and of what ends a name, an object and the array
CLOSERS = {b"[", b"[]", b"]", b"}", b"}]", b'"', b'"}', b'"}]'}
# Without it, Qwen3 and its relatives think aloud first
TEMPLATE_ARGUMENTS = {"enable_thinking": False}


class CausalLM(NamedTuple):
    """A causal language model with its tokenizer.

    model (Any): A PreTrainedModel or PeftModel, in evaluation mode.
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
    """Load a language model. No code that comes with it is run.

    name (str): Its name on the hub, or its folder.
    revision (str | None): The commit, branch or tag on the hub.
    adapter (Path | None): The folder of an adapter of peft.
    dtype (str): "float32", "bfloat16", "float16", or "auto": bfloat16 on a GPU that has
        it, else float32.
    local (bool): Whether to ask nothing of the hub.
    RETURNS (CausalLM): The model, on the GPU that spaCy uses, if it uses one.
    RAISES (WeltError): If it can't be loaded, or has no fast tokenizer.
    """
    with extra_needed("A language model", EXTRA):
        import torch
        import transformers

    # It has another name since transformers 5
    major = int(transformers.__version__.partition(".")[0])
    precision = "dtype" if major >= 5 else "torch_dtype"
    device = get_torch_default_device()
    if dtype == "auto":
        halves = device.type == "cuda" and torch.cuda.is_bf16_supported()
        dtype = "bfloat16" if halves else "float32"
    where = {
        "revision": revision,
        "local_files_only": local,
        "trust_remote_code": False,
    }
    from ..ml.encoder.serialization import no_progress

    # Where nobody looks at a bar, it would stand beside messages
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else no_progress()
    with quiet, _clear_errors(f"the language model {name!r}"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            name, use_fast=True, **where
        )
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name, **{precision: getattr(torch, dtype)}, **where
        )
    if not getattr(tokenizer, "is_fast", False):
        raise WeltError(f"The language model {name!r} has no fast tokenizer")
    if adapter is not None:
        with extra_needed("An adapter", EXTRA):
            from peft import PeftModel

        with _clear_errors(f"the adapter {str(adapter)!r}"):
            model = PeftModel.from_pretrained(model, str(adapter))
    return CausalLM(model.to(device).eval(), tokenizer)


@contextlib.contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError) as err:
        raise WeltError(
            f"Can't load {what}: {first_line(err)} Use a name on the hub, or a local "
            "folder with config.json, the weights and the tokenizer."
        ) from None


def encode_prompt(
    tokenizer: Any, prompt: str, arguments: Mapping[str, Any] = TEMPLATE_ARGUMENTS
) -> list[int]:
    """Turn a prompt into ids, up to where the answer begins.

    tokenizer (PreTrainedTokenizerFast): The tokenizer. Its chat template is used if it has
        one; else the prompt is followed by a line break.
    prompt (str): The prompt.
    arguments (Mapping[str, Any]): For the chat template.
    RETURNS (list[int]): The ids, the token that begins a text included, if there is one.
    """
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


def window_of(model: Any) -> int:
    """Find out how many tokens a model takes.

    model (PreTrainedModel): The model.
    RETURNS (int): The tokens, answer included.
    """
    return int(getattr(model.config, "max_position_embeddings", None) or 2048)


class TransformersBackend:
    """A language model in this process. Greedy, in batches of similar length, with a cache
    of keys and values. Registered as `welt_spacy.TransformersBackend.v1` in `@misc`. The model
    is loaded when it is first needed.

    name (str): Its name on the hub, or its folder.
    revision (str | None): The commit, branch or tag on the hub.
    store (bool): Whether its weights are saved with the pipeline. If not, they are loaded
        again by name and revision. An adapter is always saved, and its base never.
    dtype (str): See `load_causal_lm`.
    batch_tokens (int): The most tokens in a batch, padding and answers included.
    template_arguments (Mapping[str, Any] | None): For the chat template.
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
        self._guide: _Guide | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Neither the lock nor the tables of llguidance can be pickled or copied
        return {**self.__dict__, "_lock": None, "_guide": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def lm(self) -> CausalLM:
        """RETURNS (CausalLM): The model, which is loaded when it is first needed.
        RAISES (WeltError): If it can't be loaded.
        """
        with self._lock:
            if self._lm is None:
                if not self.name:
                    raise WeltError(
                        "No language model is set: give the backend a name on the hub, or "
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
            self._guide = None

    def to_disk(self, path: Path) -> None:
        """Save the weights, if `store` is set, and the adapter, if there is one.

        path (Path): The folder of the component.
        """
        if self._lm is None and not self.store:
            return
        model, tokenizer = self.lm
        if hasattr(model, "peft_config"):
            model.save_pretrained(path / ADAPTER)
        elif self.store:
            model.save_pretrained(path / WEIGHTS)
            tokenizer.save_pretrained(path / WEIGHTS)

    def from_disk(self, path: Path) -> None:
        """Load what was saved. What was not is loaded when it is first needed.

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
        """Answer. See `Backend`."""
        model, tokenizer = self.lm
        from ..ml.encoder.fork_safety import calm_torch

        calm_torch()
        prompts = [
            encode_prompt(tokenizer, request.prompt, self.template_arguments)
            for request in requests
        ]
        window = window_of(model)
        done: list[Completion | None] = [None] * len(requests)
        fitting = []
        for i, (ids, request) in enumerate(zip(prompts, requests)):
            if len(ids) + request.max_tokens > window:
                done[i] = Completion(
                    "",
                    error=f"prompt and answer may have {len(ids)} + {request.max_tokens} "
                    f"tokens and the model takes {window}: set n_sents, so that long "
                    "texts are cut",
                )
            else:
                fitting.append(i)
        sizes = np.array(
            [len(prompts[i]) + requests[i].max_tokens for i in fitting], dtype="int64"
        )
        for group in bucket(sizes, self.batch_tokens) if fitting else ():
            rows = [fitting[place] for place in group.tolist()]
            found = self._generate(
                [prompts[row] for row in rows], [requests[row] for row in rows]
            )
            for row, completion in zip(rows, found):
                done[row] = completion
        return [completion for completion in done if completion is not None]

    def _guide_of(self, lm: CausalLM) -> "_Guide":
        with self._lock:
            if self._guide is None:
                self._guide = _make_guide(lm)
            return self._guide

    def _generate(
        self, prompts: list[list[int]], requests: list[Request]
    ) -> list[Completion]:
        import torch

        lm = self.lm
        guide = self._guide_of(lm)
        ends = ends_of(lm)
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), ends[0], dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        device = lm.model.device
        steps = _Steps(guide, requests, ends)
        with torch.inference_mode():
            made = lm.model.generate(
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
                logits_processor=[steps],
            )
        told = made[:, width:].tolist()
        log_probs = torch.stack(steps.log_probs, dim=1).tolist()
        return [
            _completion(guide.tokens, row[: request.max_tokens], sureness, ends, closed)
            for row, sureness, request, closed in zip(
                told, log_probs, requests, steps.closed
            )
        ]


class _Guide(NamedTuple):
    """A tokenizer as llguidance sees it.

    tokens (Any): An LLTokenizer.
    closers (ndarray): Shape (n_vocab,), bool: the tokens that bring an answer nearer to its
        end and begin nothing new.
    """

    tokens: Any
    closers: NDArray[np.bool_]


def _make_guide(lm: CausalLM) -> _Guide:
    with extra_needed("Constrained decoding", EXTRA):
        from llguidance.hf import from_tokenizer

    size = int(lm.model.get_input_embeddings().weight.shape[0])
    n_vocab = max(size, len(lm.tokenizer))
    tokens = from_tokenizer(lm.tokenizer, n_vocab=n_vocab, eos_token=ends_of(lm))
    told = [tokens.decode_bytes([i]) in CLOSERS for i in range(n_vocab)]
    return _Guide(tokens, np.array(told))


class _Steps:
    """A logits processor of transformers: keeps each row to its grammar, and notes the
    log-probabilities of what greedy search takes.
    """

    def __init__(self, guide: _Guide, requests: Sequence[Request], ends: list[int]):
        from llguidance import LLMatcher

        self.guide = guide
        self.requests = requests
        self.matchers = [
            None
            if request.grammar is None
            else LLMatcher(guide.tokens, request.grammar)
            for request in requests
        ]
        for matcher in self.matchers:
            _check(matcher)
        self.ends = ends
        self.log_probs: list[Any] = []
        self.done = [False] * len(requests)
        self.closed = [False] * len(requests)
        n_words = (guide.tokens.vocab_size + 31) // 32
        self.masks = np.zeros((len(requests), n_words), dtype="int32")

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        if self.log_probs:
            self._advance(input_ids[:, -1].tolist())
        scores = scores.float()
        if any(matcher is not None for matcher in self.matchers):
            allowed = self._allowed(scores.shape[1])
            if closing := self._closing():
                self._close(closing, allowed, scores)
            scores = scores.masked_fill(
                torch.from_numpy(~allowed).to(scores.device), float("-inf")
            )
        best = scores.max(dim=1).values
        self.log_probs.append((best - scores.logsumexp(dim=1)).cpu())
        return scores

    def _advance(self, tokens: list[int]) -> None:
        for row, (matcher, token) in enumerate(zip(self.matchers, tokens)):
            if self.done[row] or token in self.ends:
                self.done[row] = True
            elif matcher is not None:
                matcher.consume_token(token)
                _check(matcher)

    def _allowed(self, width: int) -> NDArray[np.bool_]:
        for row, matcher in enumerate(self.matchers):
            if matcher is None or self.done[row]:
                self.masks[row] = -1
            else:
                matcher.unsafe_compute_mask_ptr(
                    self.masks[row].ctypes.data, self.masks[row].nbytes
                )
        bits = np.unpackbits(
            self.masks.view("uint8"), axis=1, count=width, bitorder="little"
        )
        return bits.astype(bool)

    def _closing(self) -> list[int]:
        """The rows that have tokens left for an end alone."""
        return [
            row
            for row, request in enumerate(self.requests)
            if request.grammar is not None
            and not self.done[row]
            and request.max_tokens - len(self.log_probs) <= request.closing
        ]

    def _close(self, rows: list[int], allowed: NDArray[np.bool_], scores: Any) -> None:
        """Leave rows nothing but what ends an answer, where it may end or come nearer to
        its end; note whether they wanted something else.
        """
        import torch

        mine = torch.from_numpy(~allowed[rows]).to(scores.device)
        wanted = scores[rows].masked_fill(mine, float("-inf")).argmax(dim=1).tolist()
        for row, token in zip(rows, wanted):
            closing = allowed[row] & self.guide.closers[: allowed.shape[1]]
            if closing.any():
                self.closed[row] |= not closing[token]
                allowed[row] = closing


def _check(matcher: Any) -> None:
    if matcher is not None and matcher.is_error():
        raise WeltError(
            f"Constrained decoding has failed: {first_line(ValueError(matcher.get_error()))}"
        )


def ends_of(lm: CausalLM) -> list[int]:
    """Find the tokens that end an answer.

    lm (CausalLM): The model.
    RETURNS (list[int]): Their ids, at least one.
    RAISES (WeltError): If neither tokenizer nor model tell.
    """
    told = getattr(lm.model.generation_config, "eos_token_id", None)
    several = told if isinstance(told, (list, tuple)) else [told]
    found = [lm.tokenizer.eos_token_id, *several]
    ends = list(dict.fromkeys(int(token) for token in found if token is not None))
    if not ends:
        raise WeltError("The language model has no token that ends an answer")
    return ends


def _completion(
    guide: Any,
    tokens: list[int],
    log_probs: list[float],
    ends: list[int],
    closed: bool,
) -> Completion:
    n = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    # A character may have several tokens, so the bytes are joined before they are read
    data = b""
    places = []
    for token, value in zip(tokens[:n], log_probs):
        data += guide.decode_bytes([token])
        places.append((len(data.decode("utf8", errors="ignore")), value))
    text = data.decode("utf8", errors="ignore")
    return Completion(text, places, cut_off=closed or n == len(tokens))
