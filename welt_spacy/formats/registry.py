"""Formats by name, and their detection by the names and first bytes of files."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import WeltError
from .bioc import BioCReader, read_bioc
from .brat import read_brat
from .documents import Document
from .problems import Damaged, Report
from .pubmed import PubMedReader
from .pubtator import PubTatorReader, read_pubtator
from .readers import Columns, Limits, Reader
from .streams import open_stream, suffix_of
from .tabular import (
    CsvReader,
    JsonlReader,
    ParquetReader,
    TextReader,
    WholeFileReader,
)
from .xml_elements import HEAD

# Readers of texts, some of which have mentions; the first tags of .xml decide its format
_BY_SUFFIX: dict[str, type[Reader]] = {
    ".txt": TextReader,
    ".jsonl": JsonlReader,
    ".csv": CsvReader,
    ".tsv": CsvReader,
    ".parquet": ParquetReader,
    ".pubtator": PubTatorReader,
}
SUFFIXES = (*_BY_SUFFIX, ".xml")
_BY_TAG: dict[bytes, type[Reader]] = {
    b"PubmedArticleSet": PubMedReader,
    b"PubmedArticle": PubMedReader,
    b"PubmedBookArticleSet": PubMedReader,
    b"DeleteCitation": PubMedReader,
    b"collection": BioCReader,
}

# Formats of annotated corpora with texts and offsets; IOB has tokens
OFFSET_READERS: dict[str, Callable[..., Iterator[Document]]] = {
    "pubtator": read_pubtator,
    "bioc": read_bioc,
    "brat": read_brat,
}
CORPUS_FORMATS = ("iob", *OFFSET_READERS)
_CORPUS_SUFFIXES = {".pubtator": "pubtator", ".xml": "bioc"}


def make_reader(
    address: str,
    *,
    limits: Limits = Limits(),
    columns: Columns = Columns(),
    whole_files: bool = False,
    report: Report | None = None,
) -> Reader:
    """Create the reader of a file of texts."""
    suffix = suffix_of(address)
    if suffix == ".txt" and whole_files:
        reader: type[Reader] = WholeFileReader
    elif suffix == ".xml":
        reader = _detect_xml(address)
    elif suffix in _BY_SUFFIX:
        reader = _BY_SUFFIX[suffix]
    else:
        raise WeltError(
            f"{address}: the format is not known: names end in {', '.join(SUFFIXES)}, and "
            "maybe .gz or .zst"
        )
    return reader(address, limits, columns, report)


def _detect_xml(address: str) -> type[Reader]:
    with open_stream(address) as stream:
        head = stream.read(HEAD)
    for tag, reader in _BY_TAG.items():
        if re.search(rb"<" + tag + rb"[\s>]", head):
            return reader
    raise Damaged(
        f"{address}: neither PubMed's XML (<PubmedArticleSet>) nor BioC (<collection>), or "
        "not in an encoding like UTF-8"
    )


def detect_corpus_format(path: Path) -> str:
    """Return the format of an annotated corpus by the name of its file or folder."""
    if path.is_dir():
        return "brat"
    return _CORPUS_SUFFIXES.get(suffix_of(str(path)), "iob")
