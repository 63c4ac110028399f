"""Documents of files in many formats, one by one, from any place on.

A file is gone through twice: `scan` finds where its documents begin, so that the work can
be divided, and `read` reads some of them. Both cut the file into documents with the same
code, so that they agree on what the n-th document is, whatever is wrong with it.
"""

import contextlib
import csv
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import (
    Any,
    NamedTuple,
)

from ..errors import WeltError, extra_needed, first_line, shorten
from .documents import Document, Item, Reject
from .problems import BadDocument, Damaged
from .streams import BUFFER, is_packed, open_raw, open_stream, stem_of, suffix_of

# Bytes of a character at most: JSON may write one as \ud83d\ude00
BYTES_PER_CHAR = 12
EXTRA_BYTES = 1 << 16
BOM = b"\xef\xbb\xbf"
_SURROGATES = re.compile("[\ud800-\udfff]")


class Columns(NamedTuple):
    """What the fields are called.

    text (str): The one with the text.
    id (str): The one with the id.
    """

    text: str = "text"
    id: str = "id"


class Limits(NamedTuple):
    """What is too long to be annotated.

    chars (int): Characters of a text.
    """

    chars: int = 1_000_000

    @property
    def bytes(self) -> int:
        """RETURNS (int): Bytes of a document in a file; what is longer is passed over
        without being kept.
        """
        return self.chars * BYTES_PER_CHAR + EXTRA_BYTES


class Place(NamedTuple):
    """Where a document is.

    offset (int): Bytes before it, unpacked; in Parquet files rows.
    line (int): Its line, from 1; in Parquet files its row.
    """

    offset: int
    line: int


class Raw(NamedTuple):
    """A document as it is in the file.

    place (Place): Where it is.
    content (Any): Its bytes or fields; None if they were passed over.
    wrong (str): Why they were passed over.
    """

    place: Place
    content: Any
    wrong: str = ""


class Scanned(NamedTuple):
    """What is known of a document before it is read.

    place (Place): Where it is.
    key (tuple[int, int] | None): PubMed id and version, where later ones replace earlier
        ones.
    """

    place: Place
    key: tuple[int, int] | None = None


class Deleted(NamedTuple):
    """Citations that PubMed has deleted: they are not documents.

    ids (list[int]): Their PubMed ids.
    """

    ids: list[int]


class Reader(ABC):
    """Reads a file.

    address (str): The file, or the address.
    limits (Limits): What is too long.
    columns (Columns): What the fields are called.
    """

    def __init__(self, address: str, limits: Limits, columns: Columns) -> None:
        self.address, self.limits, self.columns = address, limits, columns

    def scan(self) -> Iterator[Scanned | Deleted]:
        """Find the documents.

        YIELDS (Scanned | Deleted): Where each is.
        RAISES (WeltError): If the file can't be read; `Damaged` if it can't be read further.
        """
        for raw in self._split(Place(0, 1)):
            told = self._look(raw)
            if told is not None:
                yield told

    def read(self, place: Place) -> Iterator[Item]:
        """Read documents.

        place (Place): Where the first one is, as told by `scan`.
        YIELDS (Item): The documents, and those that can't be read.
        RAISES (WeltError): If the file can't be read; `Damaged` if it can't be read further.
        """
        for raw in self._split(place):
            if not isinstance(self._look(raw), Scanned):
                continue
            where = f"{self.address}:{raw.place.line}"
            default = f"{stem_of(self.address)}:{raw.place.line}"
            try:
                if raw.wrong:
                    raise BadDocument("too long", raw.wrong)
                document = self._parse(raw, default)
                _check_text(document, self.limits)
                yield document
            except BadDocument as err:
                message = f"{where}: {shorten(str(err), 300)}"
                yield Reject(err.id or default, err.reason, message)

    @abstractmethod
    def _split(self, place: Place) -> Iterator[Raw]:
        """Cut the file into documents, from the one at a place on."""

    @abstractmethod
    def _parse(self, raw: Raw, default: str) -> Document:
        """RAISES (BadDocument): If this is not a document."""

    def _look(self, raw: Raw) -> Scanned | Deleted | None:
        return Scanned(raw.place)


class TextReader(Reader):
    """Plain text, a document a line; lines with nothing but white space are passed over."""

    def _split(self, place: Place) -> Iterator[Raw]:
        with open_stream(self.address, place.offset) as stream:
            for raw in split_lines(stream, place, self.limits.bytes):
                if raw.wrong or raw.content.strip():
                    yield raw

    def _parse(self, raw: Raw, default: str) -> Document:
        return Document(default, _decode(raw.content))


class WholeFileReader(Reader):
    """Plain text, a document a file."""

    def _split(self, place: Place) -> Iterator[Raw]:
        with open_stream(self.address) as stream:
            content = stream.read(self.limits.bytes + 1)
        if len(content) > self.limits.bytes:
            yield Raw(place, None, f"more than {self.limits.bytes:,} bytes")
        else:
            yield Raw(place, content.removeprefix(BOM))

    def _parse(self, raw: Raw, default: str) -> Document:
        return Document(stem_of(self.address), _decode(raw.content))


class JsonlReader(TextReader):
    """JSON, an object a line."""

    def _parse(self, raw: Raw, default: str) -> Document:
        line = _decode(raw.content)
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as err:
            raise BadDocument("not JSON", f"not JSON: {first_line(err)}") from None
        if not isinstance(row, dict):
            raise BadDocument("not JSON", "not a JSON object")
        return _from_fields(row, self.columns, default)


class CsvReader(Reader):
    """CSV, or with tabs TSV. The first row has the names of the columns."""

    def _split(self, place: Place) -> Iterator[Raw]:
        separator = "\t" if suffix_of(self.address) == ".tsv" else ","
        with open_stream(self.address) as stream:
            rows = _Rows(stream, Place(0, 1), separator, self.limits.bytes)
            header = next(iter(rows), None)
        if header is None:
            return
        if header.wrong:
            raise Damaged(f"{self.address}:1: the first row is {header.wrong}")
        if self.columns.text not in header.content:
            raise _no_column(self.address, self.columns, header.content)
        names = header.content
        with open_stream(self.address, place.offset) as stream:
            rows = _Rows(stream, place, separator, self.limits.bytes)
            for raw in rows:
                if raw.place.offset == 0:
                    continue
                if raw.wrong:
                    yield raw
                elif raw.content:
                    yield raw._replace(content=dict(zip(names, raw.content)))

    def _parse(self, raw: Raw, default: str) -> Document:
        return _from_fields(raw.content, self.columns, default)


class _Rows:
    """Rows of a CSV file, with the offset and line where each begins."""

    def __init__(
        self, stream: io.BufferedReader, place: Place, separator: str, limit: int
    ) -> None:
        self.lines = split_lines(stream, place, limit, keep_ends=True)
        self.separator, self.limit = separator, limit
        self.first: Place | None = None
        self.wrong = ""
        self.n_bytes = 0

    def __iter__(self) -> Iterator[Raw]:
        # A field may have as many characters as a document
        csv.field_size_limit(max(self.limit, csv.field_size_limit()))
        rows = csv.reader(self._next_lines(), delimiter=self.separator, strict=True)
        while True:
            self.first, self.wrong, self.n_bytes = None, "", 0
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as err:
                if self.first is None:
                    return
                wrong = self.wrong or f"not CSV: {first_line(err)}"
                yield Raw(self.first, None, wrong)
                # What it has gathered of the row is gone with it
                rows = csv.reader(
                    self._next_lines(), delimiter=self.separator, strict=True
                )
                continue
            assert self.first is not None
            if self.wrong:
                yield Raw(self.first, None, self.wrong)
            else:
                yield Raw(self.first, row)

    def _next_lines(self) -> Iterator[str]:
        for raw in self.lines:
            if self.first is None:
                self.first = raw.place
            if raw.wrong:
                self.wrong = raw.wrong
                raise csv.Error(raw.wrong)
            self.n_bytes += len(raw.content)
            if self.n_bytes > self.limit:
                self.wrong = f"more than {self.limit:,} bytes"
                raise csv.Error(self.wrong)
            try:
                yield raw.content.decode("utf8")
            except UnicodeDecodeError:
                # Kept as it is, to be refused with this row and no other
                yield raw.content.decode("utf8", errors="surrogateescape")


class ParquetReader(Reader):
    """Parquet; read with pyarrow."""

    def scan(self) -> Iterator[Scanned | Deleted]:
        """Find the documents.

        YIELDS (Scanned): Each row.
        RAISES (WeltError): If the file can't be read.
        """
        with self._open() as table:
            for row in range(table.metadata.num_rows):
                yield Scanned(Place(row, row + 1))

    def _split(self, place: Place) -> Iterator[Raw]:
        with self._open() as table:
            names = [name for name in self.columns if name in table.schema_arrow.names]
            first, groups = 0, []
            for i in range(table.num_row_groups):
                n = table.metadata.row_group(i).num_rows
                if first + n > place.offset:
                    groups.append(i)
                else:
                    first += n
            if not groups:
                return
            row = first
            for batch in table.iter_batches(500, row_groups=groups, columns=names):
                for fields in batch.to_pylist():
                    if row >= place.offset:
                        yield Raw(Place(row, row + 1), fields)
                    row += 1

    def _parse(self, raw: Raw, default: str) -> Document:
        return _from_fields(raw.content, self.columns, default)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        with extra_needed(f"{self.address}: Parquet", "annotation"):
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        if is_packed(self.address):
            raise WeltError(
                f"{self.address}: Parquet files are packed inside: unpack it"
            )
        with open_raw(self.address) as file:
            try:
                table = ParquetFile(file)
                names = table.schema_arrow.names
                if self.columns.text not in names:
                    raise _no_column(self.address, self.columns, names)
                yield table
            except (ArrowException, OSError, ValueError) as err:
                if isinstance(err, WeltError):
                    raise
                told = f"{self.address}: not a Parquet file, or damaged: "
                raise Damaged(told + first_line(err)) from None


class PubTatorReader(Reader):
    """PubTator: `ID|t|title`, `ID|a|abstract`; lines with annotation are passed over."""

    _line = re.compile(rb"^([^|\t\r\n]+)\|([ta])\|")

    def _split(self, place: Place) -> Iterator[Raw]:
        found: Raw | None = None
        with open_stream(self.address, place.offset) as stream:
            for raw in split_lines(stream, place, self.limits.bytes):
                match = None if raw.wrong else self._line.match(raw.content)
                if match and match[2] == b"t":
                    if found is not None:
                        yield found
                    found = Raw(raw.place, [raw.content])
                elif match and found is not None and found.content is not None:
                    if len(found.content) < 3:  # more than two are wrong already
                        found.content.append(raw.content)
                elif raw.wrong and found is not None:
                    found = found._replace(content=None, wrong=raw.wrong)
                elif raw.wrong or (match and found is None):
                    yield Raw(raw.place, None, raw.wrong or "an abstract without title")
                elif not raw.content.strip() and found is not None:
                    yield found
                    found = None
        if found is not None:
            yield found

    def _parse(self, raw: Raw, default: str) -> Document:
        first, *others = (_decode(line).split("|", 2) for line in raw.content)
        name, _, title = first
        abstracts = [text for other, _, text in others if other == name]
        if len(abstracts) < len(others) or len(abstracts) > 1:
            raise BadDocument(
                "not PubTator",
                "after 'ID|t|title' one line 'ID|a|abstract' of the same id is expected",
                id=name,
            )
        return Document(name, " ".join([title, *abstracts]), len(title))


def split_lines(
    stream: io.BufferedReader, place: Place, limit: int, *, keep_ends: bool = False
) -> Iterator[Raw]:
    """Cut a file into lines. Of one that is too long, nothing is kept.

    stream (io.BufferedReader): The bytes, from the first line on.
    place (Place): Where that is.
    limit (int): The most bytes of a line.
    keep_ends (bool): Whether lines keep their ends.
    YIELDS (Raw): The lines.
    """
    offset, number = place
    while line := stream.readline(limit + 1):
        n, wrong = len(line), ""
        if n > limit and not line.endswith(b"\n"):
            while more := stream.readline(BUFFER):
                n += len(more)
                if more.endswith(b"\n"):
                    break
            wrong = f"a line of {n:,} bytes"
        if wrong:
            yield Raw(Place(offset, number), None, wrong)
        else:
            content = line if keep_ends else line.rstrip(b"\r\n")
            if offset == 0:
                content = content.removeprefix(BOM)
            yield Raw(Place(offset, number), content)
        offset, number = offset + n, number + 1


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf8")
    except UnicodeDecodeError as err:
        raise BadDocument(
            "not UTF-8", f"not UTF-8 at byte {err.start + 1} of the document"
        ) from None


def _from_fields(row: dict[str, Any], columns: Columns, default: str) -> Document:
    told = row.get(columns.id)
    name = default if told is None or told == "" else str(told)
    text = row.get(columns.text)
    if not isinstance(text, str):
        has = "no" if text is None else f"{type(text).__name__} as"
        raise BadDocument("no text", f"{has} {columns.text!r}", id=name)
    return Document(name, text)


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


def _no_column(address: str, columns: Columns, names: Sequence[str]) -> WeltError:
    return WeltError(
        f"{address}: there is no column {columns.text!r} ({', '.join(names[:8])}): name the "
        "one with the text with --text-column"
    )
