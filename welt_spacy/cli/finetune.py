"""`spacy welt finetune`: fine-tune a language model."""

from pathlib import Path
from typing import Any

import typer

from ..errors import WeltError
from ._util import GPU_ID, one_line_errors, sigterm_ends


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
        help="Replace a setting, such as steps=500 or lora.r=32; can be repeated.",
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Train a language model to respond in JSON.

    Training that was interrupted resumes from its last checkpoint.
    """
    from ..llm.finetune import finetune
    from ..llm.finetune_config import read_finetune_config

    settings = read_finetune_config(config, _parse_overrides(changed or []))
    with sigterm_ends():
        result = finetune(settings, gpu_id=gpu_id)
    if result.is_new and result.ents_f is not None:
        typer.echo(f"Best on dev: F1 {100 * result.ents_f:.2f} at step {result.step}")
    typer.echo(f"✔ {result.model}{'' if result.is_new else ' is up to date'}")


def _parse_overrides(options: list[str]) -> dict[str, Any]:
    import srsly

    overrides = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise WeltError(f"--set {option!r}: use NAME=VALUE, such as steps=500")
        try:
            overrides[name] = srsly.yaml_loads(value)
        except Exception:  # ruamel has many
            overrides[name] = value
    return overrides
