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
from welt_spacy.formats.pubtator import read_pubtator


def test_ids_of_the_corpora():
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
        "bc5cdr_docs",
        "ncbi_disease_docs",
        "nlm_gene",
        "gnormplus",
    }


@pytest.mark.parametrize("corpus", CATALOG.values(), ids=CATALOG)
def test_metadata_of_each_corpus(corpus):
    assert tuple(corpus.files) == SPLITS
    for file in corpus.files.values():
        assert file.url.startswith("https://")
        assert file.mirror_path
        assert (file.sha256 is None) == (corpus.id == "bc4chemd")
    assert corpus.title and corpus.licence and corpus.homepage
    assert "et al. (20" in corpus.citation
    in_paper = corpus.id != "bc5cdr" and corpus.n_sents == 1
    assert (corpus.paper_sizes is not None) == in_paper
    assert (corpus.paper_shares is not None) == in_paper
    if corpus.paper_shares:
        assert sum(corpus.paper_shares.values()) == pytest.approx(100, abs=0.02)


def test_files_and_checksums_are_those_of_the_mirror(mirror):
    rows = {}
    for folder in (mirror, mirror / "aioner"):
        with (folder / "MANIFEST.csv").open(encoding="utf8") as file:
            for row in csv.DictReader(file):
                key = (row["corpus"], row["split"]) if "corpus" in row else None
                rows[key or row["mirror_path"]] = row
    for corpus in CATALOG.values():
        for split, file in corpus.files.items():
            whole = corpus.n_sents == 0
            row = rows[file.mirror_path if whole else (corpus.source, split)]
            assert file.sha256 == (row["sha256"] or None)
            assert row["upstream"].startswith(file.url)
            if row["mirror_path"]:
                assert file.mirror_path == row["mirror_path"]
                assert (mirror / file.mirror_path).is_file()


def test_unknown_names():
    with pytest.raises(WeltError, match="bc5cdr, bc5cdr_chemical"):
        get_corpus("BC5CDR")
    with pytest.raises(WeltError, match="biobert, "):
        hyperparameters("bc5cdr", "roberta")


def test_every_corpus_has_settings_for_every_encoder():
    assert len(encoder_names()) == 5
    for corpus in CATALOG.values():
        for encoder in encoder_names() if corpus.n_sents else ():
            row = hyperparameters(corpus.id, encoder)
            assert int(row["batch_size"]) * int(row["epochs"]) > 0
            assert "/" in row["hub_name"]


def test_splits_of_documents(mirror):
    """Assign each document of a file to one split, by the mirror's own table."""
    for name, file in (("bc5cdr_docs", "BC5CDR"), ("ncbi_disease_docs", "NCBIdisease")):
        corpus = CATALOG[name]
        train, dev, test = (corpus.documents(split) for split in SPLITS)
        assert not (train & dev or train & test or dev & test)
        with (mirror / "aioner/splits.csv").open(encoding="utf8") as table:
            rows = [r for r in csv.DictReader(table) if f"{r['corpus']}_docs" == name]
        assert {(r["split"], r["pmid"]) for r in rows} == {
            (split, pmid)
            for split, ids in zip(SPLITS, (train, dev, test))
            for pmid in ids
        }
        path = mirror / f"aioner/data/pubtator/{file}_TrainDev.PubTator"
        assert {document.id for document in read_pubtator(path)} == train | dev
    gene = CATALOG["nlm_gene"]
    assert (len(gene.documents("train")), len(gene.documents("dev"))) == (400, 50)
    assert gene.documents("test") is None and CATALOG["bc5cdr"].documents("dev") is None
