"""What the readers of all formats return."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .problems import Report


class Mention(NamedTuple):
    """A mention of an entity in raw text.

    start (int): Offset of the first character.
    end (int): Offset after the last character.
    label (str): The entity type.
    line (int): The line of the file that says so.
    """

    start: int
    end: int
    label: str
    line: int


@dataclass
class Sentence:
    """A tokenised sentence, from a format that has tokens.

    words (list[str]): The tokens.
    tags (list[str | None]): IOB2 tags with labels; None: not annotated.
    line (int): The line of its first token.
    starts_document (bool): Whether a new document begins here.
    """

    words: list[str]
    tags: list[str | None]
    line: int
    starts_document: bool = False


@dataclass
class Document:
    """A text with mentions, from a format that has offsets.

    id (str): The document's name, e.g. its PubMed id.
    text (str): The text.
    mentions (list[Mention]): The mentions, in any order, maybe overlapping.
    path (Path): The file.
    line (int): The line where the document begins.
    parts (list[int]): Offsets where a new part begins, such as the abstract
        after the title: no sentence runs across them.
    """

    id: str
    text: str
    path: Path
    line: int
    mentions: list[Mention] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)


def choose_mentions(
    document: Document, labels: dict[str, str] | None, report: Report
) -> list[Mention]:
    """Keep the mentions of some types, rename the types, and let the longest of
    overlapping mentions win (the first of two of the same length).

    document (Document): The document.
    labels (dict[str, str] | None): Types to keep -> the labels they get; all
        types, as they are, if not set.
    report (Report): Where overlaps are counted.
    RETURNS (list[Mention]): Mentions without overlaps, in the order of the text.
    """
    mentions = [
        mention._replace(label=labels[mention.label]) if labels else mention
        for mention in document.mentions
        if not labels or mention.label in labels
    ]
    mentions.sort(key=lambda m: (m.start - m.end, m.start, m.line))
    taken = bytearray(len(document.text) + 1)
    kept: dict[tuple, Mention] = {}
    for mention in mentions:
        if (mention.start, mention.end, mention.label) in kept:
            continue  # the same mention twice, e.g. with two identifiers
        if any(taken[mention.start : mention.end]):
            text = document.text[mention.start : mention.end]
            report.problem(
                "overlapping mention",
                document.path,
                mention.line,
                f"{mention.label} {text!r} overlaps with a longer mention",
                "dropped",
            )
            continue
        taken[mention.start : mention.end] = b"\1" * (mention.end - mention.start)
        kept[mention.start, mention.end, mention.label] = mention
    return sorted(kept.values())


def place_mention(
    document: Document,
    start: int,
    end: int,
    label: str,
    quoted: str | None,
    line: int,
    report: Report,
) -> None:
    """Add a mention to a document after a look at its offsets.

    document (Document): The document.
    start, end (int): The offsets that the file gives.
    label (str): The entity type.
    quoted (str | None): The mention as the file quotes it, if it does.
    line (int): The line of the file.
    report (Report): Where wrong offsets are counted: the mention is moved to
        the nearest place where the text says so, or dropped.
    """
    if not label:
        report.problem(
            "mention without a type",
            document.path,
            line,
            f"mention {quoted!r} has an empty type",
            "skipped",
        )
        return
    text = document.text
    fits = 0 <= start < end <= len(text)
    if fits and (quoted is None or _same_words(text[start:end], quoted)):
        document.mentions.append(Mention(start, end, label, line))
        return
    found = text[start:end] if fits else None
    wrong = (
        f"offsets {start}-{end} are outside the text of {len(text)} characters"
        if found is None
        else f"offsets {start}-{end} give {found!r}, not {quoted!r}"
    )
    places = _places(text, quoted) if quoted else []
    if not places:
        report.problem("wrong offsets", document.path, line, wrong, "dropped")
        return
    nearest = min(places, key=lambda place: abs(place - start))
    report.problem("wrong offsets", document.path, line, wrong, f"moved to {nearest}")
    document.mentions.append(Mention(nearest, nearest + len(quoted or ""), label, line))


def _same_words(one: str, other: str) -> bool:
    # brat quotes a line end as a blank
    return one == other or one.split() == other.split()


def parse_offset(text: str) -> int | None:
    """Read an offset.

    text (str): Digits, maybe with white space around them.
    RETURNS (int | None): The offset; None if the text is anything else, or a number
        that no file reaches.
    """
    text = text.strip()
    plain = text.isascii() and text.isdigit() and len(text) <= 12
    return int(text) if plain else None


def _places(text: str, mention: str) -> list[int]:
    places, at = [], text.find(mention)
    while at >= 0:
        places.append(at)
        at = text.find(mention, at + 1)
    return places
