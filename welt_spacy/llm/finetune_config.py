"""The settings of `spacy welt finetune`, from a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from ..util.yaml import YamlModel, read_yaml_model
from .prompts import INSTRUCTION


class LoraConfig(YamlModel):
    """A low-rank adapter (Hu et al. 2022).

    r (int): The rank.
    alpha (int): The output is scaled by alpha / r.
    dropout (float): Dropout rate of the input.
    target_modules (str | list[str]): Names of layers, or "all-linear".
    """

    model_config = ConfigDict(allow_inf_nan=False)

    r: int = Field(16, ge=1)
    alpha: int = Field(32, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class FinetuneConfig(YamlModel):
    """The settings of a fine-tuning. Chen et al. (2025) do not report theirs, so defaults are
    common practice.

    model (str): The name of the base model on the hub, or its folder.
    train (Path): The `.spacy` file of the training data.
    dev (Path): The `.spacy` file on which the best checkpoint is chosen.
    output (Path): The folder to write; its `model-best` is a pipeline.
    revision (str | None): The commit, branch or tag of the base model on the hub.
    labels (list[str]): The labels to prompt for; those of the training data if empty.
    instruction (str): See `JsonPrompt`.
    definitions (dict[str, str]): See `JsonPrompt`.
    n_sents (int): Number of sentences per prompt of the pipeline; 0 for whole documents. Use
        the number of the documents of the training data.
    max_length (int): Maximum number of tokens of prompt and response in training. Longer
        documents are left out and counted.
    max_response_tokens (int): Maximum number of tokens of a response of the pipeline.
    keep_negatives (float): Share of the documents without entities to train on, in [0, 1].
    lora (LoraConfig | None): The adapter; None to train all weights.
    merge (bool): Whether to merge the adapter into the weights, which are then saved with the
        pipeline.
    steps (int): Number of updates; 0 for as many as `epochs` has.
    epochs (float): Number of passes over the training data if `steps` is 0.
    learning_rate (float): Peak learning rate of AdamW.
    warmup (float): Share of the steps in which the learning rate increases.
    schedule (str): Learning rate schedule.
    weight_decay (float): Weight decay of AdamW.
    batch_size (int): Number of documents per batch and device.
    accumulate (int): Number of batches per update.
    bf16 (bool): Whether to train in bfloat16 on GPUs that have it.
    gradient_checkpointing (bool): Whether to recompute activations to save memory.
    eval_every (int): Number of steps between two evaluations by strict F1 of generated
        responses on dev; the best checkpoint is used. 0 for none; the last one is used.
    eval_docs (int): Number of dev documents to sample for evaluation; 0 for all.
    save_every (int): Number of steps between two checkpoints if `eval_every` is 0.
    seed (int): Random seed.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    model: str = Field(min_length=1)
    train: Path
    dev: Path
    output: Path
    revision: str | None = None
    labels: list[str] = []
    instruction: str = INSTRUCTION
    definitions: dict[str, str] = {}
    n_sents: int = Field(1, ge=0)
    max_length: int = Field(1024, ge=1)
    max_response_tokens: int = Field(512, ge=1)
    keep_negatives: float = Field(1.0, ge=0, le=1)
    lora: LoraConfig | None = LoraConfig()
    merge: bool = False
    steps: int = Field(0, ge=0)
    epochs: float = Field(3.0, gt=0)
    learning_rate: float = Field(2e-4, gt=0)
    warmup: float = Field(0.03, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    weight_decay: float = Field(0.0, ge=0)
    batch_size: int = Field(8, ge=1)
    accumulate: int = Field(2, ge=1)
    bf16: bool = True
    gradient_checkpointing: bool = True
    eval_every: int = Field(200, ge=0)
    eval_docs: int = Field(200, ge=0)
    save_every: int = Field(200, ge=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check_merge(self) -> "FinetuneConfig":
        if self.merge and self.lora is None:
            raise ValueError("merge is true, but lora is null: there is no adapter")
        return self


def read_finetune_config(path: Path, overrides: Mapping[str, Any]) -> FinetuneConfig:
    """Read the settings of a fine-tuning."""

    def change(values: dict[str, Any]) -> dict[str, Any]:
        values = dict(values)
        for name, value in overrides.items():
            if name.startswith("lora."):
                values["lora"] = {**(values.get("lora") or {}), name[5:]: value}
            else:
                values[name] = value
        return values

    return read_yaml_model(path, FinetuneConfig, "the settings", change=change)
