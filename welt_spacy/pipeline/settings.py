"""Settings of a component that can be changed on the object and in the config."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from spacy.language import Language
from thinc.api import Config

from ..errors import WeltError, check_number


class PipelineRef:
    """The pipeline that a component writes changed settings to. The reference is weak, so
    the component does not keep the pipeline alive. Copies and pickles of the component have
    no pipeline.
    """

    def __init__(self, nlp: Language | None = None):
        self._nlp = None if nlp is None else weakref.ref(nlp)

    def __reduce__(self) -> tuple[type["PipelineRef"], tuple[()]]:
        return PipelineRef, ()

    def write_to_config(self, pipe: Any, name: str, value: Any) -> None:
        """Write a setting into the config that the pipeline saves."""
        nlp = None if self._nlp is None else self._nlp()
        if nlp is None:
            return
        for pipe_name, component in nlp.components:
            if component is pipe:
                nlp.get_pipe_config(pipe_name)[name] = value


class Setting:
    """An attribute that is stored in the `cfg` of its component. A new value is checked, and
    also written into the config of the pipeline.

    check (Callable[[str, Any], Any]): Takes the name and the new value, and returns the
        value or raises an error.
    doc (str): The docstring of the attribute.
    """

    def __init__(self, check: Callable[[str, Any], Any], doc: str):
        self.check = check
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, pipe: Any, owner: type | None = None) -> Any:
        return self if pipe is None else pipe.cfg[self.name]

    def __set__(self, pipe: Any, value: Any) -> None:
        pipe.cfg[self.name] = self.check(self.name, value)
        pipe.pipeline_ref.write_to_config(pipe, self.name, pipe.cfg[self.name])


def get_setting_names(component: type) -> list[str]:
    """Return the names of the settings of a component class."""
    return [
        name for name, value in vars(component).items() if isinstance(value, Setting)
    ]


def number(
    low: float | None = None, high: float | None = None
) -> Callable[[str, Any], float]:
    """Create a check for finite numbers in [low, high]."""
    return lambda name, value: check_number(name, value, low=low, high=high)


def one_of(choices: Sequence[str]) -> Callable[[str, Any], str]:
    """Create a check for one of the given strings."""

    def check(name: str, value: Any) -> str:
        if value not in choices:
            raise WeltError(f"{name} is {value!r}: use one of {', '.join(choices)}")
        return value

    return check


def flag(name: str, value: Any) -> bool:
    """Convert a setting to True or False."""
    return bool(value)


def optional_string(name: str, value: Any) -> str | None:
    """Check that a setting is a string or None."""
    if value is not None and not isinstance(value, str):
        raise WeltError(f"{name} is {value!r}: it must be a string or None")
    return value


def read_saved_config(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """Read settings of a component from the config of the saved pipeline."""
    try:
        config = Config().from_disk(path.parent / "config.cfg", interpolate=False)
        block = config["components"][path.name]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: block[name] for name in names if name in block}


def merge_saved_settings(pipe: Any, configured: dict[str, Any]) -> None:
    """Merge the settings of a loaded component with its config. A setting that was changed
    on the saved object keeps that value, unless the config was changed since then, as by
    `spacy.load(..., config={...})`.
    """
    saved = pipe.cfg["configured"]
    for name, value in configured.items():
        is_changed = value != saved.get(name)
        setattr(pipe, name, value if is_changed else pipe.cfg[name])
    pipe.cfg["configured"] = configured
