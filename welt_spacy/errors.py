"""The error class of this package, and checks that raise it."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any


class WeltError(ValueError):
    """An error in the input, the settings or the environment.

    The message stands alone: the problem, its file and line, and what to do. Commands print
    it as one line, without a traceback, and exit with status 1. The middle of a long message
    is left out, because it may quote a damaged file.
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
    """Return a setting if it is a finite number from `low` to `high`, strictly above `above`
    and strictly below `below`; raise a `WeltError` otherwise.
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
        expected = " and ".join(
            f"{words} {bound:g}" for bound, words, _ in bounds if bound is not None
        )
        raise WeltError(f"{name} is {value:g}: it must be {expected}")
    return float(value)


def shorten(text: str, length: int) -> str:
    """Leave out the middle of a text that has more characters than `length`."""
    if len(text) <= length:
        return text
    end = length // 3
    return f"{text[: length - end - 5]} ... {text[-end:]}"


@contextlib.contextmanager
def extra_needed(what: str, extra: str) -> Iterator[None]:
    """Turn an ImportError in the `with` block into a `WeltError` that names the extra to
    install; `what` is the feature that needs it.
    """
    try:
        yield
    except ImportError as err:
        raise WeltError(
            f'{what} needs {err.name}: pip install "welt-spacy[{extra}]"'
        ) from None


def first_line(err: BaseException, length: int = 200) -> str:
    """Return the first line of an exception's message, shortened to `length` characters, or
    the name of its class if the message is empty.
    """
    lines = str(err).strip().splitlines()
    text = lines[0].strip() if lines else type(err).__name__
    return shorten(text, length)
