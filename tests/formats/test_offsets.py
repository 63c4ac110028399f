"""The formats with offsets: PubTator, BioC XML and brat."""

import time

import pytest

from welt_spacy.errors import WeltError
from welt_spacy.formats.bioc import read_bioc
from welt_spacy.formats.brat import read_brat
from welt_spacy.formats.documents import Document, Mention, select_mentions
from welt_spacy.formats.problems import Report
from welt_spacy.formats.pubtator import read_pubtator

TITLE = "Aspirin helps."
ABSTRACT = "Less chest pain."
TEXT = f"{TITLE} {ABSTRACT}"
EXPECTED = [("Aspirin", "Chemical"), ("chest pain", "Disease")]

PUBTATOR = f"""\
1|t|{TITLE}
1|a|{ABSTRACT}
1\t0\t7\tAspirin\tChemicalEntity\tD001
1\t20\t30\tchest pain\tDisease
1\tCID\tD001\tD002
1\tTreats\tD001\tD002\tNovel

2|t|Nothing
2|a|
"""

BIOC = f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>x</source><date/><key/>
<document><id>1</id>
<passage><infon key="type">title</infon><offset>0</offset><text>{TITLE}</text>
<annotation id="1"><infon key="identifier">D1</infon><infon key="type">Chemical</infon>
<location offset="0" length="7"/><text>Aspirin</text></annotation></passage>
<passage><offset>15</offset><sentence><offset>15</offset><text>{ABSTRACT}</text>
<annotation id="2"><infon key="type">Disease</infon>
<location offset="20" length="10"/><text>chest pain</text></annotation>
</sentence></passage></document></collection>
"""

ANN = """\
T1\tChemical 0 7\tAspirin
T2\tDisease 20 30\tchest pain
R1\tTreats Arg1:T1 Arg2:T2
#1\tAnnotatorNotes T1\tsure
"""


def write_pubtator(tmp_path, text=PUBTATOR):
    path = tmp_path / "x.pubtator"
    path.write_text(text, encoding="utf8")
    return read_pubtator, path


def write_bioc(tmp_path, text=BIOC):
    path = tmp_path / "x.xml"
    path.write_text(text, encoding="utf8")
    return read_bioc, path


def write_brat(tmp_path, text=ANN):
    (tmp_path / "x.txt").write_text(TEXT, encoding="utf8")
    path = tmp_path / "x.ann"
    path.write_text(text, encoding="utf8")
    return read_brat, path


@pytest.mark.parametrize("write", [write_pubtator, write_bioc, write_brat])
def test_reads_texts_and_mentions(tmp_path, write):
    read, path = write(tmp_path)
    first = next(iter(read(path, report=Report(strict=True))))
    assert first.text == TEXT
    mentions = [(TEXT[m.start : m.end], m.label[:8]) for m in first.mentions]
    assert mentions == EXPECTED
    if write is not write_brat:
        assert first.id == "1" and 15 in first.parts


def test_pubtator_reads_every_document(tmp_path):
    read, path = write_pubtator(tmp_path)
    assert [d.id for d in read(path)] == ["1", "2"]
    read, path = write_pubtator(tmp_path, PUBTATOR.replace("\n\n", "\n"))
    assert [d.id for d in read(path)] == ["1", "2"]


def test_brat_reads_a_folder(tmp_path):
    read, path = write_brat(tmp_path)
    assert [d.id for d in read(tmp_path)] == ["x"]


@pytest.mark.parametrize(
    "write, old, new, kind, line, n_mentions",
    [
        # offsets that are slightly wrong: moved to the quoted text
        (write_pubtator, "1\t20\t30", "1\t22\t32", "wrong offsets", 4, 2),
        (write_bioc, 'offset="20"', 'offset="22"', "wrong offsets", 9, 2),
        (write_brat, "20 30", "22 32", "wrong offsets", 2, 2),
        # offsets outside the text, and no such text: dropped
        (
            write_pubtator,
            "1\t20\t30\tchest pain",
            "1\t90\t99\tarm pain",
            "wrong offsets",
            4,
            1,
        ),
        (write_brat, "20 30\tchest", "90 99\tarm", "wrong offsets", 2, 1),
        # lines that are nothing
        (write_pubtator, "1\tCID\tD001\tD002", "1\tCID", "bad line", 5, 2),
        (write_pubtator, "1\t20\t30\tchest pain\tDisease", "1\t20", "bad line", 4, 1),
        (write_pubtator, "1\tCID", "7\tCID", "line of another document", 5, 2),
        (write_pubtator, "\n2|t|", "\nx\ty\n2|t|", "line outside a document", 8, 2),
        (write_pubtator, "1|a|", "9|a|", "abstract without a title", 2, 1),
        (write_brat, "Disease 20 30", "Disease 20", "bad line", 2, 1),
        (write_bioc, 'length="7"', 'length="x"', "bad location", 7, 1),
        (write_bioc, 'key="type">Disease', 'key="tipe">Disease', "annotation without a type", 9, 1),
        # an empty type, and offsets that are not plain digits
        (write_pubtator, "chest pain\tDisease", "chest pain\t", "mention without a type", 4, 1),
        (write_bioc, ">Disease<", "> <", "mention without a type", 9, 1),
        (write_pubtator, "1\t20\t30", "1\t²\t30", "bad line", 4, 1),
        (write_pubtator, "1\t20\t30", f"1\t{'9' * 5000}\t30", "bad line", 4, 1),
        (write_brat, "Disease 20", f"Disease {'9' * 5000}", "bad line", 2, 1),
        (write_brat, "Disease 20", "Disease ٢٠", "bad line", 2, 1),
        (write_bioc, 'offset="20"', 'offset="²"', "bad location", 10, 1),
        # mentions in pieces
        (write_brat, "20 30", "20 25;26 30", "mention in pieces", 2, 2),
        (
            write_bioc,
            '<location offset="20" length="10"/>',
            '<location offset="20" length="5"/><location offset="26" length="4"/>',
            "mention in pieces",
            9,
            2,
        ),
    ],
)  # fmt: skip
def test_problems_are_repaired_and_counted_or_raised(
    tmp_path, write, old, new, kind, line, n_mentions
):
    original = {write_pubtator: PUBTATOR, write_bioc: BIOC, write_brat: ANN}[write]
    assert old in original
    read, path = write(tmp_path, original.replace(old, new, 1))
    report = Report()
    first = next(iter(list(read(path, report=report))))
    assert kind in report.counts, dict(report.counts)
    assert f"{path}:{line}: " in report.messages[kind][0]
    assert len(first.mentions) == n_mentions
    for mention in first.mentions:
        assert 0 <= mention.start < mention.end <= len(first.text)
    with pytest.raises(WeltError, match=f"{path.name}:{line}: "):
        list(read(path, report=Report(strict=True)))


@pytest.mark.parametrize(
    "write, old, new",
    [
        (write_brat, "20 30", "20 25;26 30"),
        (
            write_bioc,
            '<location offset="20" length="10"/>',
            '<location offset="20" length="5"/><location offset="26" length="4"/>',
        ),
    ],
)
def test_fragments_of_discontinuous_mentions(tmp_path, write, old, new):
    original = {write_bioc: BIOC, write_brat: ANN}[write]
    read, path = write(tmp_path, original.replace(old, new))
    ((_, mention),) = [document.mentions for document in read(path)]
    assert (mention.start, mention.end) == (20, 30)
    assert mention.fragments == ((20, 25), (26, 30))


def test_second_abstract_is_counted(tmp_path):
    text = PUBTATOR.replace("1|a|", "1|a|First draft.\n1|a|")
    read, path = write_pubtator(tmp_path, text)
    report = Report()
    assert next(iter(list(read(path, report=report)))).text == TEXT
    assert report.counts == {"second abstract": 1}


def test_bioc_is_read_in_constant_memory(tmp_path):
    read, path = write_bioc(tmp_path, BIOC + "<")
    documents = read(path)
    # The first document comes before the end of the file is read
    path.write_text(BIOC.replace("</collection>", " " * 200_000 + "</collection><"))
    assert next(documents).id == "1"
    with pytest.raises(WeltError, match="not well-formed"):
        next(documents)


@pytest.mark.parametrize(
    "write, text, message",
    [
        (write_pubtator, "", r"x\.pubtator:1: no document"),
        (write_bioc, "<collection></collection>", r"x\.xml:1: no <document>"),
        (write_bioc, BIOC.replace("</passage>", "", 1), r"x\.xml:\d+: not well-formed"),
        (write_bioc, "", r"x\.xml:\d+: not well-formed"),
        (write_bioc, BIOC.replace("UTF-8", "klingon"), r"x\.xml:1: .*klingon"),
        (write_bioc, BIOC.replace("UTF-8", "big5"), r"x\.xml:1: "),
    ],
)
def test_files_without_documents_or_not_well_formed(tmp_path, write, text, message):
    read, path = write(tmp_path, text)
    with pytest.raises(WeltError, match=message):
        list(read(path))


def test_brat_needs_its_text(tmp_path):
    read, path = write_brat(tmp_path)
    (tmp_path / "x.txt").write_bytes(b"ok\n\xff")
    with pytest.raises(WeltError, match=r"x\.txt:2: not UTF-8"):
        list(read(path))
    (tmp_path / "x.txt").unlink()
    with pytest.raises(WeltError, match=r"x\.txt is missing"):
        list(read(path))
    path.unlink()
    with pytest.raises(WeltError, match=r"no \.ann file"):
        list(read(tmp_path))


def test_longest_mention_wins(tmp_path):
    mentions = [
        Mention(0, 2, "X", 1),
        Mention(1, 6, "X", 2),
        Mention(1, 6, "X", 3),  # the same again
        Mention(7, 10, "Y", 4),
        Mention(6, 8, "Z", 5),  # of a type that is not selected
        Mention(8, 10, "Y", 6),
    ]
    path = str(tmp_path / "x")
    document = Document("1", "abcdef ghi", mentions=mentions, path=path, line=1)
    report = Report()
    selected = select_mentions(document, {"X": "x", "Y": "y"}, report)
    assert [(m.start, m.end, m.label) for m in selected] == [(1, 6, "x"), (7, 10, "y")]
    assert report.counts == {"overlapping mention": 2}
    with pytest.raises(WeltError, match="x:1: .*overlaps"):
        select_mentions(document, {"X": "x"}, Report(strict=True))


def test_quoted_newlines_and_unicode_offsets(tmp_path):
    text = "1|t|α-Tocopherol – 𝛽-blocker\n1|a|x\n1\t0\t12\tα-Tocopherol\tC\n1\t15\t24\t𝛽-blocker\tC\n"
    read, path = write_pubtator(tmp_path, text)
    (document,) = read(path, report=Report(strict=True))
    assert len(document.mentions) == 2


def test_bioc_far_offsets_make_no_blanks(tmp_path):
    far = BIOC.replace("<offset>15", "<offset>9000000000").replace(
        'offset="20"', 'offset="9000000005"'
    )
    read, path = write_bioc(tmp_path, far)
    report = Report()
    (document,) = read(path, report=report)
    assert document.text == TEXT and report.counts["gap in the text"] == 1
    assert [TEXT[m.start : m.end] for m in document.mentions] == [
        "Aspirin",
        "chest pain",
    ]


def test_bioc_text_with_markup(tmp_path):
    marked = BIOC.replace(TITLE, "Aspi<b>rin</b> he<i>l</i>ps.").replace(
        "<text>Aspirin</text>", "<text>As<b>pirin</b></text>"
    )
    read, path = write_bioc(tmp_path, marked)
    (document,) = read(path, report=Report(strict=True))
    assert document.text == TEXT and len(document.mentions) == 2


def test_time_grows_with_the_depth_of_bioc(tmp_path):
    seconds = []
    for depth in (2_000, 2_000, 20_000):
        deep = BIOC.replace("<source>", "<x>" * depth + "</x>" * depth + "<source>")
        read, path = write_bioc(tmp_path, deep)
        started = time.process_time()
        assert len(list(read(path))) == 1
        seconds.append(time.process_time() - started)
    assert seconds[2] < 40 * seconds[1]  # 100 times if it grew with the square


def test_brat_quotes_a_line_end_as_a_blank(tmp_path):
    read, path = write_brat(tmp_path, "T1\tDisease 10 19\tchest pain\n")
    (tmp_path / "x.txt").write_text("It was in\nchest\npain.")
    path.write_text("T1\tDisease 10 20\tchest pain\n")
    (document,) = read(path, report=Report(strict=True))
    assert [document.text[m.start : m.end] for m in document.mentions] == [
        "chest\npain"
    ]
