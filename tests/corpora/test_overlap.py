"""Documents that are in several corpora."""

import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import DocBin

from welt_spacy.corpora.overlap import TextIndex
from welt_spacy.tokens.document_id import set_document_id

from ..factories import run_command

ABSTRACT = (
    "Selegiline-induced postural hypotension in Parkinson's disease: a longitudinal "
    "study on the effects of drug withdrawal. The United Kingdom Parkinson's Disease "
    "Research Group trial found an increased mortality of 3.5 % in patients."
)


def test_the_same_text_in_other_pieces():
    index = TextIndex()
    index.add(ABSTRACT)
    assert index.share(ABSTRACT) == 1.0
    tokens = ABSTRACT.replace("-", " - ").replace("'", " ' ").replace("3.5", "3 . 5")
    assert index.share(tokens.upper()) == 1.0
    sentence = "The United Kingdom Parkinson's Disease Research Group trial found more."
    assert 0.5 < index.share(sentence) < 1.0 and index.has(sentence)
    assert not index.has(
        "The effects of drug withdrawal were studied in mice and rats."
    )


def test_short_texts_must_be_equal():
    index = TextIndex()
    index.add("METHODS:")
    assert index.has("Methods") and not index.has("Results")
    index.add(ABSTRACT)
    assert not index.has("drug withdrawal")  # in the abstract, and in any other
    assert not index.has("") and not index.has("...")


def test_ids():
    index = TextIndex()
    index.add("Some text.", "11035")
    assert index.has("Quite another text.", "11035")
    assert not index.has("Quite another text.", "") and not index.has("x", "1")


@given(st.text(max_size=200))
def test_added_texts_are_in_the_index(text):
    index = TextIndex()
    index.add(text)
    assert index.share(text) in (0.0, 1.0)


def test_real_corpora(mirror, tmp_path, monkeypatch):
    """Count the 69 test abstracts of BC5CDR in BioRED's training and dev data."""
    monkeypatch.setenv("WELT_CORPORA_CACHE", str(tmp_path))
    command = ["corpora", "overlap", "bc5cdr_docs", "biored_disease", "--offline"]
    shown = run_command(*command)
    assert shown.exit_code == 0, shown.output
    rows = [line.split("│") for line in shown.stdout.splitlines() if "│" in line]
    counts_by_splits = {
        (first.strip(), second.strip()): (int(by_id), int(by_text), int(either))
        for _, first, second, _, by_id, by_text, either, _, _ in rows
    }
    test = {
        split: counts_by_splits["bc5cdr_docs test", f"biored_disease {split}"]
        for split in ("train", "dev", "test")
    }
    assert test["train"][2] + test["dev"][2] == 69 and test["test"][2] == 13
    # ids and texts tell the same
    assert all(len(set(counts)) == 1 for counts in test.values())


def test_command_with_files_and_unknown_names(tmp_path):
    doc = spacy.blank("en")(ABSTRACT)
    set_document_id(doc, "1")
    for name in ("one", "other"):
        DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / f"{name}.spacy")
    paths = [str(tmp_path / f"{name}.spacy") for name in ("one", "other")]
    shown = run_command("corpora", "overlap", *paths)
    assert shown.exit_code == 0 and "100.0" in shown.stdout
    wrong = run_command("corpora", "overlap", paths[0], "bc5")
    assert wrong.exit_code == 1 and "bc5cdr" in wrong.stderr
