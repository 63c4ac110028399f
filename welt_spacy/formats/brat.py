"""Reader of brat standoff: a .txt file and an .ann file beside it."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import WeltError
from .documents import Document, Mention, place_mention
from .lines import read_lines
from .problems import Report

_OFFSETS = r"[0-9]{1,12} [0-9]{1,12}"
_TEXT_BOUND = re.compile(rf"^T\S*\t(\S+) ({_OFFSETS}(?:;{_OFFSETS})*)(?:\t(.*))?$")


def read_brat(path: Path, *, report: Report | None = None) -> Iterator[Document]:
    """Read brat standoff annotation."""
    report = Report() if report is None else report
    path = Path(path)
    files = sorted(path.glob("**/*.ann")) if path.is_dir() else [path]
    if not files:
        raise WeltError(f"{path}: no .ann file in this folder")
    for ann in files:
        yield _read_document(ann, report)


def _read_document(ann: Path, report: Report) -> Document:
    text = _read_text(ann)
    mentions: list[Mention] = []
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
        label, offsets, quote = match.groups()
        bounds = [int(n) for n in re.findall(r"\d+", offsets)]
        fragments: tuple[tuple[int, int], ...] = ()
        if len(bounds) > 2:
            fragments = tuple(zip(bounds[::2], bounds[1::2]))
            report.problem(
                "mention in pieces",
                ann,
                number,
                f"{quote!r} has {len(fragments)} pieces",
                "taken from the first piece to the last",
            )
            quote = None
        mention = Mention(min(bounds), max(bounds), label, number, fragments)
        placed = place_mention(text, mention, quote, str(ann), report)
        if placed is not None:
            mentions.append(placed)
    return Document(
        ann.stem,
        text,
        mentions=tuple(mentions),
        parts=tuple(match.end() for match in re.finditer(r"\n", text)),
        path=str(ann),
        line=1,
    )


def _read_text(ann: Path) -> str:
    txt = ann.with_suffix(".txt")
    try:
        text = txt.read_bytes().decode("utf-8")
    except OSError:
        raise WeltError(f"{ann}: its text {txt} is missing") from None
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        raise WeltError(f"{txt}:{line}: not UTF-8: convert the file first") from None
    return text.removeprefix("\ufeff")
