"""Fine-tune a language model on gold data, and write it as a pipeline.

Importing this module does not import torch, which is part of an extra.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import srsly

from ..errors import extra_needed
from ..util.fingerprint import Fingerprint, fingerprint
from ..util.output_folder import OutputFolder
from ..util.pipelines import use_gpu
from .causal_lm import EXTRA, clear_errors
from .finetune_config import FinetuneConfig
from .trainer import train_pipeline

COMMAND = "spacy welt finetune"
# The record has its own name, because other commands write to the folder, too
RECORD, MODEL, HISTORY = "finetuned.json", "model-best", "history.json"


@dataclass(frozen=True)
class FinetuneResult:
    """Result of `finetune`.

    model (Path): The pipeline.
    step (int): The update at which its checkpoint was written.
    ents_f (float | None): Its strict F1 on dev, if it was evaluated.
    is_new (bool): Whether it was trained; if not, it was up to date.
    """

    model: Path
    step: int
    ents_f: float | None
    is_new: bool


def finetune(config: FinetuneConfig, *, gpu_id: int = -1) -> FinetuneResult:
    """Train a language model to respond in JSON. If the output is up to date, nothing is
    trained; if the last call was killed, training resumes from its last checkpoint.

    config (FinetuneConfig): The settings.
    gpu_id (int): The GPU; -1 for the CPU.
    RETURNS (FinetuneResult): The pipeline.
    RAISES (WeltError): If the data or the model can't be loaded, a package is missing, the
        output folder has files of others in places that are written, or another process writes
        there.
    """
    use_gpu(gpu_id)
    current = get_fingerprint(config)
    output = config.output
    model, checkpoints = output / MODEL, f"checkpoints-{current.digest[:16]}"
    with OutputFolder(output, COMMAND, record=RECORD) as folder:
        is_new = not folder.is_current(current)
        if is_new:
            folder.check((MODEL, HISTORY))
            folder.start(current, [checkpoints])
            # A call that was killed during the cleanup has written the model
            if not folder.has(MODEL):
                trained = train_pipeline(config, output / checkpoints)
                folder.add(HISTORY, srsly.json_dumps(trained.history, indent=2))
                with folder.add_folder(MODEL) as path:
                    trained.nlp.to_disk(path)
            shutil.rmtree(output / checkpoints, ignore_errors=True)
            meta = srsly.read_json(model / "meta.json")["finetuned"]
            folder.finish({name: meta[name] for name in ("step", "ents_f")})
        return FinetuneResult(model, is_new=is_new, **folder.summary)


def get_fingerprint(config: FinetuneConfig) -> Fingerprint:
    """Compute the fingerprint of a fine-tuning. A base model on the hub is identified by its
    commit, for which its config.json is fetched; a folder by its content.
    """
    settings = config.model_dump(exclude={"train", "dev", "output"})
    files = {"train": config.train, "dev": config.dev}
    if Path(config.model).exists():
        return fingerprint(settings, files=files, models={"model": config.model})
    settings["commit"] = _fetch_commit(config.model, config.revision)
    return fingerprint(settings, files=files)


def _fetch_commit(name: str, revision: str | None) -> str:
    with extra_needed("Fine-tuning", EXTRA):
        from huggingface_hub import hf_hub_download
    with clear_errors(f"the language model {name!r}"):
        file = hf_hub_download(name, "config.json", revision=revision)
    # The local cache has a folder for each commit
    return Path(file).parent.name
