"""Documents of files in every format, from any place on, however damaged."""

import csv
import gzip
import io
import json
import os
import re
import sys
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from welt_spacy.errors import WeltError
from welt_spacy.formats.documents import Document, Reject
from welt_spacy.formats.lines import Place
from welt_spacy.formats.problems import Damaged
from welt_spacy.formats.readers import Columns, Limits, Scanned
from welt_spacy.formats.registry import make_reader
from welt_spacy.formats.streams import find_files, open_stream
from welt_spacy.formats.xml_elements import split_elements

from ..factories import n_examples
from ..factories.annotation import pubmed, pubmed_article, write_jsonl

START = Place(0, 1)


def read(path, **options):
    return list(make_reader(str(path), **options).read(_first(path, options)))


def _first(path, options):
    scanned = next(make_reader(str(path), **options).scan(), None)
    return scanned.place if isinstance(scanned, Scanned) else START


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf8"))
    return path


def test_text_a_document_a_line(tmp_path):
    path = put(tmp_path / "a.txt", "\ufeffOne é\n\n  \r\nTwo 😀\r\nlast")
    assert read(path) == [
        Document("a:1", "One é"),
        Document("a:4", "Two 😀"),
        Document("a:5", "last"),
    ]


def test_text_a_document_a_file(tmp_path):
    path = put(tmp_path / "PMC1.txt", "One\nTwo\n")
    assert read(path, whole_files=True) == [Document("PMC1", "One\nTwo\n")]
    long = read(path, whole_files=True, limits=Limits(3))
    assert [(item.id, item.reason) for item in long] == [("PMC1", "too long")]


def test_bytes_that_are_not_utf8(tmp_path):
    items = read(put(tmp_path / "a.txt", b"one\nt\xffo\nthree\n"))
    assert [type(item) for item in items] == [Document, Reject, Document]
    assert items[1].reason == "not UTF-8" and f"{tmp_path}/a.txt:2:" in items[1].message


def test_jsonl(tmp_path):
    lines = [
        '{"pmid": 12, "abstract": "One"}',
        '{"abstract": "no id"}',
        '{"pmid": "x", "abstract": 3}',
        '{"pmid": "y"}',
        "[1]",
        "{",
        "[" * 100_000,
        '{"pmid": "z", "abstract": "\\ud800"}',
        '{"pmid": "e", "abstract": "\\ud83d\\ude00"}',
    ]
    path = put(tmp_path / "a.jsonl", "\n".join(lines))
    items = read(path, columns=Columns("abstract", "pmid"))
    assert items[0] == Document("12", "One") and items[1] == Document("a:2", "no id")
    reasons = [(item.id, item.reason) for item in items[2:8]]
    assert reasons == [
        ("x", "no text"),
        ("y", "no text"),
        ("a:5", "not JSON"),
        ("a:6", "not JSON"),
        ("a:7", "not JSON"),
        ("a:8", "not UTF-8"),
    ]
    assert items[8] == Document("e", "😀")


def test_a_line_of_100_mb_is_a_reject_and_is_not_kept(tmp_path):
    import resource

    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "one"}\n{"text": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"text": "three"}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    items = read(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert [type(item) for item in items] == [Document, Reject, Document]
    assert items[1].reason == "too long" and "100,000,013 bytes" in items[1].message
    assert items[2] == Document("a:3", "three")
    if sys.platform == "linux":
        assert grown < 60_000  # kB


def test_csv_with_line_ends_in_fields(tmp_path):
    rows = [("1", 'One,\r\ntwo "q" 😀\n'), ("", "no id"), ("3", ""), ("4", "last")]
    out = io.StringIO()
    csv.writer(out).writerows([("id", "text"), *rows])
    items = read(put(tmp_path / "a.csv", out.getvalue()))
    assert items == [
        Document("1", rows[0][1]),
        Document("a:5", "no id"),
        Document("3", ""),
        Document("4", "last"),
    ]


def test_tsv_and_a_column_that_is_not_there(tmp_path):
    path = put(tmp_path / "a.tsv", "pmid\tabstract\n7\tOne\n8\n")
    items = read(path, columns=Columns("abstract", "pmid"))
    assert items[0] == Document("7", "One") and items[1].reason == "no text"
    with pytest.raises(WeltError, match="no column 'text'.*pmid, abstract"):
        read(path)


def test_csv_does_not_change_the_limit_of_the_process(tmp_path):
    before = csv.field_size_limit()
    path = put(tmp_path / "a.csv", "id,text\n1," + "x" * (before + 10) + "\n")
    items = make_reader(str(path)).read(_first(path, {}))
    assert len(next(items).text) == before + 10
    assert csv.field_size_limit() == before
    assert list(items) == [] and csv.field_size_limit() == before


def test_a_quote_that_is_not_closed_costs_its_row(tmp_path):
    content = 'id,text\n1,one\n2,"never ends\n3,three\n4,four\n'
    items = read(put(tmp_path / "a.csv", content))
    assert items[0] == Document("1", "one") and isinstance(items[1], Reject)
    strict = read(put(tmp_path / "b.csv", 'id,text\n1,"a"b\n2,two\n'))
    assert [type(item) for item in strict] == [Reject, Document]


def test_pubtator(tmp_path):
    content = (
        "1|t|A title | with bars\n1|a|The abstract.\n1\t0\t7\tA title\tDisease\tD1\n\n"
        "2|t|Alone\n\n3|a|no title\n4|t|T\n4|a|A\n4|a|again\n5|t|T\n6|a|other\n"
    )
    items = read(put(tmp_path / "a.pubtator", content))
    assert items[0] == Document(
        "1", "A title | with bars The abstract.", 19, parts=(20,)
    )
    assert items[1] == Document("2", "Alone", 5, parts=(6,))
    assert [type(item) for item in items[2:]] == [Reject] * 3


def test_pubmed(tmp_path):
    content = pubmed(
        pubmed_article(
            10,
            "On <i>p53</i> &lt; &#x1F600;.",
            [("METHODS", "We <sup>2</sup> did."), ("", "It &amp; all.")],
        ),
        pubmed_article(11, "Title alone.", []),
        pubmed_article(12, "Broken <i>.", []),
        pubmed_article(13, "An &unknown; entity.", []),
        pubmed_article(14, "", [("", "Abstract alone.")]),
    )
    items = read(put(tmp_path / "a.xml", content))
    first = "On p53 < 😀. METHODS: We 2 did. It & all."
    assert items[0] == Document("10", first, 11, parts=(12,))
    assert items[1] == Document("11", "Title alone.")
    assert [item.reason for item in items[2:4]] == ["not XML"] * 2
    assert (
        items[2].id == "12"
        and "a.xml:18: not well-formed in line 21" in items[2].message
    )
    assert items[4] == Document("14", "Abstract alone.")
    keys = [scanned.key for scanned in make_reader(str(tmp_path / "a.xml")).scan()]
    assert keys == [(10 + i, 1) for i in range(5)]


def test_bioc(tmp_path):
    content = (
        '<?xml version="1.0"?><collection><source>x</source>'
        "<document><id>d1</id><passage><offset>0</offset><text>Title 😀.</text></passage>"
        "<passage><offset>10</offset><sentence><offset>10</offset><text>One.</text></sentence>"
        "<sentence><offset>16</offset><text>Two.</text></sentence></passage></document>"
        "<document><id>d2</id><passage><text>no offset</text></passage></document>"
        "</collection>"
    )
    items = read(put(tmp_path / "a.xml", content))
    assert items[0] == Document("d1", "Title 😀.  One.  Two.", parts=(0, 10, 16))
    assert (items[1].id, items[1].reason) == ("d2", "no offset")


def test_bioc_rejects_name_the_file_once(tmp_path):
    content = (
        "<collection><document><id>d</id>"
        "<passage><offset>0</offset><text>Long text</text></passage>"
        "<passage><offset>3</offset><text>overlaps</text></passage>"
        "</document></collection>"
    )
    path = put(tmp_path / "a.xml", content)
    (reject,) = read(path)
    assert (reject.id, reject.reason) == ("d", "wrong offsets")
    assert reject.message.count(str(path)) == 1


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    texts = [f"Text {i}" for i in range(25)] + [None]
    table = pyarrow.table({"id": list(range(26)), "text": texts, "other": [0] * 26})
    path = tmp_path / "a.parquet"
    write_table(table, path, row_group_size=10)
    items = read(path)
    assert items[:25] == [Document(str(i), f"Text {i}") for i in range(25)]
    assert items[25].reason == "no text"
    assert list(make_reader(str(path)).read(Place(13, 14)))[0] == Document(
        "13", "Text 13"
    )
    put(tmp_path / "b.parquet", b"PAR1 not really")
    with pytest.raises(Damaged, match="not a Parquet file"):
        read(tmp_path / "b.parquet")


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_packed(tmp_path, ending):
    plain = "".join(f"line {i}\n" for i in range(50_000)).encode()
    if ending == ".gz":
        packed = gzip.compress(plain)
    else:
        packed = pytest.importorskip("backports.zstd").compress(plain)
    path = put(tmp_path / f"a.txt{ending}", packed)
    reader = make_reader(str(path))
    places = [scanned.place for scanned in reader.scan()]
    assert len(places) == 50_000
    assert next(iter(reader.read(places[40_000]))).text == "line 40000"
    # Cut off, or with a wrong bit: what was read before counts
    for damaged in (packed[: len(packed) // 2], packed[:-3] + b"\xff" * 3):
        put(path, damaged)
        n = 0
        with pytest.raises(Damaged, match="can't be unpacked"):
            for _ in make_reader(str(path)).scan():
                n += 1
        assert n <= 50_000


def test_decompression_bomb_is_refused(tmp_path):
    path = tmp_path / "a.txt.gz"
    with gzip.open(path, "wb", 9) as file:
        for _ in range(300):
            file.write(b"x" * 1_000_000)
    assert path.stat().st_size < 400_000
    with pytest.raises(Damaged, match="grows to more than"):
        list(make_reader(str(path)).scan())


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE c [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE c [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_entities_of_a_file_are_refused(tmp_path, declared):
    content = (
        f'<?xml version="1.0"?>{declared}<collection><document><id>1</id><passage>'
        "<offset>0</offset><text>&a;</text></passage></document></collection>"
    )
    with pytest.raises(Damaged, match="declares entities"):
        read(put(tmp_path / "a.xml", content))
    # Even where the declaration is not seen, nothing knows the entity
    hidden = content.replace(declared, " " * 70_000 + declared)
    hidden = hidden.replace("<collection>", "", 1).replace(
        '<?xml version="1.0"?>', '<?xml version="1.0"?><collection>'
    )
    (item,) = read(put(tmp_path / "b.xml", hidden))
    assert item.reason == "not XML"


def test_other_xml_and_encodings(tmp_path):
    with pytest.raises(Damaged, match="neither PubMed's XML"):
        read(put(tmp_path / "a.xml", "<html></html>"))
    with pytest.raises(Damaged, match="encoding"):
        read(put(tmp_path / "a.xml", pubmed().encode("utf-16")))
    latin = pubmed(pubmed_article(1, "Caf\xe9", [])).replace("utf-8", "iso-8859-1")
    items = read(put(tmp_path / "a.xml", latin.encode("latin-1")))
    assert items == [Document("1", "Café")]


def test_find_files(tmp_path):
    for name in ("b/2.txt", "b/1.jsonl.gz", "a.xml", ".hidden/x.txt", "c.pdf"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    suffixes = (".txt", ".jsonl", ".xml")
    files = find_files([str(tmp_path)], suffixes)
    names = [os.path.relpath(file, tmp_path) for file in files]
    assert names == ["a.xml", "b/1.jsonl.gz", "b/2.txt"]
    for inputs, message in (
        ([str(tmp_path / "none")], "no such file"),
        ([str(tmp_path / ".hidden" / "x.txt")] * 2, "named twice"),
        ([str(tmp_path / "b")], "no file that can be read"),
    ):
        with pytest.raises(WeltError, match=message):
            find_files(
                inputs,
                suffixes if "twice" in message or "such" in message else (".csv",),
            )


def test_addresses(tmp_path):
    pytest.importorskip("fsspec")
    import fsspec

    with fsspec.open("memory://texts/b.jsonl", "wb") as file:
        file.write(b'{"text": "remote"}\n')
    with fsspec.open("memory://texts/a.txt.gz", "wb") as file:
        file.write(gzip.compress(b"one\n"))
    files = find_files(["memory://texts"], (".txt", ".jsonl"))
    assert [name.rsplit("/", 1)[1] for name in files] == ["a.txt.gz", "b.jsonl"]
    assert [read_one(file) for file in files] == ["one", "remote"]
    for wrong in ("memory://texts/none.txt", "nosuch://bucket/a.txt"):
        with pytest.raises(WeltError):
            find_files([wrong], (".txt",))
        with pytest.raises(WeltError), open_stream(wrong):
            pass


def read_one(address):
    return next(iter(make_reader(address).read(START))).text


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=n_examples(150))
@given(st.lists(TEXTS, max_size=8), st.integers(1, 40))
def test_elements_do_not_depend_on_the_buffer(texts, size):
    from xml.sax.saxutils import escape

    class Slow(io.BytesIO):
        def read1(self, n=-1):
            return super().read1(size)

    whole = "<set>" + "".join(f"<doc>{escape(t)}</doc>\n" for t in texts) + "</set>"
    content = whole.encode("utf8")
    elements = list(split_elements(Slow(content), START, ("doc",), 1000))
    assert [raw.content.decode("utf8") for raw in elements] == [
        f"<doc>{escape(t)}</doc>" for t in texts
    ]
    for raw in elements:
        assert content[raw.place.offset :].startswith(raw.content)
        assert raw.place.line == content[: raw.place.offset].count(b"\n") + 1


@settings(max_examples=n_examples(150))
@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5),
    st.sampled_from(["jsonl", "jsonl.gz", "csv", "tsv", "parquet", "xml", "pubmed"]),
)
def test_round_trip_of_texts(tmp_path_factory, rows, format_):
    """Write ids and texts with any characters in every format that can hold them."""
    from xml.sax.saxutils import escape

    if format_ in (
        "xml",
        "pubmed",
    ):  # XML can't hold these, and strips blanks of titles
        rows = [
            tuple(re.sub(r"[^\w\n<&>é😀-]", "", x).strip() for x in r) for r in rows
        ]
    ids, texts = zip(*(((f"i{name}").strip(), text) for name, text in rows))
    path = tmp_path_factory.mktemp("round") / f"a.{format_.replace('pubmed', 'xml')}"
    if format_.startswith("jsonl"):
        write_jsonl(path, texts, ids)
    elif format_ == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow.parquet import write_table

        write_table(pyarrow.table({"id": ids, "text": texts}), path, row_group_size=2)
    elif format_ in ("csv", "tsv"):
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter="\t" if format_ == "tsv" else ",")
        writer.writerows([("id", "text"), *zip(ids, texts)])
        path.write_bytes(out.getvalue().encode("utf8"))
        if sys.version_info < (3, 11) and "\0" in out.getvalue():
            return
    elif format_ == "xml":
        body = "".join(
            f"<document><id>{escape(name)}</id><passage><offset>0</offset>"
            f"<text>{escape(text)}</text></passage></document>"
            for name, text in zip(ids, texts)
        )
        put(path, f"<collection>{body}</collection>")
    else:
        ids = [str(i + 1) for i in range(len(texts))]
        put(
            path,
            pubmed(*(pubmed_article(i, escape(t), []) for i, t in zip(ids, texts))),
        )
    assert [(item.id, item.text) for item in read(path)] == list(zip(ids, texts))


FORMATS = ("a.txt", "a.jsonl", "a.csv", "a.tsv", "a.pubtator", "a.xml")
PARTS = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b'"',
        b",",
        b"\t",
        b"1|t|",
        b"1|a|",
        b'{"text": "',
        b'"}',
        b"id,text\n",
    ]
    + [
        b"<collection>",
        b"<document>",
        b"</document>",
        b"<id>",
        b"</id>",
        b"<text>",
        b"\xff",
    ]
    + [
        b"<PubmedArticle>",
        b"</PubmedArticle>",
        b"<PMID>7</PMID>",
        b"<!ENTITY",
        b"&a;",
        b"\0",
    ]
    + [
        "é😀".encode(),
        b"word ",
        b"<?xml version='1.0' encoding='x'?>",
        b"</text>",
        b"]]>",
    ]
)


@settings(max_examples=n_examples(400))
@given(st.sampled_from(FORMATS), st.lists(PARTS, max_size=25), st.booleans())
def test_any_bytes_are_read_from_any_place(tmp_path_factory, name, parts, whole):
    check_reader(tmp_path_factory.mktemp("fuzz") / name, b"".join(parts), whole)


def check_reader(path, content, whole_files):
    """Check that any content raises only `WeltError`, and that reading from the place of the
    n-th document gives the n-th document and those after it."""
    path.write_bytes(content)
    try:
        reader = make_reader(str(path), limits=Limits(40), whole_files=whole_files)
        places = [
            scanned.place for scanned in reader.scan() if isinstance(scanned, Scanned)
        ]
        items = list(reader.read(places[0])) if places else []
    except WeltError as err:
        assert str(err).startswith(str(path))
        return
    assert len(items) == len(places)
    for item in items:
        assert isinstance(item, (Document, Reject))
        json.dumps(astuple(item) if isinstance(item, Document) else item).encode("utf8")
    for i in range(0, len(places), 3):
        assert list(reader.read(places[i])) == items[i:]
