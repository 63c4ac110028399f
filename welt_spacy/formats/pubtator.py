"""Reader for PubTator files: title, abstract, then one mention a line."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import WeltError
from .documents import Document, Mention, parse_offset, place_mention
from .lines import read_lines
from .problems import Report

_TEXT_LINE = re.compile(r"^([^|\t]+)\|([ta])\|(.*)$")
_Rows = list[tuple[int, list[str]]]


def read_pubtator(path: Path, *, report: Report | None = None) -> Iterator[Document]:
    """Read a PubTator file.

    A document is `ID|t|title`, `ID|a|abstract`, then tab-separated lines: id,
    start, end, mention, type and maybe an identifier. Offsets count characters
    of title + one space + abstract. Lines of relations are passed over.

    path (Path): The file.
    report (Report | None): Where problems go: offsets that do not fit the
        quoted mention (moved to where it is, or dropped), lines that are nothing
        of the above (skipped).
    YIELDS (Document): The documents, with mentions as in the file.
    RAISES (WeltError): If the file can't be read or has no document; for any
        problem if the report is strict.
    """
    report = Report() if report is None else report
    document_id, title, abstract, first_line = "", None, None, 1
    rows: _Rows = []
    empty = True

    for number, line in read_lines(path):
        match = _TEXT_LINE.match(line)
        if match is not None:
            name, kind, text = match.groups()
            if kind == "t":
                if title is not None:  # no blank line between documents
                    empty = False
                    yield _document(
                        path, document_id, title, abstract, first_line, rows, report
                    )
                document_id, title, abstract = name, text, None
                first_line, rows = number, []
            elif title is None or name != document_id:
                report.problem(
                    "abstract without a title",
                    path,
                    number,
                    f"abstract of {name!r} comes without its title",
                    "skipped",
                )
            else:
                abstract = text
        elif not line.strip():
            if title is not None:
                empty = False
                yield _document(
                    path, document_id, title, abstract, first_line, rows, report
                )
            document_id, title, abstract, rows = "", None, None, []
        elif title is None:
            report.problem(
                "line outside a document",
                path,
                number,
                f"expected 'ID|t|title', found {line[:60]!r}",
                "skipped",
            )
        else:
            rows.append((number, line.split("\t")))
    if title is not None:
        empty = False
        yield _document(path, document_id, title, abstract, first_line, rows, report)
    if empty:
        raise WeltError(f"{path}:1: no document in this file: 'ID|t|title' is expected")


def _document(
    path: Path,
    document_id: str,
    title: str,
    abstract: str | None,
    line: int,
    rows: _Rows,
    report: Report,
) -> Document:
    text = title if abstract is None else f"{title} {abstract}"
    mentions: list[Mention] = []
    for number, columns in rows:
        if columns[0] != document_id:
            report.problem(
                "line of another document",
                path,
                number,
                f"id {columns[0]!r} in the document {document_id!r}",
                "skipped",
            )
            continue
        start, end = map(parse_offset, (*columns[1:3], "", "")[:2])
        if len(columns) >= 5 and start is not None and end is not None:
            mention = Mention(start, end, columns[4].strip(), number)
            placed = place_mention(text, mention, columns[3], str(path), report)
            if placed is not None:
                mentions.append(placed)
        elif len(columns) < 4 or len(columns) > 5 or columns[1].isnumeric():
            report.problem(
                "bad line",
                path,
                number,
                "neither a mention (id, start, end, text, type) nor a relation "
                f"(id, type, id, id): {len(columns)} columns",
                "skipped",
            )
    return Document(
        document_id,
        text,
        len(title),
        mentions,
        parts=[len(title) + 1],
        path=str(path),
        line=line,
    )
