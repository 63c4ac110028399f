"""Lines of text files, with their places."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import WeltError
from .problems import BadDocument
from .streams import BUFFER, open_stream

BOM = b"\xef\xbb\xbf"
# Bytes or characters, for readers that take files of any size
NO_LIMIT = 1 << 50


class Place(NamedTuple):
    """The place of a document in a file.

    offset (int): Number of bytes before it, unpacked; in Parquet files of rows.
    line (int): The line, from 1; in Parquet files the row.
    """

    offset: int
    line: int


START = Place(0, 1)


class Raw(NamedTuple):
    """A document or line as the file has it.

    place (Place): Its place.
    content (Any): Bytes or fields; None if they were skipped.
    error (str): Why they were skipped.
    """

    place: Place
    content: Any
    error: str = ""


def split_lines(
    stream: io.BufferedReader, place: Place, limit: int, *, keep_ends: bool = False
) -> Iterator[Raw]:
    """Split a stream into lines."""
    offset, number = place
    while line := stream.readline(limit + 1):
        n_bytes = len(line)
        if n_bytes > limit and not line.endswith(b"\n"):
            while more := stream.readline(BUFFER):
                n_bytes += len(more)
                if more.endswith(b"\n"):
                    break
            yield Raw(Place(offset, number), None, f"a line of {n_bytes:,} bytes")
        else:
            content = line if keep_ends else line.rstrip(b"\r\n")
            if offset == 0:
                content = content.removeprefix(BOM)
            yield Raw(Place(offset, number), content)
        offset, number = offset + n_bytes, number + 1


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file."""
    with open_stream(str(path)) as stream:
        for (_, number), content, _ in split_lines(stream, START, NO_LIMIT):
            try:
                yield number, decode(content, number)
            except BadDocument as err:
                raise WeltError(f"{path}:{number}: {err}") from None


def decode(content: bytes, line: int = 0) -> str:
    """Decode UTF-8: a line of this number, or a document."""
    try:
        return content.decode("utf8")
    except UnicodeDecodeError as err:
        where = f"byte {err.start + 1} of the {'line' if line else 'document'}"
        message = f"not UTF-8 at {where}: convert the file to UTF-8 first"
        raise BadDocument("not UTF-8", message, line=line) from None
