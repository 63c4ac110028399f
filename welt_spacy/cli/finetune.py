"""`spacy welt finetune`: a language model tuned on docs."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import srsly
import typer

from ..corpora.convert import sha256
from ..errors import WeltError
from ..llm.finetune import finetune
from ..llm.finetune_config import FinetuneConfig, read_finetune_config
from ..util.files import exclusive_lock, write_atomically
from ..util.pipelines import is_pipeline, replace_pipeline, use_gpu
from ._util import GPU_ID, one_line_errors, sigterm_ends

DONE, CHECKPOINTS, MODEL = "finetuned.json", "checkpoints", "model-best"


@one_line_errors
def finetune_cli(
    config: Path = typer.Argument(
        ...,
        help="A YAML file with the settings, such as configs/finetune.yml.",
    ),
    changed: list[str] | None = typer.Option(
        None,
        "--set",
        "-s",
        metavar="NAME=VALUE",
        help="Another value of a setting, such as steps=500 or lora.r=32; can be repeated.",
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Tune a language model, so that it answers in JSON.

    A run that is ended is taken up again at its last checkpoint.
    """
    settings = read_finetune_config(config, _overrides(changed or []))
    output = Path(settings.output)
    use_gpu(gpu_id)
    with sigterm_ends(), exclusive_lock(output):
        key = _key(settings)
        model, done = output / MODEL, output / DONE
        if _is_done(done, key) and is_pipeline(model):
            typer.echo(f"✔ {model} is up to date")
            return
        if model.exists() and not done.is_file():
            raise WeltError(
                f"{model} was not made by 'spacy welt finetune', so it is not replaced: "
                "use another output"
            )
        folder = output / CHECKPOINTS / key[:16]
        folder.mkdir(parents=True, exist_ok=True)
        found = finetune(settings, folder)
        with replace_pipeline(model, force=True) as save:
            save(found.nlp)
        told = {"key": key, "step": found.step, "ents_f": found.best}
        write_atomically(
            done, srsly.json_dumps({**told, "history": found.history}, indent=2)
        )
        shutil.rmtree(folder)
    if found.best is not None:
        typer.echo(f"Best on dev: F1 {100 * found.best:.2f} at step {found.step}")
    typer.echo(f"✔ {model}")


def _overrides(changed: list[str]) -> dict[str, Any]:
    found = {}
    for text in changed:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise WeltError(f"--set {text!r}: use NAME=VALUE, such as steps=500")
        try:
            found[name] = srsly.yaml_loads(value)
        except Exception:  # ruamel has many
            found[name] = value
    return found


def _key(settings: FinetuneConfig) -> str:
    data = b"".join(_read(Path(path)) for path in (settings.train, settings.dev))
    return hashlib.sha256((settings.key + sha256(data)).encode("utf8")).hexdigest()


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise WeltError(f"{path} is not a file: a .spacy file is needed")
    return path.read_bytes()


def _is_done(path: Path, key: str) -> bool:
    try:
        return srsly.read_json(path)["key"] == key
    except (OSError, ValueError, KeyError, TypeError):
        return False
