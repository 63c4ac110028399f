"""Settings of a component that can be changed on the object and in the config."""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spacy.language import Language
from thinc.api import Config

from ..errors import WeltError, check_number


class Owner:
    """The pipeline of a component. It is not kept alive, and copies and pickles of the
    component do not have it.

    nlp (Language | None): The pipeline.
    """

    def __init__(self, nlp: Language | None = None):
        self._nlp = None if nlp is None else weakref.ref(nlp)

    def __reduce__(self) -> tuple[type["Owner"], tuple[()]]:
        return Owner, ()

    def tell_config(self, pipe: Any, name: str, value: Any) -> None:
        """Write a setting into the config of the pipeline, so that what is saved there
        is what holds.

        pipe (TrainablePipe): The component.
        name (str): The setting.
        value (Any): Its value.
        """
        nlp = None if self._nlp is None else self._nlp()
        for pipe_name, other in nlp.components if nlp is not None else ():
            if other is pipe:
                assert nlp is not None
                nlp.get_pipe_config(pipe_name)[name] = value


class Setting:
    """An attribute of a component that is kept in its `cfg`. A new value is checked,
    and written into the config of the pipeline as well.

    check (Callable[[str, Any], Any]): Name and new value -> value, or an error.
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
        pipe.owner.tell_config(pipe, self.name, pipe.cfg[self.name])


def number(
    low: float | None = None, high: float | None = None
) -> Callable[[str, Any], float]:
    """RETURNS (Callable): A check that a setting is a finite number in [low, high]."""
    return lambda name, value: check_number(name, value, low=low, high=high)


def one_of(choices: Sequence[str]) -> Callable[[str, Any], str]:
    """Make a check that a setting is one of some strings.

    choices (Sequence[str]): The strings.
    RETURNS (Callable): The check.
    RAISES (WeltError): By the check.
    """

    def check(name: str, value: Any) -> str:
        if value not in choices:
            raise WeltError(f"{name} is {value!r}: use one of {', '.join(choices)}")
        return value

    return check


def flag(name: str, value: Any) -> bool:
    """Make a setting true or false.

    name (str): The setting.
    value (Any): Its value.
    RETURNS (bool): Whether the value is true.
    """
    return bool(value)


def optional_string(name: str, value: Any) -> str | None:
    """Check that a setting is a string or None.

    name (str): The setting.
    value (Any): Its value.
    RETURNS (str | None): The value.
    RAISES (WeltError): If it is anything else.
    """
    if value is not None and not isinstance(value, str):
        raise WeltError(f"{name} is {value!r}: it must be a string or None")
    return value


def configured(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read what the config of a saved pipeline says about a component.

    path (Path): The folder of the component, in that of the pipeline.
    names (Sequence[str]): Names of settings.
    RETURNS (dict[str, Any]): Those that the config has; none if it can't be read.
    """
    try:
        config = Config().from_disk(path.parent / "config.cfg", interpolate=False)
        block = config["components"][path.name]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: block[name] for name in names if name in block}
