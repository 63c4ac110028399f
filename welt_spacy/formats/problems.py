"""What was wrong with the input, and what was done about it."""

from collections import Counter
from pathlib import Path

from ..errors import WeltError, shorten

# Characters of a message; a damaged file can be one line
LONGEST = 300


class Report:
    """Collects the problems of reading a corpus.

    In strict mode the first problem ends the reading with a `WeltError`
    "path:line: what is wrong". Otherwise the reader repairs what it can, and
    each repair is counted and kept here with its place.

    strict (bool): Whether the first problem is an error.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.counts: Counter = Counter()
        self.messages: dict[str, list[str]] = {}

    def problem(
        self,
        kind: str,
        path: str | Path,
        line: int,
        message: str,
        repair: str = "",
    ) -> None:
        """Report a problem.

        kind (str): A short name, under which problems are counted.
        path (str | Path): The file.
        line (int): The line, counted from 1.
        message (str): What is wrong.
        repair (str): What is done about it when not strict.
        RAISES (WeltError): In strict mode.
        """
        message = shorten(message, LONGEST)
        if self.strict:
            raise WeltError(f"{path}:{line}: {message}")
        self.counts[kind] += 1
        done = f" ({repair})" if repair else ""
        self.messages.setdefault(kind, []).append(f"{path}:{line}: {message}{done}")

    def lines(self, most: int = 3) -> list[str]:
        """Sum up the problems.

        most (int): How many of each kind to quote.
        RETURNS (list[str]): Lines to print; empty if all was well.
        """
        found: list[str] = []
        for kind, n in sorted(self.counts.items()):
            found.append(f"{n} x {kind}")
            found.extend(f"    {message}" for message in self.messages[kind][:most])
            if n > most:
                found.append(f"    ... and {n - most} more")
        return found
