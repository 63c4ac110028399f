"""Combination of corpora with different labels."""

import json
from dataclasses import replace

import pytest
import spacy
from spacy.tokens import DocBin

from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.combine import Part, combine_corpora, merge_types
from welt_spacy.errors import WeltError
from welt_spacy.tokens.annotated_labels import get_annotated_labels

from ..factories import run_command

SPLITS = ("train", "dev", "test")
SHARED = "Aspirin was given to all of the patients in the second group"


def write_iob(path, label, sentences):
    lines = []
    for sentence in sentences:
        for i, word in enumerate(sentence.split()):
            lines.append(f"{word}\t{f'B-{label}' if i == 0 else 'O'}")
        lines.append("")
    path.write_text("\n".join(lines) + "\n", "utf8")
    return path


@pytest.fixture
def parts(tmp_path):
    """Write corpora of genes and chemicals; one training sentence of the genes is a test sentence of the
    chemicals, in other words but for case and punctuation."""
    parts = []
    texts = {
        "bc2gm": {
            "train": ["TP53 binds DNA", SHARED.upper().replace(" ", " , ", 1)],
            "dev": ["BRCA1 is a gene"],
            "test": ["EGFR signals"],
        },
        "bc5cdr_chemical": {
            "train": ["Ibuprofen helps too"],
            "dev": ["Caffeine is a drug"],
            "test": [SHARED],
        },
    }
    for name, splits in texts.items():
        corpus = get_corpus(name)
        (label,) = corpus.types
        files = {
            split: write_iob(tmp_path / f"{name}-{split}.tsv", label, sentences)
            for split, sentences in splits.items()
        }
        parts.append(Part(corpus, files))
    return parts


def read(path):
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def test_annotated_labels_and_no_test_data_in_train(parts, tmp_path):
    about = combine_corpora(parts, tmp_path / "bio").summary
    train = read(tmp_path / "bio/train.spacy")
    assert [(doc[0].text, get_annotated_labels(doc)) for doc in train] == [
        ("TP53", {"Gene"}),
        ("Ibuprofen", {"Chemical"}),
    ]
    assert [ent.label_ for doc in train for ent in doc.ents] == ["Gene", "Chemical"]
    parts_summary = about["parts"]
    assert parts_summary["bc2gm"]["left_out_of_train"] == 1
    assert parts_summary["bc5cdr_chemical"]["left_out_of_train"] == 0
    (alone,) = read(tmp_path / "bio/test-bc5cdr_chemical.spacy")
    assert alone.text.strip() == SHARED and len(read(tmp_path / "bio/test.spacy")) == 2
    sizes = {split: part["sentences"] for split, part in about["splits"].items()}
    assert sizes == {"train": 2, "dev": 2, "test": 2}
    assert about["splits"]["train"]["mentions"] == 2
    assert json.loads((tmp_path / "bio/corpus.json").read_text()) == about
    # again: the same bytes
    before = (tmp_path / "bio/train.spacy").read_bytes()
    assert not combine_corpora(parts, tmp_path / "bio").is_new
    assert combine_corpora(parts, tmp_path / "bio", force=True).is_new
    assert (tmp_path / "bio/train.spacy").read_bytes() == before


def test_labels_are_renamed_or_not(parts, tmp_path):
    combine_corpora(parts, tmp_path / "bio", rename={})
    labels = {
        ent.label_ for doc in read(tmp_path / "bio/dev.spacy") for ent in doc.ents
    }
    assert labels == {"GENE", "Chemical"}


def test_types_of_one_publication_are_merged(parts):
    chemical, disease = get_corpus("biored_chemical"), get_corpus("biored_disease")
    (merged,) = merge_types([Part(chemical, {}), Part(disease, {})])
    assert merged.corpus.id == "biored"
    assert set(merged.corpus.types.values()) == {"Chemical", "Disease"}
    assert replace(merged.corpus, id="x").source == "biored"


def test_files_of_others_are_not_replaced(parts, tmp_path):
    with pytest.raises(WeltError, match="two corpora or more"):
        combine_corpora(parts[:1], tmp_path / "bio")
    (tmp_path / "bio").mkdir()
    (tmp_path / "bio/train.spacy").write_text("mine")
    with pytest.raises(WeltError, match="did not write this"):
        combine_corpora(parts, tmp_path / "bio")
    assert (tmp_path / "bio/train.spacy").read_text() == "mine"


def test_command(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("WELT_CORPORA_CACHE", str(tmp_path / "cache"))
    command = ["corpora", "combine", "ncbi_disease", "biored_chemical"]
    command += ["biored_disease", "--output", str(tmp_path / "bio"), "--offline"]
    result = run_command(*command)
    assert result.exit_code == 0, result.output
    about = json.loads((tmp_path / "bio/corpus.json").read_text())
    # one abstract of NCBI's test data is in BioRED's training data
    assert 0 < about["parts"]["biored"]["left_out_of_train"] < 200
    assert about["parts"]["biored"]["labels"] == ["Chemical", "Disease"]
    wrong = run_command(*command, "--rename", "GENE")
    assert wrong.exit_code == 1 and "OLD=NEW" in wrong.stderr
