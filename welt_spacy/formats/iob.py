"""Reader of IOB: a token and its tag per line, a blank line after each sentence."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import WeltError
from .documents import Sentence
from .lines import read_lines
from .problems import Report

# Prefixes of BIOES and BILUO -> IOB2
_PREFIXES = {
    "B": "B", "I": "I", "E": "I", "L": "I", "M": "I", "S": "B", "U": "B", "W": "B",
}  # fmt: skip
_TAG = re.compile(r"^([BIELMSUW])(?:[-_](.+))?$")


def read_iob(
    path: Path, *, label: str | None = None, report: Report | None = None
) -> Iterator[Sentence]:
    """Read an IOB file.

    Columns are separated by tabs, or by spaces in a line without tabs; the first is the token,
    the last its tag. Tags are typed ("B-Chemical") or bare ("B"), in IOB, BIOES or BILUO.
    -DOCSTART- lines separate documents.
    """
    report = Report() if report is None else report
    words: list[str] = []
    tags: list[str | None] = []
    first_line, starts_document, is_empty = 1, True, True
    for number, line in read_lines(path):
        if not line.strip():
            if words:
                yield Sentence(words, tags, first_line, starts_document)
                words, tags, starts_document, is_empty = [], [], False, False
            continue
        if line.startswith("-DOCSTART-"):
            starts_document = True
            continue
        word, tag = _split_columns(line)
        if not word:
            report.problem(
                "line without a token", path, number, f"no token in {line!r}", "skipped"
            )
            continue
        if not words:
            first_line = number
        words.append(word)
        tags.append(
            _read_tag(path, number, line, tag, tags[-1] if tags else "O", label, report)
        )
    if words:
        is_empty = False
        yield Sentence(words, tags, first_line, starts_document)
    if is_empty:
        raise WeltError(
            f"{path}:1: no sentence in this file: one token and one tag a line are "
            "expected, separated by a tab"
        )


def _split_columns(line: str) -> tuple[str, str | None]:
    columns = line.split("\t") if "\t" in line else line.split()
    if len(columns) == 1:
        return columns[0].strip(), None
    return columns[0].strip(), columns[-1].strip()


def _read_tag(
    path: Path,
    number: int,
    line: str,
    tag: str | None,
    previous: str | None,
    label: str | None,
    report: Report,
) -> str | None:
    if tag is None or tag == "":
        report.problem(
            "line without a tag",
            path,
            number,
            f"no tag in {line!r}",
            "taken as not annotated",
        )
        return None
    if tag == "O":
        return "O"
    match = _TAG.match(tag)
    if match is None:
        report.problem(
            "unknown tag",
            path,
            number,
            f"{tag!r} is not an IOB tag (O, B, I, B-Type, I-Type)",
            "taken as not annotated",
        )
        return None
    prefix, type_ = _PREFIXES[match.group(1)], match.group(2) or label
    if type_ is None:
        raise WeltError(
            f"{path}:{number}: the tag {tag!r} has no type: name it with --label"
        )
    if prefix == "I" and (previous is None or previous[2:] != type_):
        # After E-x or S-x an I-x continues the entity, as conlleval reads it
        report.problem(
            "orphan I tag",
            path,
            number,
            f"{tag!r} continues nothing: the tag before is {previous or 'missing'!r}",
            "taken as B",
        )
        prefix = "B"
    return f"{prefix}-{type_}"
