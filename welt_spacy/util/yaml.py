"""Read YAML files that users write, and check them with pydantic models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import srsly
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import WeltError, shorten

ModelT = TypeVar("ModelT", bound=BaseModel)


class YamlModel(BaseModel):
    """Base of models of YAML files: values must have the type of their field, and unknown
    keys are errors. Validators raise `WeltError` or `ValueError`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read_yaml(path: Path, content: str) -> Any:
    """Read a YAML file."""
    if not path.is_file():
        raise WeltError(f"{path} is not a file. Name a YAML file with {content}")
    try:
        return srsly.read_yaml(path)
    except Exception as err:  # ruamel has many
        message = shorten(" ".join(str(err).split()), 200)
        raise WeltError(f"{path} is not YAML: {message}") from None


def read_yaml_model(
    path: Path,
    model: type[ModelT],
    content: str,
    *,
    change: Callable[[Any], Any] = lambda values: values,
) -> ModelT:
    """Read a YAML file into a pydantic model.

    path (Path): The file.
    model (type[BaseModel]): The model.
    content (str): A name for what the file holds, for the error message.
    change (Callable[[Any], Any]): Changes the values, a dict, before they are
        checked, such as by options of a command.
    RETURNS (BaseModel): The model.
    RAISES (WeltError): If the file is missing or is not YAML, or a value is missing, unknown or
        invalid: one line with the file and the key.
    """
    values = read_yaml(path, content)
    if not isinstance(values, dict):
        keys = ", ".join(
            name for name, entry in model.model_fields.items() if entry.is_required()
        )
        raise WeltError(f"{path}: it must have the keys {keys}")
    return check_model(f"{path}", model, change(values))


def check_model(name: str, model: type[ModelT], values: Any) -> ModelT:
    """Validate JSON-like data; the message of an error begins with `name`."""
    try:
        # As JSON, because strict validation of it reads a path from a string
        return model.model_validate_json(json.dumps(values, default=str))
    except ValidationError as err:
        raise WeltError(f"{name}: {_describe(err, model)}") from None


def _describe(err: ValidationError, model: type[BaseModel]) -> str:
    errors = err.errors(include_url=False)
    first = errors[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        problem = f"unknown key {key!r}"
        if len(first["loc"]) == 1:
            problem += f". Known keys are {', '.join(model.model_fields)}"
    elif first["type"] == "missing":
        problem = f"{key} is missing"
    else:
        message = first["msg"].removeprefix("Value error, ").replace("\n", " ")
        is_own = first["type"] == "value_error"
        value = "" if is_own else f", not {shorten(json.dumps(first['input']), 80)}"
        message = message if is_own else message[:1].lower() + message[1:]
        problem = f"{key}: {message}{value}" if key else f"{message}{value}"
    more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
    return problem + more
