"""A language model tuned on docs, by transformers' `Trainer`: several GPUs and nodes, FSDP and
DeepSpeed come with it.

Importing this module does not import torch: it is an extra.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
from ..tokens.annotated_labels import is_annotated
from ..tokens.docs import bare_doc, read_docs
from ..util.files import write_atomically
from .causal_lm import EXTRA, CausalLM, encode_prompt, load_causal_lm
from .finetune_config import FinetuneConfig
from .generative_ner import GenerativeNER
from .prompts import JsonPrompt
from .responses import make_response

IGNORED = -100  # what torch's cross entropy leaves out
# In a checkpoint's folder once it is whole
MARKER = "whole.json"


class TrainingData(NamedTuple):
    """Docs as token ids.

    rows (list[dict[str, list[int]]]): "input_ids" and "labels", where the prompt's are
        -100, for each doc.
    too_long (int): Docs that were left out.
    negatives (int): Docs without entities among the rows.
    """

    rows: list[dict[str, list[int]]]
    too_long: int
    negatives: int


class Finetuned(NamedTuple):
    """What came of it.

    nlp (Language): The pipeline.
    history (list[dict[str, Any]]): What was logged: losses, and scores on dev.
    best (float | None): The best strict F1 on dev, if it was measured.
    step (int): The update that it is from.
    """

    nlp: Language
    history: list[dict[str, Any]]
    best: float | None
    step: int


def make_rows(
    docs: Sequence[Doc], settings: FinetuneConfig, tokenizer: Any, labels: Sequence[str]
) -> TrainingData:
    """Turn docs into prompts and right answers.

    docs (Sequence[Doc]): The docs, with gold entities.
    settings (FinetuneConfig): The settings.
    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    labels (Sequence[str]): The types that are asked for; of these, a doc in which others
        were not looked for has its own.
    RETURNS (TrainingData): The ids. The loss is on the answer alone, and on the token that
        ends it.
    RAISES (WeltError): If nothing is left.
    """
    prompt = JsonPrompt(settings.instruction, settings.definitions)
    rng = np.random.default_rng(settings.seed)
    empty = [i for i, doc in enumerate(docs) if not doc.ents]
    n = int(np.floor(settings.negatives * len(empty) + 0.5))
    dropped = {empty[place] for place in rng.permutation(len(empty))[n:].tolist()}
    rows, too_long, negatives = [], 0, 0
    for i, doc in enumerate(docs):
        if i in dropped or not doc.text.strip():
            continue
        asked = [label for label in labels if is_annotated(doc, label)]
        before = encode_prompt(tokenizer, prompt(doc[:].text, asked))
        answer = tokenizer(make_response(doc, asked), add_special_tokens=False)
        told = [*answer["input_ids"], tokenizer.eos_token_id]
        if len(before) + len(told) > settings.max_length:
            too_long += 1
            continue
        negatives += not doc.ents
        rows.append(
            {
                "input_ids": [*before, *told],
                "labels": [IGNORED] * len(before) + told,
            }
        )
    if not rows:
        raise WeltError(
            f"No training doc is left: {too_long} are longer than max_length, "
            f"{settings.max_length} tokens"
        )
    return TrainingData(rows, too_long, negatives)


def finetune(settings: FinetuneConfig, folder: Path) -> Finetuned:
    """Tune a language model.

    settings (FinetuneConfig): The settings.
    folder (Path): Where checkpoints are. The last whole one in it is taken up again.
    RETURNS (Finetuned): The pipeline with the best model, and what was logged.
    RAISES (WeltError): If the data or the model can't be loaded, or a package is missing.
    """
    with extra_needed("Fine-tuning", EXTRA):
        import accelerate  # noqa: F401  the Trainer needs it
        import peft
        import torch
        import transformers

    transformers.set_seed(settings.seed)
    on_gpu = get_torch_default_device().type == "cuda"
    halves = settings.bf16 and on_gpu and torch.cuda.is_bf16_supported()
    blank = spacy.blank("en")
    docs = read_docs(Path(settings.train), blank.vocab)
    dev = read_docs(Path(settings.dev), blank.vocab)
    labels = settings.labels or sorted({e.label_ for doc in docs for e in doc.ents})
    if not labels:
        raise WeltError(f"{settings.train} has no entities, and no labels are set")
    # Of all weights that are trained, there is a copy in full precision
    dtype = "bfloat16" if halves and settings.lora is not None else "float32"
    lm = load_causal_lm(settings.model, revision=settings.revision, dtype=dtype)
    tokenizer = lm.tokenizer
    if tokenizer.eos_token_id is None:
        raise WeltError(f"The tokenizer of {settings.model} has no token for an end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    data = make_rows(docs, settings, tokenizer, labels)
    model = lm.model
    revision = settings.revision or getattr(model.config, "_commit_hash", None)
    if settings.lora is not None:
        if settings.gradient_checkpointing:
            model.enable_input_require_grads()
        model = peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=settings.lora.r,
                lora_alpha=settings.lora.alpha,
                lora_dropout=settings.lora.dropout,
                target_modules=settings.lora.target_modules,
                task_type="CAUSAL_LM",
            ),
        )
    nlp = make_pipeline(settings, labels, CausalLM(model, tokenizer), revision)
    evaluates = settings.eval_every > 0
    every = settings.eval_every or settings.save_every
    per_epoch = -(-len(data.rows) // (settings.batch_size * settings.accumulate))
    steps = settings.steps or max(1, round(settings.epochs * per_epoch))
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup * steps),
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        bf16=halves,
        use_cpu=not on_gpu,
        gradient_checkpointing=settings.gradient_checkpointing,
        logging_steps=max(1, min(50, every)),
        eval_strategy="steps" if evaluates else "no",
        eval_steps=every if evaluates else None,
        save_strategy="steps",
        save_steps=every,
        # The best, the last, and the one before, until the last is whole
        save_total_limit=3,
        load_best_model_at_end=evaluates,
        metric_for_best_model="ents_f" if evaluates else None,
        greater_is_better=True if evaluates else None,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=None,
        seed=settings.seed,
        data_seed=settings.seed,
        dataloader_pin_memory=on_gpu,
    )
    trainer = _make_trainer(
        nlp,
        _draw(dev, settings),
        model=model,
        args=arguments,
        train_dataset=data.rows,
        eval_dataset=data.rows[:1] if evaluates else None,
        data_collator=transformers.DataCollatorForSeq2Seq(
            tokenizer, label_pad_token_id=IGNORED, padding="longest"
        ),
    )
    trainer.train(resume_from_checkpoint=last_whole(folder))
    model = trainer.model.eval()
    if settings.lora is not None and settings.merge:
        model = model.merge_and_unload()
    pipe = nlp.get_pipe("generative_ner")
    assert isinstance(pipe, GenerativeNER)
    pipe.backend.lm = CausalLM(model, tokenizer)  # type: ignore[attr-defined]
    best = trainer.state.best_metric if evaluates else None
    step = trainer.state.global_step
    if evaluates and trainer.state.best_model_checkpoint:
        step = int(Path(trainer.state.best_model_checkpoint).name.rpartition("-")[2])
    nlp.meta["performance"] = {} if best is None else {"ents_f": best}
    nlp.meta["finetuned"] = {
        "model": settings.model,
        "revision": revision,
        "docs": len(data.rows),
        "without_entities": data.negatives,
        "too_long": data.too_long,
        "step": step,
        "ents_f": best,
    }
    return Finetuned(nlp, list(trainer.state.log_history), best, step)


def make_pipeline(
    settings: FinetuneConfig, labels: Sequence[str], lm: CausalLM, revision: str | None
) -> Language:
    """Make the pipeline around a language model.

    settings (FinetuneConfig): The settings.
    labels (Sequence[str]): The types that are asked for.
    lm (CausalLM): The model.
    revision (str | None): Its revision on the hub.
    RETURNS (Language): A pipeline with a sentencizer and `generative_ner`.
    """
    nlp = spacy.blank(
        "en",
        config={"nlp": {"tokenizer": {"@tokenizers": "welt_spacy.BioTokenizer.v1"}}},
    )
    if settings.n_sents:
        nlp.add_pipe("welt_sentencizer")
    pipe = nlp.add_pipe(
        "generative_ner",
        config={
            "labels": list(labels),
            "n_sents": settings.n_sents,
            "max_response_tokens": settings.max_response_tokens,
            "prompt": {
                "@misc": "welt_spacy.JsonPrompt.v1",
                "instruction": settings.instruction,
                "definitions": settings.definitions,
            },
            "backend": {
                "@misc": "welt_spacy.TransformersBackend.v1",
                "name": settings.model,
                "revision": revision,
                "store": settings.lora is None or settings.merge,
            },
        },
    )
    assert isinstance(pipe, GenerativeNER)
    pipe.backend.lm = lm  # type: ignore[attr-defined]
    return nlp


def last_whole(folder: Path) -> str | None:
    """Find the last checkpoint that was written to its end, and delete others that are
    newer.

    folder (Path): The folder of checkpoints.
    RETURNS (str | None): Its folder; None if there is none.
    """
    found = sorted(
        folder.glob("checkpoint-*"),
        key=lambda path: int(path.name.rpartition("-")[2]),
        reverse=True,
    )
    for path in found:
        if (path / MARKER).is_file():
            return str(path)
        shutil.rmtree(path)
    return None


def _draw(docs: Sequence[Doc], settings: FinetuneConfig) -> list[Doc]:
    if not settings.eval_docs or settings.eval_docs >= len(docs):
        return list(docs)
    rng = np.random.default_rng(settings.seed)
    places = rng.permutation(len(docs))[: settings.eval_docs]
    return [docs[i] for i in sorted(places.tolist())]


def _make_trainer(nlp: Language, dev: Sequence[Doc], **settings: Any) -> Any:
    import transformers

    class Trainer(transformers.Trainer):
        """Scores answers that are generated, instead of the loss."""

        def evaluate(
            self: Any,
            eval_dataset: Any = None,
            ignore_keys: Any = None,
            metric_key_prefix: str = "eval",
        ) -> dict[str, float]:
            examples = [Example(bare_doc(doc), doc) for doc in dev]
            predict_examples(nlp, examples)
            scores = ner_score(examples)
            found = {
                f"{metric_key_prefix}_{name}": float(scores[name] or 0.0)
                for name in ("ents_f", "ents_p", "ents_r")
            }
            self.log(found)
            self.control = self.callback_handler.on_evaluate(
                self.args, self.state, self.control, found
            )
            return found

    class MarkWhole(transformers.TrainerCallback):
        """Called when all files of a checkpoint are there."""

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                told = srsly.json_dumps({"step": state.global_step})
                write_atomically(path / MARKER, told)

    return Trainer(callbacks=[MarkWhole()], **settings)
