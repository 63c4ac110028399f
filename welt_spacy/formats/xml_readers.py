"""PubMed's XML and BioC, a document at a time.

A file is cut at the tags of its documents, and each is parsed for itself: a broken one
is refused, not the file. No entity that a file declares is ever known to the parser.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLParser

from ..errors import WeltError, first_line
from .bioc import RawDocument, build_document
from .documents import Document, parse_offset
from .problems import BadDocument, Damaged, Report
from .readers import Columns, Deleted, Limits, Place, Raw, Reader, Scanned
from .streams import BUFFER, open_stream

# Where a file's declarations and its first tag are
HEAD = 1 << 16
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)""")
_PMID = re.compile(rb"<PMID(?:\s+Version\s*=\s*[\"'](\d+)[\"'])?[^>]*>\s*(\d+)\s*<")


class XmlReader(Reader):
    """Cuts a file into documents.

    tags (tuple[str, ...]): The elements that are documents.
    """

    tags: tuple[str, ...] = ()

    def _split(self, place: Place) -> Iterator[Raw]:
        with open_stream(self.address) as stream:
            self.encoding = _read_head(stream.peek(HEAD)[:HEAD], self.address)
        with open_stream(self.address, place.offset) as stream:
            yield from split_elements(stream, place, self.tags, self.limits.bytes)

    def _root(self, raw: Raw) -> Element:
        try:
            parser = XMLParser(encoding=self.encoding)
            parser.feed(raw.content)
            return parser.close()
        except ParseError as err:
            line = raw.place.line + err.position[0] - 1
            reason = first_line(err).partition(": line ")[0]
            raise BadDocument(
                "not XML", f"not well-formed in line {line}: {reason}", self._name(raw)
            ) from None
        except (LookupError, ValueError) as err:
            raise BadDocument("not XML", first_line(err), self._name(raw)) from None

    def _name(self, raw: Raw) -> str:
        """The id of a document that can't be parsed, if it can be told."""
        return ""


class PubMedReader(XmlReader):
    """The XML of PubMed's baseline and update files: title, abstract and PubMed id.

    Sections of an abstract are joined by blanks and begin with their labels, as on PubMed's
    pages.
    """

    tags = ("PubmedArticle", "PubmedBookArticle", "DeleteCitation")

    def _look(self, raw: Raw) -> Scanned | Deleted | None:
        content = raw.content or b""
        if content.startswith(b"<DeleteCitation"):
            return Deleted([int(match[2]) for match in _PMID.finditer(content)])
        match = _PMID.search(content)
        key = None
        if match and len(match[2]) <= 9 and len(match[1] or b"") <= 4:
            key = (int(match[2]), int(match[1] or 1))
        return Scanned(raw.place, key)

    def _name(self, raw: Raw) -> str:
        match = _PMID.search(raw.content)
        return match[2].decode() if match else ""

    def _parse(self, raw: Raw, default: str) -> Document:
        root = self._root(raw)
        found = root.find("./MedlineCitation/PMID")
        if found is None:
            found = root.find(".//PMID")
        name = _text(found)
        if not name:
            raise BadDocument("no PubMed id", "a citation without PMID")
        title = root.find("./MedlineCitation/Article/ArticleTitle")
        if title is None:
            title = next((e for e in map(root.find, _TITLES) if e is not None), None)
        abstract = root.find("./MedlineCitation/Article/Abstract")
        if abstract is None:
            abstract = root.find(".//Abstract")
        parts = []
        for section in [] if abstract is None else abstract.findall("AbstractText"):
            text, label = _text(section), section.get("Label", "").strip()
            if text:
                parts.append(f"{label}: {text}" if label else text)
        told = _text(title)
        # The offsets of PubTator: one blank after the title
        text = " ".join([told, *parts]) if told else " ".join(parts)
        return Document(name, text, len(told) if parts else 0)


_TITLES = (".//ArticleTitle", ".//BookDocument/Book/BookTitle")


class BioCReader(XmlReader):
    """BioC XML: the texts of passages or sentences at their offsets, the first at 0."""

    tags = ("document",)

    def _parse(self, raw: Raw, default: str) -> Document:
        root = self._root(raw)
        name = _text(root.find("id")) or default
        texts: list[tuple[int, str, int]] = []
        for passage in root.iter("passage"):
            for holder in (passage, *passage.iter("sentence")):
                text = holder.find("text")
                if text is None:
                    continue
                offset = parse_offset(_text(holder.find("offset")))
                if offset is None:
                    raise BadDocument("no offset", "a text without offset", id=name)
                texts.append((offset, "".join(text.itertext()), raw.place.line))
        try:
            document = build_document(
                Path(self.address),
                RawDocument(name, raw.place.line, texts, []),
                Report(strict=True),
            )
        except WeltError as err:
            raise BadDocument("wrong offsets", str(err), id=name) from None
        return Document(name, document.text)


def make_xml_reader(address: str, limits: Limits, columns: Columns) -> Reader:
    """Get the reader of an XML file by its first tags.

    address (str): The file, or the address.
    limits (Limits): What is too long.
    columns (Columns): Not used here.
    RETURNS (Reader): The reader.
    RAISES (WeltError): If it can't be opened; `Damaged` if it is not PubMed's XML or BioC.
    """
    with open_stream(address) as stream:
        head = stream.read(HEAD)
    for tag, reader in _ROOTS.items():
        if re.search(rb"<" + tag + rb"[\s>]", head):
            return reader(address, limits, columns)
    raise Damaged(
        f"{address}: neither PubMed's XML (<PubmedArticleSet>) nor BioC (<collection>), or "
        "not in an encoding like UTF-8"
    )


_ROOTS: dict[bytes, Any] = {
    b"PubmedArticleSet": PubMedReader,
    b"PubmedArticle": PubMedReader,
    b"PubmedBookArticleSet": PubMedReader,
    b"DeleteCitation": PubMedReader,
    b"collection": BioCReader,
}


def split_elements(
    stream: io.BufferedReader, place: Place, tags: tuple[str, ...], limit: int
) -> Iterator[Raw]:
    """Cut XML into elements, by their tags alone. They must not be in each other.

    stream (io.BufferedReader): The bytes.
    place (Place): Where they begin in the file.
    tags (tuple[str, ...]): The names of the elements.
    limit (int): The most bytes of an element.
    YIELDS (Raw): The elements; one that has no end, or is too long, without its content.
    """
    names = b"|".join(tag.encode() for tag in tags)
    start = re.compile(rb"<(" + names + rb")(?=[\s>])")
    # Of an element that is not ended, another's start tells it as well
    either = re.compile(
        rb"</(" + names + rb")\s*>|" + start.pattern.replace(b"(", b"(?:", 1)
    )
    longest = max(map(len, tags)) + 16
    window = _Window(stream, place)
    while True:
        found = start.search(window.content, window.at)
        if found is None:
            window.pass_to(max(window.at, len(window.content) - longest))
            if not window.grow():
                return
            continue
        window.pass_to(found.start())
        begins, tag, n, wrong, ended = window.place, found[1], 0, "", False
        looked = 1  # after the first character, which is of the start
        while True:
            end = either.search(window.content, window.at + looked)
            if end is not None:
                break
            ahead = len(window.content) - window.at
            looked = max(looked, ahead - longest)
            if n + ahead > limit and looked > 1:
                # Passed over from here on, without being kept
                wrong = f"more than {limit:,} bytes"
                window.pass_to(window.at + looked)
                n, looked = n + looked, 0
            if not window.grow():
                break
        if end is None:
            yield Raw(begins, None, wrong or f"<{tag.decode()}> has no end")
            return
        ended = end[1] == tag
        at = end.end() if end[1] else end.start()
        if not wrong and n + at - window.at > limit:
            wrong = f"more than {limit:,} bytes"
        if not wrong and not ended:
            wrong = f"<{tag.decode()}> has no end"
        content = None if wrong else window.content[window.at : at]
        window.pass_to(at)
        yield Raw(begins, content, wrong)


class _Window:
    """The part of a stream that is looked at."""

    def __init__(self, stream: io.BufferedReader, place: Place) -> None:
        self.stream, self.place = stream, place
        self.content, self.at = b"", 0

    def pass_to(self, at: int) -> None:
        """What is before a place is not looked at again."""
        offset, line = self.place
        lines = self.content.count(b"\n", self.at, at)
        self.place = Place(offset + at - self.at, line + lines)
        self.at = at

    def grow(self) -> bool:
        """Read on; False at the end."""
        more = self.stream.read1(BUFFER)
        self.content, self.at = self.content[self.at :] + more, 0
        return bool(more)


def _read_head(head: bytes, address: str) -> str | None:
    if b"<!ENTITY" in head:
        raise Damaged(
            f"{address}: it declares entities (<!ENTITY>), which are not taken from files: "
            "write the characters themselves"
        )
    found = _ENCODING.match(head.removeprefix(b"\xef\xbb\xbf"))
    return found[1].decode() if found else None


def _text(element: Element | None) -> str:
    return "" if element is None else "".join(element.itertext()).strip()
