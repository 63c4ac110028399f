"""Readers of formats without annotation: plain text, JSONL, CSV, TSV and Parquet."""

import contextlib
import csv
import io
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import WeltError, extra_needed, first_line
from .documents import Document
from .lines import BOM, START, Place, Raw, decode, split_lines
from .problems import BadDocument, Damaged
from .readers import Columns, Deleted, Reader, Scanned, make_document
from .streams import is_packed, open_raw, open_stream, stem_of, suffix_of

# The limit of `csv` belongs to the process, so only one thread may change it
_csv_limit_lock = threading.Lock()


class TextReader(Reader):
    """Plain text with one document per line. Lines of white space are skipped."""

    def _split(self, place: Place) -> Iterator[Raw]:
        with open_stream(self.address, place.offset) as stream:
            for raw in split_lines(stream, place, self.limits.bytes):
                if raw.error or raw.content.strip():
                    yield raw

    def _parse(self, raw: Raw, default: str) -> Document:
        text = decode(raw.content)
        return Document(default, text, path=self.address, line=raw.place.line)


class WholeFileReader(Reader):
    """Plain text with one document per file."""

    def _split(self, place: Place) -> Iterator[Raw]:
        with open_stream(self.address) as stream:
            content = stream.read(self.limits.bytes + 1)
        if len(content) > self.limits.bytes:
            yield Raw(place, None, f"more than {self.limits.bytes:,} bytes")
        else:
            yield Raw(place, content.removeprefix(BOM))

    def _parse(self, raw: Raw, default: str) -> Document:
        return Document(
            stem_of(self.address), decode(raw.content), path=self.address, line=1
        )


class JsonlReader(TextReader):
    """JSON with one object per line."""

    def _parse(self, raw: Raw, default: str) -> Document:
        line = decode(raw.content)
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as err:
            raise BadDocument("not JSON", f"not JSON: {first_line(err)}") from None
        if not isinstance(fields, dict):
            raise BadDocument("not JSON", "not a JSON object")
        return make_document(raw, fields, self.columns, default, self.address)


class CsvReader(Reader):
    """CSV, or TSV with tabs. The first row names the columns."""

    def _split(self, place: Place) -> Iterator[Raw]:
        separator = "\t" if suffix_of(self.address) == ".tsv" else ","
        with open_stream(self.address) as stream:
            rows = _Rows(stream, START, separator, self.limits.bytes)
            header = next(iter(rows), None)
        if header is None:
            return
        if header.error:
            raise Damaged(f"{self.address}:1: the first row is {header.error}")
        if self.columns.text not in header.content:
            raise _no_column(self.address, self.columns, header.content)
        names = header.content
        with open_stream(self.address, place.offset) as stream:
            for raw in _Rows(stream, place, separator, self.limits.bytes):
                if raw.place.offset == 0:
                    continue
                if raw.error:
                    yield raw
                elif raw.content:
                    yield raw._replace(content=dict(zip(names, raw.content)))

    def _parse(self, raw: Raw, default: str) -> Document:
        return make_document(raw, raw.content, self.columns, default, self.address)


class _Rows:
    """Rows of a CSV file, with the place where each begins."""

    def __init__(
        self, stream: io.BufferedReader, place: Place, separator: str, limit: int
    ) -> None:
        self.lines = split_lines(stream, place, limit, keep_ends=True)
        self.separator, self.limit = separator, limit
        self.place: Place | None = None
        self.error = ""
        self.n_bytes = 0

    def __iter__(self) -> Iterator[Raw]:
        rows = self._new_reader()
        while True:
            self.place, self.error, self.n_bytes = None, "", 0
            row: list[str] | None = None
            try:
                # A field may have as many characters as a document
                with _csv_field_limit(self.limit):
                    row = next(rows)
            except StopIteration:
                return
            except csv.Error as err:
                if self.place is None:
                    return
                self.error = self.error or f"not CSV: {first_line(err)}"
                # The old reader still has the beginning of the row
                rows = self._new_reader()
            assert self.place is not None
            yield Raw(self.place, None if self.error else row, self.error)

    def _new_reader(self) -> Any:
        return csv.reader(self._next_lines(), delimiter=self.separator, strict=True)

    def _next_lines(self) -> Iterator[str]:
        for raw in self.lines:
            if self.place is None:
                self.place = raw.place
            if raw.error:
                self.error = raw.error
                raise csv.Error(raw.error)
            self.n_bytes += len(raw.content)
            if self.n_bytes > self.limit:
                self.error = f"more than {self.limit:,} bytes"
                raise csv.Error(self.error)
            # Bytes that are not UTF-8 become surrogates, which are refused with their row
            yield raw.content.decode("utf8", errors="surrogateescape")


@contextlib.contextmanager
def _csv_field_limit(limit: int) -> Iterator[None]:
    with _csv_limit_lock:
        before = csv.field_size_limit()
        csv.field_size_limit(max(limit, before))
        try:
            yield
        finally:
            csv.field_size_limit(before)


class ParquetReader(Reader):
    """Parquet, read with pyarrow."""

    def scan(self) -> Iterator[Scanned | Deleted]:
        """Locate the documents."""
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
        return make_document(raw, raw.content, self.columns, default, self.address)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        with extra_needed(f"{self.address}: Parquet", "annotation"):
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        if is_packed(self.address):
            raise WeltError(
                f"{self.address}: Parquet files are compressed inside: unpack this file"
            )
        with open_raw(self.address) as file:
            try:
                table = ParquetFile(file)
                names = table.schema_arrow.names
                if self.columns.text not in names:
                    raise _no_column(self.address, self.columns, names)
                yield table
            except WeltError:
                raise
            except (ArrowException, OSError, ValueError) as err:
                raise Damaged(
                    f"{self.address}: not a Parquet file, or damaged: {first_line(err)}"
                ) from None


def _no_column(address: str, columns: Columns, names: Sequence[str]) -> WeltError:
    return WeltError(
        f"{address}: there is no column {columns.text!r} ({', '.join(names[:8])}): name the "
        "one with the text with --text-column"
    )
