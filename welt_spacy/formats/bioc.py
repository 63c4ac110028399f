"""Reader of BioC XML (Comeau et al. 2013)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.parsers.expat import ErrorString, ExpatError, ParserCreate

from ..errors import WeltError, first_line
from .documents import Document, Mention, parse_offset, place_mention
from .lines import Raw
from .problems import BadDocument, Report
from .readers import NO_LIMITS
from .streams import STEP, open_stream
from .xml_elements import XmlReader

# Characters between two texts that are filled with blanks; full texts with references
# left out have gaps of tens of thousands
MAX_GAP = 1_000_000


def read_bioc(path: Path, *, report: Report | None = None) -> Iterator[Document]:
    """Read a BioC XML file.

    Texts of passages or sentences are put at their offsets, with blanks in the gaps between
    them. A discontinuous mention ends where its last fragment ends.
    """
    report = Report() if report is None else report
    return BioCReader(str(path), NO_LIMITS, report=report).read_all()


class _Text(NamedTuple):
    """The text of a passage or sentence; `has_offset` is False if the offset is that of the
    text before.
    """

    offset: int
    content: str
    line: int
    has_offset: bool


class _Annotation(NamedTuple):
    line: int
    type: str | None
    quote: str | None
    locations: list[tuple[int, int]]  # offset, length


@dataclass
class _BioCDocument:
    """A document as the file has it."""

    line: int
    id: str = ""
    texts: list[_Text] = field(default_factory=list)
    annotations: list[_Annotation] = field(default_factory=list)


class BioCReader(XmlReader):
    """BioC XML. Offsets of a document begin with that of its first text."""

    tags = ("document",)
    empty = "no <document> in this BioC file"
    reason = "wrong offsets"

    def read_all(self) -> Iterator[Document]:
        """Read all documents, and check that the file is well-formed outside of them, too."""
        parser = _Parser(self.address, self.report)
        is_empty = True
        with open_stream(self.address) as stream:
            content = b"-"
            while content:
                content = stream.read1(STEP)
                try:
                    parser.feed(content, is_final=not content)
                except ExpatError as err:
                    raise WeltError(
                        f"{self.address}:{err.lineno}: not well-formed XML: "
                        f"{ErrorString(err.code)}"
                    ) from None
                except WeltError:
                    raise
                except (LookupError, ValueError) as err:
                    # An encoding that expat does not know
                    raise WeltError(
                        f"{self.address}:1: {first_line(err)}: write the file as UTF-8, and "
                        "its declaration too"
                    ) from None
                for document in parser.take():
                    is_empty = False
                    try:
                        yield self._build(document, "")
                    except BadDocument as err:
                        line = err.line or document.line
                        raise WeltError(f"{self.address}:{line}: {err}") from None
        if is_empty:
            raise WeltError(f"{self.address}:1: {self.empty}")

    def _parse(self, raw: Raw, default: str) -> Document:
        line = raw.place.line
        try:
            parser = _Parser(self.address, None, line, self.encoding)
            parser.feed(raw.content, is_final=True)
        except ExpatError as err:
            line += err.lineno - 1
            message = f"not well-formed in line {line}: {ErrorString(err.code)}"
            raise BadDocument("not XML", message, line=line) from None
        except (LookupError, ValueError) as err:
            raise BadDocument("not XML", first_line(err)) from None
        (document,) = parser.take()
        return self._build(document, default)

    def _build(self, raw: _BioCDocument, default: str) -> Document:
        document_id = raw.id or default
        if self.report is None and not all(text.has_offset for text in raw.texts):
            raise BadDocument("no offset", "a text without offset", id=document_id)
        text, parts = self._join_texts(raw.texts, document_id)
        origin = min((t.offset for t in raw.texts), default=0)
        mentions = []
        if self.report is not None:
            for annotation in raw.annotations:
                mention = self._read_mention(annotation, text, origin, self.report)
                if mention is not None:
                    mentions.append(mention)
        return Document(
            document_id,
            text,
            mentions=tuple(mentions),
            parts=tuple(parts),
            path=self.address,
            line=raw.line,
        )

    def _join_texts(self, texts: list[_Text], name: str) -> tuple[str, list[int]]:
        """Join texts by their offsets, and return where they begin."""
        joined, length = [], 0
        parts: list[int] = []
        origin = min((text.offset for text in texts), default=0)
        for offset, content, line, _ in sorted(texts):
            gap = offset - origin - length
            if gap < 0:
                self._problem(
                    "overlapping text",
                    line,
                    f"text at offset {offset} begins before the text before it ends",
                    "put after it",
                    name,
                )
                gap = 1
            elif gap > MAX_GAP:
                self._problem(
                    "gap in the text",
                    line,
                    f"text at offset {offset} begins {gap} characters after the text before",
                    "put right after it",
                    name,
                )
                gap = 1
            parts.append(length + gap)
            joined.append(" " * gap + content)
            length += gap + len(content)
        return "".join(joined), parts

    def _read_mention(
        self, annotation: _Annotation, text: str, origin: int, report: Report
    ) -> Mention | None:
        line, type_, quote, locations = annotation
        if type_ is None or not locations:
            missing = "type" if type_ is None else "location"
            report.problem(
                f"annotation without a {missing}",
                self.address,
                line,
                f"annotation of {quote!r} has no {missing}",
                "skipped",
            )
            return None
        fragments = tuple(
            (offset - origin, offset - origin + length) for offset, length in locations
        )
        start, end = min(fragments)[0], max(end for _, end in fragments)
        if len(fragments) > 1:
            report.problem(
                "mention in pieces",
                self.address,
                line,
                f"{quote!r} has {len(fragments)} locations",
                "taken from the first piece to the last",
            )
            mention = Mention(start, end, type_, line, fragments)
            return place_mention(text, mention, None, self.address, report)
        mention = Mention(start, end, type_, line)
        return place_mention(text, mention, quote, self.address, report)


class _Parser:
    """Collects documents from BioC XML, whole files or single documents.

    expat is used directly, because of the parsers of the standard library only it and SAX
    know lines.
    """

    def __init__(
        self,
        address: str,
        report: Report | None,
        line: int = 1,
        encoding: str | None = None,
    ) -> None:
        self.address, self.report, self._first_line = address, report, line
        self._documents: list[_BioCDocument] = []
        self._open: list[str] = []
        # Number of open elements of each name: searching all of them at every end would be
        # quadratic in the depth
        self._depth: Counter[str] = Counter()
        self._chars: list[str] = []
        self._infon_key = ""
        self._document = _BioCDocument(1)
        self._offset, self._has_offset = 0, False
        self._type: str | None = None
        self._quote: str | None = None
        self._locations: list[tuple[int, int]] = []
        self._annotation_line = 1
        self._expat = ParserCreate(encoding)
        self._expat.buffer_text = True
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._chars.append

    def feed(self, content: bytes, *, is_final: bool) -> None:
        """Parse more of the file."""
        self._expat.Parse(content, is_final)

    def take(self) -> list[_BioCDocument]:
        """Return the documents that were completed since the last call."""
        documents, self._documents = self._documents, []
        return documents

    @property
    def _line(self) -> int:
        return self._first_line + self._expat.CurrentLineNumber - 1

    def _problem(self, kind: str, message: str, repair: str) -> None:
        if self.report is not None:
            self.report.problem(kind, self.address, self._line, message, repair)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(name)
        self._depth[name] += 1
        if not self._depth["text"] - (name == "text"):
            self._chars.clear()  # markup inside of a text belongs to it
        if name == "document":
            self._document = _BioCDocument(self._line)
            self._offset = 0
        elif name in ("passage", "sentence"):
            self._has_offset = False
        elif name == "annotation":
            self._type, self._quote, self._locations = None, None, []
            self._annotation_line = self._line
        elif name == "infon":
            self._infon_key = attributes.get("key", "")
        elif name == "location":
            offset, length = (
                parse_offset(attributes.get(key, "")) for key in ("offset", "length")
            )
            if offset is None or length is None:
                self._problem(
                    "bad location",
                    "a <location> needs whole numbers for offset and length",
                    "skipped",
                )
            else:
                self._locations.append((offset, length))

    def _end(self, name: str) -> None:
        self._open.pop()
        self._depth[name] -= 1
        if self._depth["text"]:
            return
        text = "".join(self._chars)
        self._chars.clear()
        in_annotation = bool(self._depth["annotation"])
        if name == "document":
            self._documents.append(self._document)
        elif name == "annotation":
            self._document.annotations.append(
                _Annotation(
                    self._annotation_line, self._type, self._quote, self._locations
                )
            )
        elif name == "id" and self._open[-1:] == ["document"]:
            self._document.id = text.strip()
        elif name == "offset":
            self._read_offset(text)
        elif name == "infon" and in_annotation and self._infon_key == "type":
            self._type = text.strip()
        elif name == "text" and in_annotation:
            self._quote = text
        elif name == "text" and self._depth["passage"]:
            self._document.texts.append(
                _Text(self._offset, text, self._line, self._has_offset)
            )

    def _read_offset(self, text: str) -> None:
        offset = parse_offset(text)
        if offset is not None:
            self._offset, self._has_offset = offset, True
        else:
            self._problem(
                "bad offset",
                f"<offset> is {text!r}, not a whole number",
                "taken as the end of the text before",
            )
