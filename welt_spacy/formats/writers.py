"""Writers of predicted entities. The same documents give the same bytes in any process."""

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

# Characters that XML can't have, even escaped
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# Characters that end a line or column for some readers
_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")


class Writer(Protocol):
    """Writes the documents of a shard."""

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document with its entities."""
        ...

    def close(self) -> None:
        """Write the rest. The caller closes the file."""
        ...


class JsonlWriter:
    """JSON with one object per document: {"id": ..., "entities": [{"start", "end", "label",
    "text", "confidence", "pipeline"}, ...]}, and "text" if `with_text` is set.
    """

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        self.file, self.with_text = file, with_text

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document with its entities."""
        row = _row(annotated, self.with_text)
        self.file.write(json.dumps(row, ensure_ascii=False).encode("utf8") + b"\n")

    def close(self) -> None:
        """Do nothing: all is written."""


class GzipJsonlWriter(JsonlWriter):
    """JSON lines, compressed with gzip."""

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        # Without name and time, so that the bytes are the same
        packed = gzip.GzipFile("", "wb", 6, file, mtime=0)
        super().__init__(packed, with_text)  # type: ignore[arg-type]

    def close(self) -> None:
        """Write the rest."""
        self.file.close()


class ParquetWriter:
    """Parquet with one row per document; the entities are a list of structs."""

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
        """Write a document with its entities."""
        self.rows.append(_row(annotated, self.with_text))
        if len(self.rows) == 1000:
            self._flush()

    def close(self) -> None:
        """Write the rest."""
        self._flush()
        self.table.close()

    def _flush(self) -> None:
        if self.rows:
            table = self.arrow.Table.from_pylist(self.rows, schema=self.schema)
            self.table.write_table(table)
        self.rows = []


class PubTatorWriter:
    """PubTator, always with texts and without confidences. Line ends and tabs in texts become
    blanks one for one, so offsets stay valid.
    """

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        self.file = file

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document with its entities."""
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
        """Do nothing: all is written."""


class BioCWriter:
    """BioC XML with one passage per document, always with texts. Offsets and lengths count
    characters. Characters that XML can't have become U+FFFD one for one.
    """

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        self.file = file
        self._put(
            '<?xml version="1.0" encoding="UTF-8"?>\n<collection>'
            "<source>spacy welt annotate</source><date></date><key></key>\n"
        )

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document with its entities."""
        parts = [
            f"<document><id>{_xml(annotated.document.id)}</id><passage><offset>0</offset>"
            f"<text>{_xml(annotated.document.text)}</text>\n"
        ]
        for i, ent in enumerate(annotated.entities):
            values = {"type": ent.label, "pipeline": ent.pipeline}
            if ent.confidence is not None:
                values["confidence"] = str(ent.confidence)
            infons = "".join(
                f"<infon key={quoteattr(key)}>{_xml(value)}</infon>"
                for key, value in values.items()
            )
            parts.append(
                f'<annotation id="{i}">{infons}<location offset="{ent.start}" '
                f'length="{ent.end - ent.start}"/><text>{_xml(ent.text)}</text>'
                "</annotation>\n"
            )
        parts.append("</passage></document>\n")
        self._put("".join(parts))

    def close(self) -> None:
        """Write the closing tag."""
        self._put("</collection>\n")

    def _put(self, text: str) -> None:
        self.file.write(text.encode("utf8"))


class BratWriter:
    """brat: an empty folder gets a .txt and an .ann file per document, named by its number and
    id. Confidence and pipeline are notes.
    """

    def __init__(self, folder: Path, with_text: bool) -> None:
        self.folder = folder
        self.n_written = 0

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document with its entities."""
        document = annotated.document
        # Quoted and numbered, so that no id leads out of the folder or to another file
        name = f"{self.n_written:06d}-{quote(document.id, safe='')[:80]}"
        self.n_written += 1
        lines = []
        for i, ent in enumerate(annotated.entities, start=1):
            label = re.sub(r"\s+", "_", ent.label) or "_"
            mention = _BREAKS.sub(" ", ent.text)
            # A mention across line ends has a fragment for each line
            fragments = _split_at_line_ends(document.text, ent.start, ent.end)
            offsets = ";".join(f"{start} {end}" for start, end in fragments)
            lines.append(f"T{i}\t{label} {offsets}\t{mention}")
            note = ent.pipeline
            if ent.confidence is not None:
                note = f"{ent.confidence} {note}"
            lines.append(f"#{i}\tAnnotatorNotes T{i}\t{note}")
        annotation = "".join(line + "\n" for line in lines)
        for suffix, text in ((".txt", document.text), (".ann", annotation)):
            (self.folder / (name + suffix)).write_bytes(text.encode("utf8"))

    def close(self) -> None:
        """Do nothing: all is written."""


class SpacyWriter:
    """A `.spacy` file with the tokens of the pipeline. Confidences are `ent._.confidence`."""

    def __init__(self, file: BinaryIO, with_text: bool) -> None:
        self.file = file
        self.vocab = Vocab()
        install_extensions()
        self.docs = DocBin(
            attrs=["ORTH", "SPACY", "SENT_START", "ENT_TYPE", "ENT_IOB"],
            store_user_data=True,
        )

    def write(self, annotated: AnnotatedDocument) -> None:
        """Write a document with its entities; its doc must be set."""
        doc = annotated.doc
        assert doc is not None
        words = [token.text for token in doc]
        copy = Doc(self.vocab, words=words, spaces=[bool(t.whitespace_) for t in doc])
        if doc.has_annotation("SENT_START"):
            for token, original in zip(copy, doc):
                token.is_sent_start = original.is_sent_start
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


# Format -> writer and suffix; brat writes a folder
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
    """Check that a format can be written for this number of pipelines."""
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
    # Readers turn a carriage return that is not escaped into a line feed
    return escape(_NOT_XML.sub("\ufffd", text), {"\r": "&#13;"})


def _split_at_line_ends(text: str, start: int, end: int) -> list[tuple[int, int]]:
    fragments, begin = [], start
    for match in re.finditer("[\r\n]+", text[start:end]):
        if start + match.start() > begin:
            fragments.append((begin, start + match.start()))
        begin = start + match.end()
    if begin < end:
        fragments.append((begin, end))
    return fragments or [(start, end)]
