"""Numbered cases: damage an input, call a function with it, and classify the outcome."""

import hashlib
import random
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from welt_spacy.errors import WeltError

# Seconds after which a case counts as hanging, on a busy machine too
LIMIT = 300
ACCEPTED = "accepted"
REFUSED = "refused in one line"
RECOVERED = "killed, and recovered"
ENDED_EARLY = "ended before it was killed"
GOOD = (ACCEPTED, REFUSED, RECOVERED, ENDED_EARLY)

# fmt: off
SNIPPETS = [
    "\x00", "\ufeff", "\u2028", "\u200b", "𝛽", "é", "漢", "\r", "\t", "\n", "\n\n", " ",
    "-1", "²", "٣", "9" * 30, "9" * 5000, "1e309", "nan", "inf", "-0", "0x10", "1_0",
    "[/x]", "[bold]", "{", "}", "[", "]", "&amp;", "&lol;", "<a>", "</passage>", "<!--",
    "../../x", "${x}", "%s", "\\", '"', "'", "B-", "I-X", "|t|", "null", "true", "!!",
    '<!DOCTYPE x [<!ENTITY lol "lol"><!ENTITY a "&lol;&lol;&lol;">]>',
    '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>',
    'encoding="klingon"', 'encoding="utf-16"', "<x>" * 2000,
]
# fmt: on


class Case(NamedTuple):
    """The outcome of one case.

    target (str): The reader or command under test.
    seed (int): Reproduces the case.
    outcome (str): One of `GOOD`, or the defect.
    details (str): The error message, arguments or traceback.
    """

    target: str
    seed: int
    outcome: str
    details: str = ""

    @property
    def is_defect(self) -> bool:
        return self.outcome not in GOOD


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change content in one place, or less often in up to eight."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        kind = rng.randrange(9)
        at = rng.randrange(len(data) + 1)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind in (2, 3, 4):
            snippet = rng.choice(SNIPPETS).encode("utf8")
            data = data[:at] + snippet + data[at + rng.choice([0, 0, 1, 5]) :]
        elif kind == 5:
            end = min(len(data), at + rng.randrange(40))
            data = data[:end] + data[at:end] * rng.choice([1, 2, 50]) + data[end:]
        elif kind == 6:
            lines = data.split(b"\n")
            rng.shuffle(lines)
            data = b"\n".join(lines)
        elif kind == 7:
            end = min(len(data), at + rng.randrange(40))
            data = data[:at] + data[end:]
        else:
            data = _replace_digit(data, rng)
    return data


def _replace_digit(data: bytes, rng: random.Random) -> bytes:
    digits = [i for i, byte in enumerate(data) if chr(byte).isdigit()]
    if not digits:
        return data
    i = rng.choice(digits)
    number = rng.choice(["-1", "²", "99999999999", "9" * 4500, "", "x"])
    return data[:i] + number.encode("utf8") + data[i + 1 :]


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread after so many seconds, so that a case that
    hangs is a defect."""

    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(
    target: str, seed: int, call: Callable[[], Any], limit: float = LIMIT
) -> Case:
    """Run a case: the input may be accepted, or refused with one line."""
    try:
        with time_limit(limit):
            call()
    except WeltError as err:
        message = str(err)
        if len(message.splitlines()) != 1 or len(message) > 1500:
            return Case(target, seed, "long message", message[:2000])
        return Case(target, seed, REFUSED, message)
    except BaseException as err:
        return Case(target, seed, type(err).__name__, traceback.format_exc()[-3000:])
    return Case(target, seed, ACCEPTED)


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files of a folder, by their relative paths."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
