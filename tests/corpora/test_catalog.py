import csv

import pytest

from welt_spacy.corpora.catalog import (
    CATALOG,
    SPLITS,
    encoder_names,
    get_corpus,
    hyperparameters,
)
from welt_spacy.errors import WeltError


def test_the_nine_corpora():
    assert set(CATALOG) == {
        "bc5cdr",
        "bc5cdr_chemical",
        "bc5cdr_disease",
        "ncbi_disease",
        "linnaeus",
        "bc2gm",
        "bc4chemd",
        "biored_chemical",
        "biored_disease",
    }


@pytest.mark.parametrize("corpus", CATALOG.values(), ids=CATALOG)
def test_each_tells_all_about_itself(corpus):
    assert tuple(corpus.files) == SPLITS
    for file in corpus.files.values():
        assert file.url.startswith("https://")
        assert file.mirror_path
        assert (file.sha256 is None) == (corpus.id == "bc4chemd")
    assert corpus.title and corpus.licence and corpus.homepage
    assert "et al. (20" in corpus.citation
    in_paper = corpus.id != "bc5cdr"
    assert (corpus.paper_sizes is not None) == in_paper
    assert (corpus.paper_shares is not None) == in_paper
    if corpus.paper_shares:
        assert sum(corpus.paper_shares.values()) == pytest.approx(100, abs=0.02)


def test_files_and_checksums_are_those_of_the_mirror(mirror):
    with (mirror / "MANIFEST.csv").open(encoding="utf8") as file:
        rows = {(row["corpus"], row["split"]): row for row in csv.DictReader(file)}
    for corpus in CATALOG.values():
        for split, found in corpus.files.items():
            row = rows[corpus.source, split]
            assert found.sha256 == (row["sha256"] or None)
            assert row["upstream"].startswith(found.url)
            if row["mirror_path"]:
                assert found.mirror_path == row["mirror_path"]
                assert (mirror / found.mirror_path).is_file()


def test_names_that_are_none():
    with pytest.raises(WeltError, match="bc5cdr, bc5cdr_chemical"):
        get_corpus("BC5CDR")
    with pytest.raises(WeltError, match="biobert, "):
        hyperparameters("bc5cdr", "roberta")


def test_every_corpus_has_settings_for_every_encoder():
    assert len(encoder_names()) == 5
    for corpus in CATALOG:
        for encoder in encoder_names():
            row = hyperparameters(corpus, encoder)
            assert int(row["batch_size"]) * int(row["epochs"]) > 0
            assert "/" in row["hub_name"]
