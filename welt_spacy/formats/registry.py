"""Which reader reads which file."""

from collections.abc import Sequence
from typing import Any

from ..errors import WeltError
from .readers import (
    Columns,
    CsvReader,
    JsonlReader,
    Limits,
    ParquetReader,
    PubTatorReader,
    Reader,
    TextReader,
    WholeFileReader,
)
from .streams import suffix_of
from .xml_readers import make_xml_reader

# Formats by what names end in. `.xml` is PubMed's or BioC: see `xml_readers.sniff`.
LINE_READERS: dict[str, Any] = {
    ".txt": TextReader,
    ".jsonl": JsonlReader,
    ".csv": CsvReader,
    ".tsv": CsvReader,
    ".parquet": ParquetReader,
    ".pubtator": PubTatorReader,
}
SUFFIXES: Sequence[str] = (*LINE_READERS, ".xml")


def make_reader(
    address: str,
    *,
    limits: Limits = Limits(),
    columns: Columns = Columns(),
    whole_files: bool = False,
) -> Reader:
    """Get the reader of a file.

    address (str): The file, or the address.
    limits (Limits): What is too long.
    columns (Columns): What the fields are called, in JSONL, CSV and Parquet.
    whole_files (bool): Whether a `.txt` file is one document.
    RETURNS (Reader): The reader.
    RAISES (WeltError): If the format is not known.
    """
    suffix = suffix_of(address)
    if suffix == ".txt" and whole_files:
        return WholeFileReader(address, limits, columns)
    if suffix == ".xml":
        return make_xml_reader(address, limits, columns)
    if suffix not in LINE_READERS:
        raise WeltError(
            f"{address}: can't tell the format: names end in {', '.join(SUFFIXES)}, and "
            "maybe .gz or .zst"
        )
    return LINE_READERS[suffix](address, limits, columns)
