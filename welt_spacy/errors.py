"""What a user can get wrong, in one line."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any


class WeltError(ValueError):
    """A mistake in the input, the settings or the surroundings.

    The message is complete on its own: what is wrong, where (file and line,
    where there is one) and what to do. The command line prints it and exits
    with status 1; it never shows a traceback for this class. What it quotes may be
    long, so its middle is left out if the whole is.
    """

    def __str__(self) -> str:
        return shorten(super().__str__(), 1000)


def check_number(
    name: str,
    value: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Check that a setting is a finite number within its range.

    name (str): What the setting is called in the message.
    value (Any): Its value.
    low, high (float | None): The least and the greatest value.
    above, below (float | None): Values that it must be strictly above or below.
    RETURNS (float): The value.
    RAISES (WeltError): If it is not a number, not finite or out of its range.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise WeltError(f"{name} is {value!r}: it must be a finite number")
    bounds = (
        (low, "at least", low is not None and value < low),
        (high, "at most", high is not None and value > high),
        (above, "above", above is not None and value <= above),
        (below, "below", below is not None and value >= below),
    )
    if any(broken for _, _, broken in bounds):
        told = " and ".join(
            f"{words} {bound:g}" for bound, words, _ in bounds if bound is not None
        )
        raise WeltError(f"{name} is {value:g}: it must be {told}")
    return float(value)


def shorten(text: str, length: int) -> str:
    """Leave out the middle of a long text.

    text (str): The text.
    length (int): The most characters.
    RETURNS (str): The text, or its beginning and end.
    """
    if len(text) <= length:
        return text
    end = length // 3
    return f"{text[: length - end - 5]} ... {text[-end:]}"


@contextlib.contextmanager
def extra_needed(what: str, extra: str) -> Iterator[None]:
    """Tell in one line that a package of an extra is missing.

    what (str): What needs it.
    extra (str): The extra of welt-spacy that has it.
    YIELDS (None): While the imports run.
    RAISES (WeltError): If an import in the `with` block fails.
    """
    try:
        yield
    except ImportError as err:
        raise WeltError(
            f'{what} needs {err.name}: pip install "welt-spacy[{extra}]"'
        ) from None


def first_line(err: BaseException, length: int = 200) -> str:
    """Tell the reason of an exception of another library in one line.

    err (BaseException): The exception.
    length (int): The most characters.
    RETURNS (str): The first line of its message, shortened, or the name of its class if
        it has none.
    """
    lines = str(err).strip().splitlines()
    text = lines[0].strip() if lines else type(err).__name__
    return shorten(text, length)
