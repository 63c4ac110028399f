"""Reader for brat standoff: a .txt file and an .ann file beside it."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import WeltError
from .documents import Document, place_mention
from .lines import read_lines
from .problems import Report

_OFFSETS = r"[0-9]{1,12} [0-9]{1,12}"
_TEXT_BOUND = re.compile(rf"^T\S*\t(\S+) ({_OFFSETS}(?:;{_OFFSETS})*)(?:\t(.*))?$")


def read_brat(path: Path, *, report: Report | None = None) -> Iterator[Document]:
    """Read brat standoff annotation.

    path (Path): A folder with .ann and .txt files, or one .ann file.
    report (Report | None): Where problems go: bad text-bound lines
        (skipped), offsets that do not fit (moved or dropped), mentions in
        several pieces (taken from the first piece to the last).
    YIELDS (Document): The documents in the order of their names. Lines of
        relations, events, attributes and notes are passed over.
    RAISES (WeltError): If there is no .ann file, or no text to one; for any
        problem if the report is strict.
    """
    report = Report() if report is None else report
    path = Path(path)
    files = sorted(path.glob("**/*.ann")) if path.is_dir() else [path]
    if not files:
        raise WeltError(f"{path}: no .ann file in this folder")
    for ann in files:
        yield _read_document(ann, report)


def _read_document(ann: Path, report: Report) -> Document:
    txt = ann.with_suffix(".txt")
    try:
        text = txt.read_bytes().decode("utf-8")
    except OSError:
        raise WeltError(f"{ann}: its text {txt} is missing") from None
    except UnicodeDecodeError as err:
        bad = err.object[: err.start].count(b"\n") + 1
        raise WeltError(f"{txt}:{bad}: not UTF-8: convert the file first") from None
    text = text.removeprefix("\ufeff")
    line_starts = [match.end() for match in re.finditer(r"\n", text)]
    document = Document(ann.stem, text, ann, 1, parts=line_starts)
    for number, line in read_lines(ann):
        if not line.startswith("T"):
            continue
        match = _TEXT_BOUND.match(line)
        if match is None:
            report.problem(
                "bad line",
                ann,
                number,
                f"expected 'T1<tab>Type start end<tab>text', found {line[:60]!r}",
                "skipped",
            )
            continue
        label, pieces, quoted = match.groups()
        bounds = [int(n) for n in re.findall(r"\d+", pieces)]
        if len(bounds) > 2:
            report.problem(
                "mention in pieces",
                ann,
                number,
                f"{quoted!r} has {len(bounds) // 2} pieces",
                "taken from the first piece to the last",
            )
            quoted = None
        place_mention(document, min(bounds), max(bounds), label, quoted, number, report)
    return document
