"""Reader for BioC XML (Comeau et al. 2013)."""

import xml.sax
import xml.sax.handler
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import WeltError, first_line
from .documents import Document, Mention, parse_offset, place_mention
from .problems import Report

# Characters between two texts that are filled with blanks; full texts with references
# left out have gaps of tens of thousands.
MAX_GAP = 1_000_000


class _Annotation(NamedTuple):
    line: int
    type: str | None
    text: str | None
    locations: list[tuple[int, int]]  # offset, length


class RawDocument(NamedTuple):
    """A document as the file has it.

    id (str): Its id.
    line (int): The line where it begins.
    texts (list[tuple[int, str, int]]): Offset, text and line of passages or sentences.
    annotations (list[_Annotation]): What is annotated.
    """

    id: str
    line: int
    texts: list[tuple[int, str, int]]
    annotations: list[_Annotation]


def read_bioc(path: Path, *, report: Report | None = None) -> Iterator[Document]:
    """Read a BioC XML file.

    Texts of passages or sentences are put at their offsets, with blanks in the
    gaps between them. Annotations in several pieces become one mention from the
    first piece to the last.

    path (Path): The file.
    report (Report | None): Where problems go: annotations without a type, a
        location or with wrong offsets, annotations in several pieces, texts that
        overlap.
    YIELDS (Document): The documents, with mentions as in the file.
    RAISES (WeltError): If the file can't be read, is not well-formed XML or has
        no document; for any problem if the report is strict.
    """
    report = Report() if report is None else report
    handler = _Handler(path, report)
    parser = xml.sax.make_parser()
    parser.setContentHandler(handler)  # type: ignore[arg-type]
    parser.setFeature(xml.sax.handler.feature_external_ges, False)
    try:
        with Path(path).open("rb") as file:
            parser.parse(file)
    except xml.sax.SAXParseException as err:
        raise WeltError(
            f"{path}:{err.getLineNumber()}: not well-formed XML: {err.getMessage()}"
        ) from None
    except WeltError:
        raise
    except (LookupError, ValueError) as err:
        # expat's, for an encoding that it does not know
        raise WeltError(
            f"{path}:1: {first_line(err)}: write the file as UTF-8, and its declaration "
            "too"
        ) from None
    except OSError as err:
        raise WeltError(f"{path}: can't read this file: {err.strerror}") from None
    if not handler.documents:
        raise WeltError(f"{path}:1: no <document> in this BioC file")
    for raw in handler.documents:
        yield build_document(path, raw, report)


def build_document(path: Path, raw: RawDocument, report: Report) -> Document:
    """Put texts at their offsets, and mentions where they belong.

    path (Path): The file.
    raw (RawDocument): The document.
    report (Report): Where problems go.
    RETURNS (Document): The document.
    RAISES (WeltError): For any problem if the report is strict.
    """
    text, parts = "", []
    origin = min((offset for offset, _, _ in raw.texts), default=0)
    for offset, piece, line in sorted(raw.texts):
        gap = offset - origin - len(text)
        if gap < 0:
            report.problem(
                "overlapping text",
                path,
                line,
                f"text at offset {offset} begins before the text before it ends",
                "put after it",
            )
            gap = 1
        elif gap > MAX_GAP:
            report.problem(
                "gap in the text",
                path,
                line,
                f"text at offset {offset} begins {gap} characters after the text before",
                "put right after it",
            )
            gap = 1
        parts.append(len(text) + gap)
        text += " " * gap + piece
    mentions: list[Mention] = []
    for annotation in raw.annotations:
        if annotation.type is None or not annotation.locations:
            missing = "type" if annotation.type is None else "location"
            report.problem(
                f"annotation without a {missing}",
                path,
                annotation.line,
                f"annotation of {annotation.text!r} has no {missing}",
                "skipped",
            )
            continue
        fragments = sorted(
            (offset - origin, offset - origin + length)
            for offset, length in annotation.locations
        )
        start, end = fragments[0][0], max(end for _, end in fragments)
        quoted = annotation.text
        pieces: tuple[tuple[int, int], ...] = ()
        if len(fragments) > 1:
            report.problem(
                "mention in pieces",
                path,
                annotation.line,
                f"{quoted!r} has {len(annotation.locations)} locations",
                "taken from the first piece to the last",
            )
            quoted, pieces = None, tuple(fragments)
        mention = Mention(start, end, annotation.type, annotation.line, pieces)
        placed = place_mention(text, mention, quoted, str(path), report)
        if placed is not None:
            mentions.append(placed)
    return Document(
        raw.id, text, mentions=mentions, parts=parts, path=str(path), line=raw.line
    )


class _Handler(xml.sax.handler.ContentHandler):
    """Collects what we need; SAX is the only parser at hand that knows lines."""

    def __init__(self, path: Path, report: Report) -> None:
        super().__init__()
        self.path, self.report = path, report
        self.documents: list[RawDocument] = []
        self._open: list[str] = []
        # How many of each name are open: a look at all of them at every end would be
        # quadratic in the depth.
        self._depth: Counter = Counter()
        self._chars: list[str] = []
        self._infon_key = ""
        self._id, self._offset, self._line = "", 0, 1
        self._texts: list[tuple[int, str, int]] = []
        self._annotations: list[_Annotation] = []
        self._type: str | None = None
        self._quoted: str | None = None
        self._locations: list[tuple[int, int]] = []
        self._annotation_line = 1

    def _where(self) -> int:
        return self._locator.getLineNumber()  # type: ignore[attr-defined]

    def startElement(self, name: str, attrs: Any) -> None:
        self._open.append(name)
        self._depth[name] += 1
        if not self._depth["text"] - (name == "text"):
            self._chars = []  # what is marked up in a text belongs to it
        if name == "document":
            self._id, self._offset, self._line = "", 0, self._where()
            self._texts, self._annotations = [], []
        elif name == "annotation":
            self._type, self._quoted, self._locations = None, None, []
            self._annotation_line = self._where()
        elif name == "infon":
            self._infon_key = attrs.get("key", "")
        elif name == "location":
            offset, length = (
                parse_offset(attrs.get(key, "")) for key in ("offset", "length")
            )
            if offset is None or length is None:
                self.report.problem(
                    "bad location",
                    self.path,
                    self._where(),
                    "a <location> needs whole numbers for offset and length",
                    "skipped",
                )
            else:
                self._locations.append((offset, length))

    def characters(self, content: str) -> None:
        self._chars.append(content)

    def endElement(self, name: str) -> None:
        self._open.pop()
        self._depth[name] -= 1
        if self._depth["text"]:
            return
        text = "".join(self._chars)
        self._chars = []
        in_annotation = bool(self._depth["annotation"])
        if name == "document":
            self.documents.append(
                RawDocument(self._id, self._line, self._texts, self._annotations)
            )
        elif name == "annotation":
            self._annotations.append(
                _Annotation(
                    self._annotation_line, self._type, self._quoted, self._locations
                )
            )
        elif name == "id" and self._open[-1:] == ["document"]:
            self._id = text.strip()
        elif name == "offset":
            offset = parse_offset(text)
            if offset is not None:
                self._offset = offset
            else:
                self.report.problem(
                    "bad offset",
                    self.path,
                    self._where(),
                    f"<offset> is {text!r}, not a whole number",
                    "taken as the end of the text before",
                )
        elif name == "infon" and in_annotation:
            if self._infon_key == "type":
                self._type = text.strip()
        elif name == "text":
            if in_annotation:
                self._quoted = text
            elif self._depth["passage"]:
                self._texts.append((self._offset, text, self._where()))
