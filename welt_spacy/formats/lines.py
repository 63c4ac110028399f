"""Reading text files line by line, with errors that name the line."""

from collections.abc import Iterator
from pathlib import Path

from ..errors import WeltError


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file.

    path (Path): The file; a byte order mark and any kind of line end are fine.
    YIELDS (tuple[int, str]): The number of the line, from 1, and the line
        without its end.
    RAISES (WeltError): If the file can't be opened or is not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                    raw = raw[3:]
                try:
                    yield number, raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as err:
                    raise WeltError(
                        f"{path}:{number}: not UTF-8 at byte {err.start + 1} of the "
                        "line: convert the file to UTF-8 first"
                    ) from None
    except OSError as err:
        raise WeltError(f"{path}: can't read this file: {err.strerror}") from None
