"""Entities in the formats that others read.

The same documents give the same bytes, in whatever process they are written.
"""

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from spacy.tokens import Doc, DocBin
from spacy.util import filter_spans
from spacy.vocab import Vocab

from ..errors import WeltError, extra_needed
from ..tokens.confidence import install_extensions, set_confidence
from ..tokens.document_id import set_document_id
from .documents import AnnotatedDocument, Entity

# What XML can't have, even escaped
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# What ends a line, or a column, in the eyes of some reader
_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")


class Writer(Protocol):
    """Writes the documents of a shard."""

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document.

        annotated (AnnotatedDocument): The document and its entities.
        """
        ...

    def close(self) -> None:
        """Write what is left. What it is written to is closed by who opened it."""
        ...


class JsonlWriter:
    """JSON, an object a document: {"id": ..., "entities": [{"start", "end", "label", "text",
    "confidence", "pipeline"}, ...]}, and "text" if wanted.

    file (BinaryIO): The file.
    with_text (bool): Whether the text is written too.
    """

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        self.file, self.with_text = file, with_text

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document.

        annotated (AnnotatedDocument): The document and its entities.
        """
        row = _row(annotated, self.with_text)
        self.file.write(json.dumps(row, ensure_ascii=False).encode("utf8") + b"\n")

    def close(self) -> None:
        """Nothing is left."""


class GzipJsonlWriter(JsonlWriter):
    """The same, packed.

    file (BinaryIO): The file.
    with_text (bool): Whether the text is written too.
    """

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        # No name and no time in it
        packed = gzip.GzipFile("", "wb", 6, file, mtime=0)
        super().__init__(packed, with_text)  # type: ignore[arg-type]

    def close(self) -> None:
        """Write what is left."""
        self.file.close()


class ParquetWriter:
    """Parquet, a row a document, the entities as a list of structs.

    file (BinaryIO): The file.
    with_text (bool): Whether the text is written too.
    """

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        with extra_needed("Parquet", "annotation"):
            import pyarrow
            import pyarrow.parquet
        self.arrow: Any = pyarrow
        entity = pyarrow.struct(
            [
                ("start", pyarrow.int32()),
                ("end", pyarrow.int32()),
                ("label", pyarrow.string()),
                ("text", pyarrow.string()),
                ("confidence", pyarrow.float64()),
                ("pipeline", pyarrow.string()),
            ]
        )
        fields = [("id", pyarrow.string()), ("entities", pyarrow.list_(entity))]
        if with_text:
            fields.append(("text", pyarrow.string()))
        self.schema = pyarrow.schema(fields)
        self.table = pyarrow.parquet.ParquetWriter(
            file, self.schema, compression="zstd"
        )
        self.with_text = with_text
        self.rows: list[dict[str, Any]] = []

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document.

        annotated (AnnotatedDocument): The document and its entities.
        """
        self.rows.append(_row(annotated, self.with_text))
        if len(self.rows) == 1000:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self.table.close()

    def _flush(self) -> None:
        if self.rows:
            table = self.arrow.Table.from_pylist(self.rows, schema=self.schema)
            self.table.write_table(table)
        self.rows = []


class PubTatorWriter:
    """PubTator. It has no place for confidences. Line ends and tabs in texts become blanks,
    one for one, so that offsets hold.

    file (BinaryIO): The file.
    with_text (bool): Not used: a PubTator file always has the text.
    """

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        self.file = file

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document.

        annotated (AnnotatedDocument): The document and its entities.
        """
        name = _BREAKS.sub(" ", annotated.document.id).replace("|", "_")
        text = _BREAKS.sub(" ", annotated.document.text)
        # Offsets count one character between title and abstract
        title = annotated.document.title_length or len(text)
        lines = [f"{name}|t|{text[:title]}", f"{name}|a|{text[title + 1 :]}"]
        for ent in annotated.entities:
            mention = text[ent.start : ent.end]
            columns = (name, ent.start, ent.end, mention, _BREAKS.sub(" ", ent.label))
            lines.append("\t".join(map(str, (*columns, "-"))))
        self.file.write(("\n".join(lines) + "\n\n").encode("utf8"))

    def close(self) -> None:
        """Nothing is left."""


class BioCWriter:
    """BioC XML, a passage a document; offsets and lengths count characters. Characters
    that XML can't have become U+FFFD, one for one.

    file (BinaryIO): The file.
    with_text (bool): Not used: a BioC file always has the text.
    """

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        self.file = file
        self._put(
            '<?xml version="1.0" encoding="UTF-8"?>\n<collection>'
            "<source>spacy welt annotate</source><date></date><key></key>\n"
        )

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document.

        annotated (AnnotatedDocument): The document and its entities.
        """
        parts = [
            f"<document><id>{_xml(annotated.document.id)}</id><passage><offset>0</offset>"
            f"<text>{_xml(annotated.document.text)}</text>\n"
        ]
        for i, ent in enumerate(annotated.entities):
            told = {"type": ent.label, "pipeline": ent.pipeline}
            if ent.confidence is not None:
                told["confidence"] = str(ent.confidence)
            infons = "".join(
                f"<infon key={quoteattr(key)}>{_xml(value)}</infon>"
                for key, value in told.items()
            )
            parts.append(
                f'<annotation id="{i}">{infons}<location offset="{ent.start}" '
                f'length="{ent.end - ent.start}"/><text>{_xml(ent.text)}</text>'
                "</annotation>\n"
            )
        parts.append("</passage></document>\n")
        self._put("".join(parts))

    def close(self) -> None:
        """Write the end."""
        self._put("</collection>\n")

    def _put(self, text: str) -> None:
        self.file.write(text.encode("utf8"))


class BratWriter:
    """brat: a folder with a .txt and an .ann file a document, named by its number and id.
    Confidence and pipeline are notes.

    folder (Path): The folder, which is there and empty.
    with_text (bool): Not used: brat needs the text.
    """

    def __init__(self, folder: Path, with_text: bool) -> None:
        self.folder = folder
        self.n_written = 0

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document.

        annotated (AnnotatedDocument): The document and its entities.
        """
        # No id leads out of the folder, or to the file of another
        name = f"{self.n_written:06d}-{quote(annotated.document.id, safe='')[:80]}"
        self.n_written += 1
        lines = []
        for i, ent in enumerate(annotated.entities, start=1):
            label = re.sub(r"\s+", "_", ent.label) or "_"
            mention = _BREAKS.sub(" ", ent.text)
            # A mention that goes over a line end is given in pieces, a line each
            pieces = _lines(annotated.document.text, ent.start, ent.end)
            places = ";".join(f"{start} {end}" for start, end in pieces)
            lines.append(f"T{i}\t{label} {places}\t{mention}")
            told = ent.pipeline
            if ent.confidence is not None:
                told = f"{ent.confidence} {told}"
            lines.append(f"#{i}\tAnnotatorNotes T{i}\t{told}")
        for end, text in (
            (".txt", annotated.document.text),
            (".ann", "".join(line + "\n" for line in lines)),
        ):
            (self.folder / (name + end)).write_bytes(text.encode("utf8"))

    def close(self) -> None:
        """Nothing is left."""


class SpacyWriter:
    """A `.spacy` file, in the tokens of the pipeline. Confidences are `ent._.confidence`.

    file (BinaryIO): The file.
    with_text (bool): Not used: a doc has its text.
    """

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        self.file = file
        self.vocab = Vocab()
        install_extensions()
        self.docs = DocBin(
            attrs=["ORTH", "SPACY", "SENT_START", "ENT_TYPE", "ENT_IOB"],
            store_user_data=True,
        )

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document.

        annotated (AnnotatedDocument): The document and its entities, with its doc.
        """
        doc = annotated.doc
        assert doc is not None
        words = [token.text for token in doc]
        copy = Doc(self.vocab, words=words, spaces=[bool(t.whitespace_) for t in doc])
        if doc.has_annotation("SENT_START"):
            for token, other in zip(copy, doc):
                token.is_sent_start = other.is_sent_start
        spans = []
        for ent in annotated.entities:
            span = copy.char_span(ent.start, ent.end, label=ent.label)
            if span is not None:
                spans.append((span, ent))
        copy.ents = filter_spans([span for span, _ in spans])
        for span, ent in spans:
            if ent.confidence is not None:
                set_confidence(span, ent.confidence, ent.pipeline)
        set_document_id(copy, annotated.document.id)
        self.docs.add(copy)

    def close(self) -> None:
        """Write the file."""
        self.file.write(self.docs.to_bytes())


# Writer and ending of each format; brat's is a folder
WRITERS: dict[str, tuple[Any, str]] = {
    "jsonl": (JsonlWriter, ".jsonl"),
    "jsonl.gz": (GzipJsonlWriter, ".jsonl.gz"),
    "parquet": (ParquetWriter, ".parquet"),
    "pubtator": (PubTatorWriter, ".pubtator"),
    "bioc": (BioCWriter, ".xml"),
    "brat": (BratWriter, ""),
    "spacy": (SpacyWriter, ".spacy"),
}


def check_format(name: str, n_pipelines: int) -> None:
    """Check that a format can be written.

    name (str): The format.
    n_pipelines (int): Of how many pipelines.
    RAISES (WeltError): If it is not known, lacks a package, or can't hold this.
    """
    if name not in WRITERS:
        raise WeltError(f"--format is {name!r}: use one of {', '.join(WRITERS)}")
    if name == "spacy" and n_pipelines > 1:
        raise WeltError(
            "--format spacy holds the tokens and entities of one pipeline: use another "
            "format, or one pipeline at a time"
        )
    if name == "parquet":
        with extra_needed("Parquet", "annotation"):
            import pyarrow  # noqa: F401


def _row(annotated: AnnotatedDocument, with_text: bool) -> dict[str, Any]:
    entities: Sequence[Entity] = annotated.entities
    row = {"id": annotated.document.id, "entities": [ent._asdict() for ent in entities]}
    if with_text:
        row["text"] = annotated.document.text
    return row


def _xml(text: str) -> str:
    # A reader makes a line feed of a carriage return that is not escaped
    return escape(_NOT_XML.sub("\ufffd", text), {"\r": "&#13;"})


def _lines(text: str, start: int, end: int) -> list[tuple[int, int]]:
    pieces, begin = [], start
    for match in re.finditer("[\r\n]+", text[start:end]):
        if start + match.start() > begin:
            pieces.append((begin, start + match.start()))
        begin = start + match.end()
    if begin < end:
        pieces.append((begin, end))
    return pieces or [(start, end)]
