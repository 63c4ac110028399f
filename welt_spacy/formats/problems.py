"""Problems in input files, and their repairs."""

from collections import Counter
from pathlib import Path

from ..errors import WeltError, shorten

# Characters of a message; a damaged file can be one line
MAX_MESSAGE = 300


class Damaged(WeltError):
    """A file that can't be read from some place on."""


class BadDocument(ValueError):
    """A document that can't be read.

    reason (str): A short name of the problem, by which rejects are counted.
    message (str): The problem.
    id (str): The id of the document, if it is known.
    line (int): The line of the file; 0 for the first line of the document.
    """

    def __init__(
        self, reason: str, message: str = "", id: str = "", line: int = 0
    ) -> None:
        super().__init__(message or reason)
        self.reason, self.id, self.line = reason, id, line


class Report:
    """Counts the problems of reading a corpus, with their places.

    strict (bool): Whether the first problem is an error. Otherwise readers repair what they
        can.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.counts: Counter[str] = Counter()
        self.messages: dict[str, list[str]] = {}

    def problem(
        self,
        kind: str,
        path: str | Path,
        line: int,
        message: str,
        repair: str = "",
    ) -> None:
        """Count a problem."""
        message = shorten(message, MAX_MESSAGE)
        if self.strict:
            raise WeltError(f"{path}:{line}: {message}")
        self.counts[kind] += 1
        suffix = f" ({repair})" if repair else ""
        self.messages.setdefault(kind, []).append(f"{path}:{line}: {message}{suffix}")

    def lines(self, max_quoted: int = 3) -> list[str]:
        """Summarize the problems as lines to print, with up to `max_quoted` messages of each
        kind.
        """
        lines: list[str] = []
        for kind, n in sorted(self.counts.items()):
            lines.append(f"{n} x {kind}")
            lines.extend(f"    {text}" for text in self.messages[kind][:max_quoted])
            if n > max_quoted:
                lines.append(f"    ... and {n - max_quoted} more")
        return lines
