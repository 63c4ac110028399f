"""Elements of large XML files, one at a time.

A file is cut at the tags of its documents, and each document is parsed on its own, so a broken
one does not cost the file. Entities that a file declares are never known to the parser.
"""

import io
import re
from collections.abc import Iterator

from .lines import BOM, Place, Raw
from .problems import Damaged
from .readers import Reader
from .streams import BUFFER, open_stream

# Bytes that hold the declarations and the first tag of a file
HEAD = 1 << 16
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)""")


class XmlReader(Reader):
    """Reader of XML that is cut into elements.

    tags (tuple[str, ...]): The elements that are documents.
    """

    tags: tuple[str, ...] = ()
    encoding: str | None = None

    def _split(self, place: Place) -> Iterator[Raw]:
        with open_stream(self.address) as stream:
            self.encoding = _read_encoding(stream.peek(HEAD)[:HEAD], self.address)
        with open_stream(self.address, place.offset) as stream:
            yield from split_elements(stream, place, self.tags, self.limits.bytes)


def _read_encoding(head: bytes, address: str) -> str | None:
    if b"<!ENTITY" in head:
        raise Damaged(
            f"{address}: it declares entities (<!ENTITY>), which are not taken from files: "
            "write the characters themselves"
        )
    match = _ENCODING.match(head.removeprefix(BOM))
    return match[1].decode() if match else None


def split_elements(
    stream: io.BufferedReader, place: Place, tags: tuple[str, ...], limit: int
) -> Iterator[Raw]:
    """Cut XML into elements by their tags alone. They must not be nested."""
    names = b"|".join(tag.encode() for tag in tags)
    start = re.compile(rb"<(" + names + rb")(?=[\s>])")
    # The start of the next element ends an element without an end tag
    either = re.compile(
        rb"</(" + names + rb")\s*>|" + start.pattern.replace(b"(", b"(?:", 1)
    )
    longest = max(map(len, tags)) + 16
    window = _Window(stream, place)
    while True:
        opening = start.search(window.content, window.position)
        if opening is None:
            window.skip_to(max(window.position, len(window.content) - longest))
            if not window.grow():
                return
            continue
        window.skip_to(opening.start())
        first, tag, n_skipped, error = window.place, opening[1], 0, ""
        searched = (
            1  # from the second character on, because the first is of the start tag
        )
        while True:
            end = either.search(window.content, window.position + searched)
            if end is not None:
                break
            ahead = len(window.content) - window.position
            searched = max(searched, ahead - longest)
            if n_skipped + ahead > limit and searched > 1:
                # From here on the element is skipped without being kept
                error = f"more than {limit:,} bytes"
                window.skip_to(window.position + searched)
                n_skipped, searched = n_skipped + searched, 0
            if not window.grow():
                break
        if end is None:
            yield Raw(first, None, error or f"<{tag.decode()}> has no end")
            return
        stop = end.end() if end[1] else end.start()
        if not error and n_skipped + stop - window.position > limit:
            error = f"more than {limit:,} bytes"
        if not error and end[1] != tag:
            error = f"<{tag.decode()}> has no end"
        content = None if error else window.content[window.position : stop]
        window.skip_to(stop)
        yield Raw(first, content, error)


class _Window:
    """The part of a stream that is being searched."""

    def __init__(self, stream: io.BufferedReader, place: Place) -> None:
        self.stream, self.place = stream, place
        self.content, self.position = b"", 0

    def skip_to(self, position: int) -> None:
        offset, line = self.place
        n_lines = self.content.count(b"\n", self.position, position)
        self.place = Place(offset + position - self.position, line + n_lines)
        self.position = position

    def grow(self) -> bool:
        """Read on; False at the end of the stream."""
        more = self.stream.read1(BUFFER)
        self.content, self.position = self.content[self.position :] + more, 0
        return bool(more)
