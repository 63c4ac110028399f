"""Records of documents: what readers return and writers take."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from spacy.tokens import Doc

from .problems import Report


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """A mention of an entity, as annotated in a corpus file.

    start, end (int): Offsets of the first character and after the last one.
    label (str): The entity type.
    line (int): The line of the file, from 1.
    fragments (tuple[tuple[int, int], ...]): Offsets of the stretches of a discontinuous
        mention; empty for a mention in one piece.
    """

    start: int
    end: int
    label: str
    line: int = 0
    fragments: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an id, from a file of any format.

    id (str): The id, such as a PubMed id.
    text (str): The text.
    title_length (int): Number of characters of the title that the text begins with; 0 if the
        file does not tell it apart.
    mentions (Sequence[Mention]): The mentions, in any order, maybe overlapping.
    parts (Sequence[int]): Offsets where a new part begins, such as the abstract after the
        title. No sentence runs across them.
    annotated_labels (frozenset[str] | None): The labels that the annotators looked for; None
        if the file does not list them.
    path (str): The file or address.
    line (int): The line where the document begins, from 1.
    """

    id: str
    text: str
    title_length: int = 0
    mentions: Sequence[Mention] = ()
    parts: Sequence[int] = ()
    annotated_labels: frozenset[str] | None = None
    path: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a tokenised format.

    words (list[str]): The tokens.
    tags (list[str | None]): IOB2 tags with labels; None for a token without annotation.
    line (int): The line of the first token.
    starts_document (bool): Whether a new document begins here.
    """

    words: list[str]
    tags: list[str | None]
    line: int
    starts_document: bool = False


class Entity(NamedTuple):
    """A predicted entity as plain data.

    start, end (int): Offsets of the first character and after the last one.
    label (str): The label.
    text (str): The characters.
    confidence (float | None): The probability, to four decimals; None if the pipeline gives
        none.
    pipeline (str): Name and version of the pipeline.
    """

    start: int
    end: int
    label: str
    text: str
    confidence: float | None
    pipeline: str


class AnnotatedDocument(NamedTuple):
    """A document with its predicted entities.

    document (Document): The document.
    entities (list[Entity]): The entities, in the order of the text.
    n_words (int): Number of tokens.
    doc (Doc | None): The doc of the first pipeline. It must not be stored, because its
        strings are freed at the end of the memory zone.
    """

    document: Document
    entities: list[Entity]
    n_words: int
    doc: Doc | None = None


class Reject(NamedTuple):
    """A document that could not be read or annotated.

    id (str): The id; file and line if it is not known.
    reason (str): A short name of the problem, by which rejects are counted.
    message (str): The problem and its place.
    """

    id: str
    reason: str
    message: str


Item = Document | Reject


def select_mentions(
    document: Document, labels: dict[str, str] | None, report: Report
) -> list[Mention]:
    """Select the mentions of some types, rename the types, and drop overlaps: the longest
    mention wins, and of two of the same length the first.
    """
    mentions = [
        replace(mention, label=labels[mention.label]) if labels else mention
        for mention in document.mentions
        if not labels or mention.label in labels
    ]
    mentions.sort(key=lambda m: (m.start - m.end, m.start, m.line))
    taken = bytearray(len(document.text) + 1)
    selected: dict[tuple[int, int, str], Mention] = {}
    for mention in mentions:
        if (mention.start, mention.end, mention.label) in selected:
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
        selected[mention.start, mention.end, mention.label] = mention
    return sorted(selected.values())


def place_mention(
    text: str,
    mention: Mention,
    quote: str | None,
    path: str,
    report: Report,
) -> Mention | None:
    """Check the offsets of a mention against its text."""
    start, end, line = mention.start, mention.end, mention.line
    if not mention.label:
        report.problem(
            "mention without a type",
            path,
            line,
            f"mention {quote!r} has an empty type",
            "skipped",
        )
        return None
    inside = 0 <= start < end <= len(text)
    if inside and (quote is None or _same_words(text[start:end], quote)):
        return mention
    problem = (
        f"offsets {start}-{end} give {text[start:end]!r}, not {quote!r}"
        if inside
        else f"offsets {start}-{end} are outside the text of {len(text)} characters"
    )
    starts = _find_all(text, quote) if quote else []
    if not starts:
        report.problem("wrong offsets", path, line, problem, "dropped")
        return None
    nearest = min(starts, key=lambda place: abs(place - start))
    report.problem("wrong offsets", path, line, problem, f"moved to {nearest}")
    return Mention(nearest, nearest + len(quote or ""), mention.label, line)


def _same_words(a: str, b: str) -> bool:
    # brat quotes a line end as a blank
    return a == b or a.split() == b.split()


def _find_all(text: str, quote: str) -> list[int]:
    starts, start = [], text.find(quote)
    while start >= 0:
        starts.append(start)
        start = text.find(quote, start + 1)
    return starts


def parse_offset(text: str) -> int | None:
    """Parse an offset: digits, maybe with white space around them. None if the text is
    anything else, or a number larger than any file.
    """
    text = text.strip()
    is_number = text.isascii() and text.isdigit() and len(text) <= 12
    return int(text) if is_number else None
