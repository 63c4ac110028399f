"""Readers: the documents of a file, one by one, from any place on.

`annotate` reads a file twice: `scan` finds the places where documents begin, so that the work
can be divided, and `read` reads documents from a place on. Both cut the file with the same
code, so they agree on the n-th document, however damaged the file is. `convert` and `distill`
use `read_all`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import WeltError, shorten
from .documents import Document, Item, Reject
from .lines import NO_LIMIT, START, Place, Raw
from .problems import MAX_MESSAGE, BadDocument, Report
from .streams import stem_of

# Bytes of a character at most: JSON may write one as \ud83d\ude00
BYTES_PER_CHAR = 12
EXTRA_BYTES = 1 << 16
_SURROGATES = re.compile("[\ud800-\udfff]")


class Columns(NamedTuple):
    """Names of the fields of JSONL, CSV and Parquet files.

    text (str): The field with the text.
    id (str): The field with the id.
    """

    text: str = "text"
    id: str = "id"


class Limits(NamedTuple):
    """Limits of a document.

    chars (int): Maximum number of characters of a text.
    """

    chars: int = 1_000_000

    @property
    def bytes(self) -> int:
        """Maximum number of bytes of a document in a file."""
        return self.chars * BYTES_PER_CHAR + EXTRA_BYTES


NO_LIMITS = Limits(NO_LIMIT)


class Scanned(NamedTuple):
    """A document that was located and not read.

    place (Place): Its place.
    key (tuple[int, int] | None): PubMed id and version, if later versions replace earlier
        ones.
    """

    place: Place
    key: tuple[int, int] | None = None


class Deleted(NamedTuple):
    """Citations that PubMed has deleted.

    ids (list[int]): Their PubMed ids.
    """

    ids: list[int]


class Reader(ABC):
    """Reader of a file.

    address (str): The file or address.
    limits (Limits): Limits of a document.
    columns (Columns): Names of the fields.
    report (Report | None): Counts the problems of the annotation and their repairs. Without
        it no mentions are read, and what would be repaired is an error of its document.
    """

    # The message about a file without documents, if that is an error
    empty = ""
    # Name of the problems that are repaired if there is a report
    reason = ""

    def __init__(
        self,
        address: str,
        limits: Limits = Limits(),
        columns: Columns = Columns(),
        report: Report | None = None,
    ) -> None:
        self.address, self.limits, self.columns = address, limits, columns
        self.report = report

    def scan(self) -> Iterator[Scanned | Deleted]:
        """Locate the documents."""
        for raw in self._split(START):
            scanned = self._look(raw)
            if scanned is not None:
                yield scanned

    def read(self, place: Place) -> Iterator[Item]:
        """Read documents; one that can't be read costs only itself."""
        for raw in self._split(place):
            if not isinstance(self._look(raw), Scanned):
                continue
            default = f"{stem_of(self.address)}:{raw.place.line}"
            try:
                yield self._read(raw, default)
            except BadDocument as err:
                message = shorten(str(err), MAX_MESSAGE)
                message = f"{self.address}:{raw.place.line}: {message}"
                yield Reject(err.id or default, err.reason, message)

    def read_all(self) -> Iterator[Document]:
        """Read all documents."""
        is_empty = True
        for raw in self._split(START):
            if not isinstance(self._look(raw), Scanned):
                continue
            try:
                document = self._read(raw, "")
            except BadDocument as err:
                line = err.line or raw.place.line
                message = shorten(str(err), MAX_MESSAGE)
                raise WeltError(f"{self.address}:{line}: {message}") from None
            is_empty = False
            yield document
        if is_empty and self.empty:
            raise WeltError(f"{self.address}:1: {self.empty}")

    def _read(self, raw: Raw, default: str) -> Document:
        if raw.error:
            raise BadDocument("too long", raw.error)
        document = self._parse(raw, default)
        _check_text(document, self.limits)
        return document

    @abstractmethod
    def _split(self, place: Place) -> Iterator[Raw]:
        """Cut the file into documents, from the one at a place on."""

    @abstractmethod
    def _parse(self, raw: Raw, default: str) -> Document:
        """Parse a document; `default` is its id if it has none."""

    def _look(self, raw: Raw) -> Scanned | Deleted | None:
        return Scanned(raw.place)

    def _problem(
        self, kind: str, line: int, message: str, repair: str, document_id: str
    ) -> None:
        if self.report is None:
            raise BadDocument(self.reason, message, document_id, line)
        self.report.problem(kind, self.address, line, message, repair)


def _check_text(document: Document, limits: Limits) -> None:
    if len(document.text) > limits.chars:
        raise BadDocument(
            "too long",
            f"{len(document.text):,} characters, more than --max-chars {limits.chars:,}",
            id=document.id if not _SURROGATES.search(document.id) else "",
        )
    if _SURROGATES.search(document.text) or _SURROGATES.search(document.id):
        raise BadDocument(
            "not UTF-8",
            "half of a character (a lone surrogate) or bytes that are not UTF-8",
        )


def make_document(
    raw: Raw, fields: dict[str, Any], columns: Columns, default: str, address: str
) -> Document:
    """Make a document of the fields of a row."""
    value = fields.get(columns.id)
    document_id = default if value is None or value == "" else str(value)
    text = fields.get(columns.text)
    if not isinstance(text, str):
        problem = "no" if text is None else f"{type(text).__name__} as"
        raise BadDocument("no text", f"{problem} {columns.text!r}", id=document_id)
    return Document(document_id, text, path=address, line=raw.place.line)
