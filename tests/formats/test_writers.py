"""Entities written in every format and read back."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import spacy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spacy.tokens import DocBin

from welt_spacy.errors import WeltError
from welt_spacy.formats.bioc import read_bioc
from welt_spacy.formats.brat import read_brat
from welt_spacy.formats.documents import AnnotatedDocument, Document, Entity
from welt_spacy.formats.lines import Place
from welt_spacy.formats.pubtator import read_pubtator
from welt_spacy.formats.registry import make_reader
from welt_spacy.formats.writers import WRITERS, check_format
from welt_spacy.tokens.confidence import install_extensions
from welt_spacy.tokens.document_id import get_document_id

from ..factories import n_examples

NAME = "en_rules-1.0"


def make_annotated(text, spans, name="7", title=0, doc=None):
    entities = [
        Entity(start, end, label, text[start:end], confidence, NAME)
        for start, end, label, confidence in spans
    ]
    return AnnotatedDocument(
        Document(name, text, title), entities, len(text.split()), doc
    )


def write(format_, batch, with_text=True, folder=None):
    make, ending = WRITERS[format_]
    target = io.BytesIO() if ending else folder
    writer = make(target, with_text)
    for annotated in batch:
        writer.write(annotated)
    writer.close()
    return target.getvalue() if ending else folder


@st.composite
def annotated_documents(draw, alphabet=None):
    """Draw a text with entities that do not overlap."""
    text = draw(
        st.text(alphabet or st.characters(exclude_categories=["Cs"]), max_size=40)
    )
    cuts = draw(
        st.lists(st.integers(0, len(text)), unique=True, max_size=6).map(sorted)
    )
    spans = []
    for start, end in zip(cuts[::2], cuts[1::2]):
        if text[start:end].strip():
            label = draw(st.sampled_from(["Disease", "Chemical"]))
            spans.append((start, end, label, draw(st.sampled_from([None, 0.25, 1.0]))))
    title = draw(st.integers(0, len(text)))
    if text[title : title + 1] != " ":
        title = 0
    return make_annotated(
        text, spans, draw(st.text(max_size=8)).encode("utf8", "replace").decode(), title
    )


def spans_of(annotated):
    return [(ent.start, ent.end, ent.label) for ent in annotated.entities]


@settings(max_examples=n_examples(150))
@given(st.lists(annotated_documents(), max_size=4))
def test_jsonl(batch):
    rows = [json.loads(line) for line in write("jsonl", batch).split(b"\n")[:-1]]
    assert [row["id"] for row in rows] == [annotated.document.id for annotated in batch]
    for row, annotated in zip(rows, batch):
        assert row["text"] == annotated.document.text
        assert [Entity(**ent) for ent in row["entities"]] == annotated.entities
    assert b'"text": ' not in write(
        "jsonl", [make_annotated("abc", [])], with_text=False
    )


def test_packed_jsonl_has_no_time_in_it():
    import gzip

    batch = [make_annotated("Aspirin", [(0, 7, "Chemical", 0.9)])]
    content = write("jsonl.gz", batch)
    assert gzip.decompress(content) == write("jsonl", batch)
    assert content == write("jsonl.gz", batch) and content[4:8] == b"\0\0\0\0"


@settings(max_examples=n_examples(60))
@given(st.lists(annotated_documents(), max_size=4))
def test_parquet(batch):
    parquet = pytest.importorskip("pyarrow.parquet")
    content = write("parquet", batch)
    assert content == write("parquet", batch)
    rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    assert [row["text"] for row in rows] == [
        annotated.document.text for annotated in batch
    ]
    for row, annotated in zip(rows, batch):
        assert [Entity(**ent) for ent in row["entities"]] == annotated.entities


@settings(max_examples=n_examples(150))
@given(annotated_documents())
@example(make_annotated("a\nb c\r\nd", [(0, 3, "Disease", 0.5)], title=3))
def test_pubtator(tmp_path_factory, annotated):
    path = tmp_path_factory.mktemp("pubtator") / "a.pubtator"
    annotated = annotated._replace(
        document=replace(annotated.document, id=f"x{len(annotated.document.text)}")
    )
    path.write_bytes(write("pubtator", [annotated]))
    (document,) = read_pubtator(path)
    assert [(m.start, m.end, m.label) for m in sorted(document.mentions)] == spans_of(
        annotated
    )
    # Our own reader of texts sees the same characters at the same places
    (record,) = make_reader(str(path)).read(Place(0, 1))
    for ent in annotated.entities:
        there = record.text[ent.start : ent.end]
        assert "".join(there.split()) == "".join(ent.text.split()) or len(there) == len(
            ent.text
        )


@settings(max_examples=n_examples(150))
@given(st.lists(annotated_documents(), min_size=1, max_size=3))
@example([make_annotated("a\r\n<b>&amp;\x00\x0b 😀 c", [(12, 13, "Disease", 0.5)])])
def test_bioc(tmp_path_factory, batch):
    path = tmp_path_factory.mktemp("bioc") / "a.xml"
    path.write_bytes(write("bioc", batch))
    documents = list(read_bioc(path))
    assert len(documents) == len(batch)
    for document, annotated in zip(documents, batch):
        assert len(document.text) == len(annotated.document.text)
        same = [
            a == b or a == "\ufffd"
            for a, b in zip(document.text, annotated.document.text)
        ]
        assert all(same)
        assert [
            (m.start, m.end, m.label) for m in sorted(document.mentions)
        ] == spans_of(annotated)


@settings(max_examples=n_examples(100))
@given(annotated_documents())
@example(make_annotated("one\ntwo", [(0, 7, "Disease", 0.5)], name="../../etc/passwd"))
@example(make_annotated("one\n", [(0, 4, "Disease", 0.5)], name="a/b"))
@example(make_annotated("one", [], name=".." + "x" * 300))
def test_brat(tmp_path_factory, annotated):
    folder = tmp_path_factory.mktemp("brat")
    write("brat", [annotated], folder=folder)
    names = sorted(path.name for path in folder.rglob("*"))
    assert len(names) == 2 and all(name.startswith("000000-") for name in names)
    text = (folder / names[1]).read_bytes().decode("utf8")
    assert text == annotated.document.text
    if "\ufeff" in text:
        return  # brat's readers drop a byte order mark
    (document,) = read_brat(folder)
    read = [(m.start, m.end, m.label) for m in sorted(document.mentions)]
    for got, ent in zip(read, annotated.entities):
        assert got[2] == ent.label
        # Line ends at the edges of a mention are not part of it
        assert text[got[0] : got[1]].strip("\r\n") == ent.text.strip("\r\n")
    assert len(read) == len(annotated.entities)


def test_spacy():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    install_extensions()
    text = "Aspirin helps.  Nausea 😀 is rare."
    doc = nlp(text)
    annotated = make_annotated(
        text, [(0, 7, "Chemical", 0.75), (16, 22, "Disease", None)], name="12", doc=doc
    )
    content = write("spacy", [annotated])
    (read,) = DocBin().from_bytes(content).get_docs(spacy.blank("en").vocab)
    assert read.text == text and len(list(read.sents)) == 2
    assert [(e.text, e.label_, e._.confidence) for e in read.ents] == [
        ("Aspirin", "Chemical", 0.75),
        ("Nausea", "Disease", None),
    ]
    assert get_document_id(read) == "12"


def test_formats_that_can_not_be_written():
    with pytest.raises(WeltError, match="use one of jsonl"):
        check_format("xlsx", 1)
    with pytest.raises(WeltError, match="one pipeline"):
        check_format("spacy", 2)
    for name in WRITERS:
        check_format(name, 1)


def test_ids_do_not_lead_out_of_the_folder(tmp_path: Path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    names = ["../../x", "/etc/x", "a\0b", "..", "con", "x" * 500, "😀" * 100]
    write("brat", [make_annotated("t", [], name) for name in names], folder=folder)
    assert len(list(folder.iterdir())) == 2 * len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
