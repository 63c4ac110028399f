"""Reader of the XML of PubMed's baseline and update files."""

import re
from xml.etree.ElementTree import Element, ParseError, XMLParser

from ..errors import first_line
from .documents import Document
from .lines import Raw
from .problems import BadDocument
from .readers import Deleted, Scanned
from .xml_elements import XmlReader

_PMID = re.compile(rb"<PMID(?:\s+Version\s*=\s*[\"'](\d+)[\"'])?[^>]*>\s*(\d+)\s*<")
_TITLES = (
    "./MedlineCitation/Article/ArticleTitle",
    ".//ArticleTitle",
    ".//BookDocument/Book/BookTitle",
)
_ABSTRACTS = ("./MedlineCitation/Article/Abstract", ".//Abstract")


class PubMedReader(XmlReader):
    """PubMed's XML: title, abstract and PubMed id.

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

    def _parse(self, raw: Raw, default: str) -> Document:
        root = self._parse_xml(raw)
        pmid = _text(_find(root, ("./MedlineCitation/PMID", ".//PMID")))
        if not pmid:
            raise BadDocument("no PubMed id", "a citation without PMID")
        title = _text(_find(root, _TITLES))
        abstract = _find(root, _ABSTRACTS)
        sections = []
        for section in [] if abstract is None else abstract.findall("AbstractText"):
            text, label = _text(section), section.get("Label", "").strip()
            if text:
                sections.append(f"{label}: {text}" if label else text)
        # The offsets of PubTator: one blank after the title
        return Document(
            pmid,
            " ".join([title, *sections] if title else sections),
            len(title) if sections else 0,
            parts=(len(title) + 1,) if title and sections else (),
            path=self.address,
            line=raw.place.line,
        )

    def _parse_xml(self, raw: Raw) -> Element:
        match = _PMID.search(raw.content)
        pmid = match[2].decode() if match else ""
        try:
            parser = XMLParser(encoding=self.encoding)
            parser.feed(raw.content)
            return parser.close()
        except ParseError as err:
            line = raw.place.line + err.position[0] - 1
            reason = first_line(err).partition(": line ")[0]
            message = f"not well-formed in line {line}: {reason}"
            raise BadDocument("not XML", message, pmid, line) from None
        except (LookupError, ValueError) as err:
            raise BadDocument("not XML", first_line(err), pmid) from None


def _find(root: Element, paths: tuple[str, ...]) -> Element | None:
    return next((e for e in map(root.find, paths) if e is not None), None)


def _text(element: Element | None) -> str:
    return "" if element is None else "".join(element.itertext()).strip()
