"""Reader of PubTator: title, abstract, then one mention per line."""

import re
from collections.abc import Iterator
from pathlib import Path

from .documents import Document, Mention, parse_offset, place_mention
from .lines import Place, Raw, decode, split_lines
from .problems import Report
from .readers import NO_LIMITS, Reader
from .streams import open_stream

_TEXT_LINE = re.compile(rb"^([^|\t\r\n]+)\|([ta])\|")
NO_TITLE = "an abstract without title"


def read_pubtator(path: Path, *, report: Report | None = None) -> Iterator[Document]:
    """Read a PubTator file.

    A document is `ID|t|title`, `ID|a|abstract`, then tab-separated lines: id, start, end,
    mention, type and maybe an identifier. Offsets count characters of title + one space +
    abstract. Relations are ignored.
    """
    report = Report() if report is None else report
    return PubTatorReader(str(path), NO_LIMITS, report=report).read_all()


class PubTatorReader(Reader):
    """PubTator. Without a report, lines with annotation are not kept in memory."""

    empty = "no document in this file: 'ID|t|title' is expected"
    reason = "not PubTator"

    def _split(self, place: Place) -> Iterator[Raw]:
        """Yield documents as lists of their numbered lines."""
        current: Raw | None = None
        with open_stream(self.address, place.offset) as stream:
            for raw in split_lines(stream, place, self.limits.bytes):
                match = None if raw.error else _TEXT_LINE.match(raw.content)
                if match and match[2] == b"t":
                    if current is not None:
                        yield current
                    current = raw._replace(content=[(raw.place.line, raw.content)])
                elif not raw.error and not raw.content.strip():
                    if current is not None:
                        yield current
                    current = None
                elif current is None:
                    if self.report is not None and not raw.error:
                        self._report_stray_line(raw, is_abstract=bool(match))
                    elif match or raw.error:
                        yield Raw(raw.place, None, raw.error or NO_TITLE)
                elif raw.error:
                    current = current._replace(content=None, error=raw.error)
                elif current.content is not None and (
                    # More than two lines of text are refused, however many there are
                    self.report is not None or (match and len(current.content) < 3)
                ):
                    current.content.append((raw.place.line, raw.content))
        if current is not None:
            yield current

    def _report_stray_line(self, raw: Raw, *, is_abstract: bool) -> None:
        line, number = raw.content.decode("utf8", errors="replace"), raw.place.line
        if is_abstract:
            self._report_abstract(number, line.partition("|")[0], "")
        else:
            self._problem(
                "line outside a document",
                number,
                f"expected 'ID|t|title', found {line[:60]!r}",
                "skipped",
                "",
            )

    def _report_abstract(self, number: int, name: str, document_id: str) -> None:
        self._problem(
            "abstract without a title",
            number,
            f"abstract of {name!r} comes without its title",
            "skipped",
            document_id,
        )

    def _parse(self, raw: Raw, default: str) -> Document:
        (number, content), *rest = raw.content
        document_id, _, title = decode(content, number).split("|", 2)
        abstract: str | None = None
        rows: list[tuple[int, list[str]]] = []
        for number, content in rest:
            line = decode(content, number)
            if not _TEXT_LINE.match(content):
                rows.append((number, line.split("\t")))
                continue
            name, _, text = line.split("|", 2)
            if name != document_id:
                self._report_abstract(number, name, document_id)
                continue
            if abstract is not None:
                message = f"another abstract of {name!r}"
                repair = "replaces the one before"
                self._problem("second abstract", number, message, repair, document_id)
            abstract = text
        text = title if abstract is None else f"{title} {abstract}"
        return Document(
            document_id,
            text,
            len(title),
            mentions=tuple(self._read_mentions(document_id, text, rows)),
            parts=(len(title) + 1,),
            path=self.address,
            line=raw.place.line,
        )

    def _read_mentions(
        self, document_id: str, text: str, rows: list[tuple[int, list[str]]]
    ) -> Iterator[Mention]:
        report = self.report
        if report is None:
            return
        for number, columns in rows:
            if columns[0] != document_id:
                report.problem(
                    "line of another document",
                    self.address,
                    number,
                    f"id {columns[0]!r} in the document {document_id!r}",
                    "skipped",
                )
                continue
            start, end = map(parse_offset, (*columns[1:3], "", "")[:2])
            if len(columns) >= 5 and start is not None and end is not None:
                mention = Mention(start, end, columns[4].strip(), number)
                placed = place_mention(text, mention, columns[3], self.address, report)
                if placed is not None:
                    yield placed
            elif len(columns) < 4 or len(columns) > 5 or columns[1].isnumeric():
                report.problem(
                    "bad line",
                    self.address,
                    number,
                    "neither a mention (id, start, end, text, type) nor a relation "
                    f"(id, type, id, id): {len(columns)} columns",
                    "skipped",
                )
