from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from welt_spacy.errors import WeltError
from welt_spacy.formats.iob import read_iob
from welt_spacy.formats.problems import Report


def read(tmp_path, text, **settings):
    path = tmp_path / "x.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf8"))
    return [(s.words, s.tags) for s in read_iob(path, **settings)]


EXPECTED = [(["A", "b"], ["B-X", "I-X"]), (["c"], ["O"])]


@pytest.mark.parametrize(
    "text",
    [
        "A\tB-X\nb\tI-X\n\nc\tO\n\n",
        "A\tB-X\nb\tI-X\n\nc\tO",  # no last blank line, no last line end
        "A\tB-X\r\nb\tI-X\r\n\r\nc\tO\r\n",
        "\ufeffA\tB-X\nb\tI-X\n\nc\tO\n",
        "-DOCSTART-\tO\n\nA\tB-X\nb\tI-X\n\n-DOCSTART- -X- O O\n\nc\tO\n",
        "\n\nA\tB-X\nb\tI-X\n \t\n\nc\tO\n\n\n",
        "A B-X\nb I-X\n\nc O\n",
        "A\tNN\tNP\tB-X\nb\tNN\tNP\tI-X\n\nc\t.\t.\tO\n",
        "A\tB-X\nb\tL-X\n\nc\tO\n",
        "A\tB-X\nb\tE-X\n\nc\tO\n",
    ],
)
def test_variants_of_the_format(tmp_path, text):
    assert read(tmp_path, text, report=Report(strict=True)) == EXPECTED


def test_bare_tags_get_the_label(tmp_path):
    assert read(tmp_path, "A\tB\nb\tI\n\nc\tO\n", label="X") == EXPECTED
    with pytest.raises(WeltError, match=r"x\.tsv:1: .*--label"):
        read(tmp_path, "A\tB\nb\tI\n\nc\tO\n")


@pytest.mark.parametrize(
    "text, kind, line, repaired",
    [
        ("a\tO\nb\tI-X\n", "orphan I tag", 2, [(["a", "b"], ["O", "B-X"])]),
        ("a\tB-X\nb\tI-Y\n", "orphan I tag", 2, [(["a", "b"], ["B-X", "B-Y"])]),
        ("I\tI-X\n", "orphan I tag", 1, [(["I"], ["B-X"])]),
        ("a\tB-X\n\nb\tI-X\n", "orphan I tag", 3, [(["a"], ["B-X"]), (["b"], ["B-X"])]),
        ("a\tO\nb\nc\tO\n", "line without a tag", 2, [(["a", "b", "c"], ["O", None, "O"])]),
        ("a\tO\nb\tX-Y\n", "unknown tag", 2, [(["a", "b"], ["O", None])]),
        ("a\tO\n\tO\nc\tO\n", "line without a token", 2, [(["a", "c"], ["O", "O"])]),
    ],
)  # fmt: skip
def test_problems_are_repaired_and_counted_or_raised(
    tmp_path, text, kind, line, repaired
):
    report = Report()
    assert read(tmp_path, text, report=report) == repaired
    assert report.counts == {kind: 1}
    assert f"x.tsv:{line}: " in report.messages[kind][0]
    with pytest.raises(WeltError, match=rf"x\.tsv:{line}: "):
        read(tmp_path, text, report=Report(strict=True))


@pytest.mark.parametrize("text", ["", "\n\n", "-DOCSTART-\tO\n\n"])
def test_empty_files(tmp_path, text):
    with pytest.raises(WeltError, match=r"x\.tsv:1: no sentence"):
        read(tmp_path, text)


def test_unreadable_files(tmp_path):
    with pytest.raises(WeltError, match=r"x\.tsv:2: not UTF-8"):
        read(tmp_path, b"a\tO\n\xff\tO\n")
    with pytest.raises(WeltError, match="No such file"):
        list(read_iob(tmp_path / "none.tsv"))


words = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=8)
sentences = st.lists(
    st.lists(
        st.tuples(words, st.sampled_from(["O", "B-x", "I-x", "B-y z"])), min_size=1
    ),
    min_size=1,
    max_size=5,
)


@given(sentences, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_round_trip(tmp_path_factory, sentences, newline, last):
    path = tmp_path_factory.mktemp("iob") / "x.tsv"
    blocks = [newline.join("\t".join(row) for row in s) for s in sentences]
    text = (newline * 2).join(blocks) + (newline * 2 if last else "")
    path.write_bytes(text.encode("utf8"))
    expected = [
        [word for word, _ in s]
        for s in sentences
        if not all(word.startswith("-DOCSTART-") for word, _ in s)
    ]
    assert [s.words for s in read_iob(Path(path))] == expected
