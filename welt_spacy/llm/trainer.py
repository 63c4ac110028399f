"""Train a language model with the `Trainer` of transformers, which supports several GPUs and
nodes, FSDP and DeepSpeed.

Importing this module does not import torch, which is part of an extra.
"""

import contextlib
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import srsly
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.util import get_torch_default_device

from ..errors import WeltError, extra_needed
from ..pipeline.inference import predict_examples
from ..scoring.strict import ner_score
from ..tokens.docs import bare_doc, read_docs
from ..util.files import write_atomically
from .causal_lm import EXTRA, CausalLM, TransformersBackend, load_causal_lm
from .finetune_config import FinetuneConfig
from .finetune_data import (
    IGNORED,
    TrainingRows,
    make_training_rows,
    sample_dev_docs,
)
from .generative_ner import GenerativeNER

# The file that is written to a checkpoint after all others
COMPLETE = "complete.json"
METRICS = ("ents_f", "ents_p", "ents_r")


@dataclass(frozen=True)
class TrainedPipeline:
    """Result of `train_pipeline`.

    nlp (Language): The pipeline with the best model. Its meta has the counts of the training
        data, the step of the model, and its strict F1 on dev if it was evaluated.
    history (list[dict[str, Any]]): The log: losses, and scores on dev.
    """

    nlp: Language
    history: list[dict[str, Any]]


def train_pipeline(config: FinetuneConfig, folder: Path) -> TrainedPipeline:
    """Train a language model and return it in a pipeline."""
    with extra_needed("Fine-tuning", EXTRA):
        import accelerate  # noqa: F401  the Trainer needs it
        import peft  # noqa: F401
        import transformers  # noqa: F401
    with _seeded(config.seed):
        vocab = spacy.blank("en").vocab
        docs = read_docs(config.train, vocab)
        dev = read_docs(config.dev, vocab)
        labels = config.labels or sorted({e.label_ for doc in docs for e in doc.ents})
        if not labels:
            raise WeltError(
                f"{config.train}: it has no entities. Set labels, or use other data"
            )
        lm = _load_model(config)
        revision = config.revision or getattr(lm.model.config, "_commit_hash", None)
        data = make_training_rows(docs, config, lm.tokenizer, labels)
        lm = _add_adapter(lm, config)
        nlp = make_pipeline(config, labels, lm, revision)
        trainer = _make_trainer(
            nlp, lm, data, sample_dev_docs(dev, config), config, folder
        )
        trainer.train(resume_from_checkpoint=find_checkpoint(folder))
        model = trainer.model.eval()
        if config.lora is not None and config.merge:
            model = model.merge_and_unload()
    _set_lm(nlp, CausalLM(model, lm.tokenizer))
    _add_meta(nlp, trainer.state, data, config, revision)
    return TrainedPipeline(nlp, list(trainer.state.log_history))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Set the seed of all random number generators. Their states, and the environment variables that
    accelerate is configured with, are restored at the end.
    """
    import torch
    import transformers

    python_state, numpy_state = random.getstate(), np.random.get_state()
    environment = _get_accelerate_variables()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            transformers.set_seed(seed)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            for name in _get_accelerate_variables():
                del os.environ[name]
            os.environ.update(environment)


def _get_accelerate_variables() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k.startswith("ACCELERATE_")}


def _uses_bf16(config: FinetuneConfig) -> bool:
    import torch

    on_gpu = get_torch_default_device().type == "cuda"
    return config.bf16 and on_gpu and torch.cuda.is_bf16_supported()


def _load_model(config: FinetuneConfig) -> CausalLM:
    # Weights that are trained are stored in full precision
    is_frozen = config.lora is not None
    dtype = "bfloat16" if is_frozen and _uses_bf16(config) else "float32"
    lm = load_causal_lm(config.model, revision=config.revision, dtype=dtype)
    if lm.tokenizer.eos_token_id is None:
        raise WeltError(
            f"{config.model}: the tokenizer has no token that ends a text. Set eos_token in "
            "its tokenizer_config.json"
        )
    if lm.tokenizer.pad_token_id is None:
        lm.tokenizer.pad_token = lm.tokenizer.eos_token
    return lm


def _add_adapter(lm: CausalLM, config: FinetuneConfig) -> CausalLM:
    import peft

    if config.lora is None:
        return lm
    if config.gradient_checkpointing:
        lm.model.enable_input_require_grads()
    adapter = peft.LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=config.lora.target_modules,
        task_type="CAUSAL_LM",
    )
    return CausalLM(peft.get_peft_model(lm.model, adapter), lm.tokenizer)


def make_pipeline(
    config: FinetuneConfig, labels: Sequence[str], lm: CausalLM, revision: str | None
) -> Language:
    """Create a pipeline with a sentencizer, if prompts need it, and `generative_ner`."""
    nlp = spacy.blank(
        "en",
        config={"nlp": {"tokenizer": {"@tokenizers": "welt_spacy.BioTokenizer.v1"}}},
    )
    if config.n_sents:
        nlp.add_pipe("welt_sentencizer")
    nlp.add_pipe(
        "generative_ner",
        config={
            "labels": list(labels),
            "n_sents": config.n_sents,
            "max_response_tokens": config.max_response_tokens,
            "prompt": {
                "@misc": "welt_spacy.JsonPrompt.v1",
                "instruction": config.instruction,
                "definitions": config.definitions,
            },
            "backend": {
                "@misc": "welt_spacy.TransformersBackend.v1",
                "name": config.model,
                "revision": revision,
                "store": config.lora is None or config.merge,
            },
        },
    )
    _set_lm(nlp, lm)
    return nlp


def _set_lm(nlp: Language, lm: CausalLM) -> None:
    pipe = nlp.get_pipe("generative_ner")
    assert isinstance(pipe, GenerativeNER)
    assert isinstance(pipe.backend, TransformersBackend)
    pipe.backend.lm = lm


def find_checkpoint(folder: Path) -> str | None:
    """Return the last complete checkpoint, if there is one, and delete newer ones."""
    checkpoints = sorted(
        folder.glob("checkpoint-*"), key=lambda path: _get_step(path.name), reverse=True
    )
    for path in checkpoints:
        if (path / COMPLETE).is_file():
            return str(path)
        shutil.rmtree(path)
    return None


def _get_step(checkpoint: str) -> int:
    return int(checkpoint.rpartition("-")[2])


def _make_arguments(config: FinetuneConfig, folder: Path, n_rows: int) -> Any:
    """Return the `TrainingArguments` for a number of training documents."""
    import transformers

    evaluates = config.eval_every > 0
    every = config.eval_every or config.save_every
    per_epoch = -(-n_rows // (config.batch_size * config.accumulate))
    steps = config.steps or max(1, round(config.epochs * per_epoch))
    on_gpu = get_torch_default_device().type == "cuda"
    return transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        learning_rate=config.learning_rate,
        warmup_steps=round(config.warmup * steps),
        lr_scheduler_type=config.schedule,
        weight_decay=config.weight_decay,
        bf16=_uses_bf16(config),
        use_cpu=not on_gpu,
        gradient_checkpointing=config.gradient_checkpointing,
        logging_steps=max(1, min(50, every)),
        eval_strategy="steps" if evaluates else "no",
        eval_steps=every if evaluates else None,
        save_strategy="steps",
        save_steps=every,
        # The best, the last, and the one before, until the last is complete
        save_total_limit=3,
        load_best_model_at_end=evaluates,
        metric_for_best_model="ents_f" if evaluates else None,
        greater_is_better=True if evaluates else None,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=None,
        seed=config.seed,
        data_seed=config.seed,
        dataloader_pin_memory=on_gpu,
    )


def _make_trainer(
    nlp: Language,
    lm: CausalLM,
    data: TrainingRows,
    dev: Sequence[Doc],
    config: FinetuneConfig,
    folder: Path,
) -> Any:
    import transformers

    class Trainer(transformers.Trainer):
        """Evaluates generated responses instead of the loss."""

        def evaluate(
            self: Any,
            eval_dataset: Any = None,
            ignore_keys: Any = None,
            metric_key_prefix: str = "eval",
        ) -> dict[str, float]:
            examples = [Example(bare_doc(doc), doc) for doc in dev]
            predict_examples(nlp, examples)
            scores = ner_score(examples)
            metrics = {
                f"{metric_key_prefix}_{name}": float(scores[name] or 0.0)
                for name in METRICS
            }
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(
                self.args, self.state, self.control, metrics
            )
            return metrics

    class MarkComplete(transformers.TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                step = srsly.json_dumps({"step": state.global_step})
                write_atomically(path / COMPLETE, step)

    return Trainer(
        model=lm.model,
        args=_make_arguments(config, folder, len(data.rows)),
        train_dataset=data.rows,
        eval_dataset=data.rows[:1] if config.eval_every else None,
        data_collator=transformers.DataCollatorForSeq2Seq(
            lm.tokenizer, label_pad_token_id=IGNORED, padding="longest"
        ),
        callbacks=[MarkComplete()],
    )


def _add_meta(
    nlp: Language,
    state: Any,
    data: TrainingRows,
    config: FinetuneConfig,
    revision: str | None,
) -> None:
    step, best = state.global_step, None
    if config.eval_every:
        best = state.best_metric
        if state.best_model_checkpoint:
            step = _get_step(Path(state.best_model_checkpoint).name)
    nlp.meta["performance"] = {} if best is None else {"ents_f": best}
    nlp.meta["finetuned"] = {
        "model": config.model,
        "revision": revision,
        "docs": len(data.rows),
        "without_entities": data.n_negatives,
        "too_long": data.n_too_long,
        "step": step,
        "ents_f": best,
    }
