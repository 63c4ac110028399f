"""What a language model is tuned on and how, from a YAML file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import WeltError, check_number
from ..util.yaml import read_yaml
from .prompts import INSTRUCTION

SCHEDULES = ("cosine", "linear", "constant", "constant_with_warmup")


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter (Hu et al. 2022).

    r (int): Its rank.
    alpha (int): The scale of its output is alpha / r.
    dropout (float): Of its input.
    target_modules (Any): Names of layers, or "all-linear".
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.05
    target_modules: Any = "all-linear"


@dataclass(frozen=True)
class FinetuneConfig:
    """A language model to be tuned. The paper (Chen et al. 2025) does not tell its own
    settings; these are common ones.

    model (str): The name of the model on the hub, or its folder.
    train, dev (str): `.spacy` files. What is reported is chosen on dev.
    output (str): The folder to write: `model-best` in it is a pipeline.
    revision (str | None): The commit, branch or tag on the hub.
    labels (list[str]): The types that are asked for; those of the training data if empty.
    instruction (str), definitions (dict[str, str]): See `JsonPrompt`.
    n_sents (int): Sentences that the pipeline asks about at once; 0: whole docs. As in the
        training data.
    max_length (int): The most tokens of prompt and answer in training; what is longer is
        left out, and counted.
    max_response_tokens (int): The most tokens of an answer, in prediction.
    negatives (float): The share of the docs without entities to train on, in [0, 1].
    lora (Lora | None): The adapter; None: all weights are tuned.
    merge (bool): Whether the adapter is added to the weights, which are then saved with
        the pipeline.
    steps (int): Updates; 0: as many as `epochs` takes.
    epochs (float): Passes over the training data, if `steps` is 0.
    learning_rate (float), warmup (float), schedule (str), weight_decay (float): Of AdamW;
        warmup is a share of the steps.
    batch_size (int), accumulate (int): Docs in a batch, and batches in an update, on each
        device.
    bf16 (bool): Whether to train in bfloat16 on a GPU.
    gradient_checkpointing (bool): Whether to compute activations again, for memory.
    eval_every (int): Steps between two evaluations by strict F1 on answers for dev; the
        best checkpoint wins. 0: none, and the last wins.
    eval_docs (int): So many docs of dev, drawn at random; 0: all.
    save_every (int): Steps between two checkpoints, if `eval_every` is 0.
    seed (int): Of all that is drawn.
    """

    model: str
    train: str
    dev: str
    output: str
    revision: str | None = None
    labels: list[str] = field(default_factory=list)
    instruction: str = INSTRUCTION
    definitions: dict[str, str] = field(default_factory=dict)
    n_sents: int = 1
    max_length: int = 1024
    max_response_tokens: int = 512
    negatives: float = 1.0
    lora: Lora | None = field(default_factory=Lora)
    merge: bool = False
    steps: int = 0
    epochs: float = 3.0
    learning_rate: float = 2e-4
    warmup: float = 0.03
    schedule: str = "cosine"
    weight_decay: float = 0.0
    batch_size: int = 8
    accumulate: int = 2
    bf16: bool = True
    gradient_checkpointing: bool = True
    eval_every: int = 200
    eval_docs: int = 200
    save_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        """RAISES (WeltError): If a setting is out of its range."""
        for name in ("n_sents", "steps", "eval_every", "eval_docs", "seed"):
            check_number(name, getattr(self, name), low=0)
        for name in ("max_length", "max_response_tokens", "batch_size", "accumulate"):
            check_number(name, getattr(self, name), low=1)
        check_number("save_every", self.save_every, low=1)
        check_number("negatives", self.negatives, low=0, high=1)
        check_number("epochs", self.epochs, above=0)
        check_number("learning_rate", self.learning_rate, above=0)
        check_number("warmup", self.warmup, low=0, high=1)
        check_number("weight_decay", self.weight_decay, low=0)
        if self.schedule not in SCHEDULES:
            raise WeltError(
                f"schedule is {self.schedule!r}: use one of {', '.join(SCHEDULES)}"
            )
        if self.lora is not None:
            check_number("lora.r", self.lora.r, low=1)
            check_number("lora.alpha", self.lora.alpha, above=0)
            check_number("lora.dropout", self.lora.dropout, low=0, below=1)
        elif self.merge:
            raise WeltError("merge is true, but lora is null: there is no adapter")

    @property
    def key(self) -> str:
        """RETURNS (str): All settings as JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def read_finetune_config(path: Path, overrides: Mapping[str, Any]) -> FinetuneConfig:
    """Read the settings.

    path (Path): A YAML file with the fields of `FinetuneConfig`; paths in it start where the
        command runs.
    overrides (Mapping[str, Any]): Other values; "lora.r" is that of `lora`.
    RETURNS (FinetuneConfig): The settings.
    RAISES (WeltError): If the file is missing, or a setting is unknown, missing, of
        another type or out of its range.
    """
    found = read_yaml(path, "the settings")
    if not isinstance(found, dict):
        raise WeltError(f"{path} must have the keys model, train, dev, output")
    values = dict(found)
    for name, value in overrides.items():
        if name.startswith("lora."):
            values["lora"] = {**(values.get("lora") or {}), name[5:]: value}
        else:
            values[name] = value
    try:
        if isinstance(values.get("lora"), dict):
            values["lora"] = Lora(**_checked(Lora, values["lora"], "lora."))
        return FinetuneConfig(**_checked(FinetuneConfig, values, ""))
    except WeltError as err:
        raise WeltError(f"{path}: {err}") from None


_KINDS: dict[Any, Any] = {
    int: int,
    float: (int, float),
    bool: bool,
    str: str,
    str | None: (str, type(None)),
    list[str]: list,
    dict[str, str]: dict,
    Lora | None: (Lora, type(None)),
    Any: object,
}


def _checked(kind: Any, values: Mapping[str, Any], before: str) -> dict[str, Any]:
    known = {entry.name: entry for entry in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise WeltError(
            f"unknown key {before + unknown[0]!r}; known are {', '.join(known)}"
        )
    for name, value in values.items():
        wanted = _KINDS[known[name].type]
        is_flag = isinstance(value, bool) and known[name].type in (int, float)
        if not isinstance(value, wanted) or is_flag:
            raise WeltError(f"{before}{name} is {value!r}, which is of another type")
    needed = [name for name in ("model", "train", "dev", "output") if name in known]
    for name in needed:
        if not values.get(name):
            raise WeltError(f"{name} is missing")
    return dict(values)
