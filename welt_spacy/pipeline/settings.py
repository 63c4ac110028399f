"""Settings of a component that can be changed on the object and in the config."""

import weakref
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
)

from spacy.language import Language

from ..errors import WeltError, check_number

if TYPE_CHECKING:
    from .welt_ner import WeltNER


class Owner:
    """The pipeline of a component. It is not kept alive, and copies and pickles of the
    component do not have it.

    nlp (Optional[Language]): The pipeline.
    """

    def __init__(self, nlp: Optional[Language] = None):
        self._nlp = None if nlp is None else weakref.ref(nlp)

    def __reduce__(self) -> Tuple[Type["Owner"], Tuple[()]]:
        return Owner, ()

    def tell_config(self, pipe: "WeltNER", name: str, value: Any) -> None:
        """Write a setting into the config of the pipeline, so that what is saved there
        is what holds.

        pipe (WeltNER): The component.
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

    def __get__(
        self, pipe: Optional["WeltNER"], owner: Optional[Type["WeltNER"]] = None
    ) -> Any:
        return self if pipe is None else pipe.cfg[self.name]

    def __set__(self, pipe: "WeltNER", value: Any) -> None:
        pipe.cfg[self.name] = self.check(self.name, value)
        pipe.owner.tell_config(pipe, self.name, pipe.cfg[self.name])


def number(
    low: Optional[float] = None, high: Optional[float] = None
) -> Callable[[str, Any], float]:
    """RETURNS (Callable): A check that a setting is a finite number in [low, high]."""
    return lambda name, value: check_number(name, value, low=low, high=high)


def one_of(choices: Sequence[str]) -> Callable[[str, Any], str]:
    """RETURNS (Callable): A check that a setting is one of some strings."""

    def check(name: str, value: Any) -> str:
        if value not in choices:
            raise WeltError(f"{name} is {value!r}: use one of {', '.join(choices)}")
        return value

    return check


def flag(name: str, value: Any) -> bool:
    """RETURNS (bool): The value; anything that is true is True."""
    return bool(value)


def optional_string(name: str, value: Any) -> Union[str, None]:
    """RETURNS (Optional[str]): The value, if it is a string or None."""
    if value is not None and not isinstance(value, str):
        raise WeltError(f"{name} is {value!r}: it must be a string or None")
    return value
