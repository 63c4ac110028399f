import pytest

from welt_spacy.corpora.catalog import SPLITS, get_corpus
from welt_spacy.corpora.fetch import fetch
from welt_spacy.corpora.stats import all_weights, corpus_stats
from welt_spacy.ml.class_weights import SCHEMES


@pytest.fixture(scope="module")
def stats(mirror, tmp_path_factory):
    computed = {}

    def get(corpus_id):
        if corpus_id not in computed:
            corpus = get_corpus(corpus_id)
            cache = tmp_path_factory.mktemp("cache")
            files = fetch(corpus, mirror=str(mirror), cache=cache)
            computed[corpus_id] = corpus_stats(corpus, files)
        return computed[corpus_id]

    return get


@pytest.mark.parametrize(
    "corpus_id", ["bc5cdr_chemical", "bc5cdr_disease", "bc2gm", "linnaeus"]
)
def test_tables_1_and_11_of_the_paper(stats, corpus_id):
    corpus, counts = get_corpus(corpus_id), stats(corpus_id)
    shares = {name: f"{share:.2f}" for name, (_, share) in counts.shares.items()}
    assert shares == {name: f"{s:.2f}" for name, s in corpus.paper_shares.items()}
    # The paper counts the blank line at the end of each file.
    assert {s: n + 1 for s, n in counts.sentences.items()} == corpus.paper_sizes
    assert sum(n for n, _ in counts.shares.values()) == counts.tokens["train"]
    assert counts.mentions["train"] == counts.shares["B"][0]
    assert len(counts.notes) == 1


def test_ncbi_disease_differs_from_the_paper(stats):
    corpus, counts = get_corpus("ncbi_disease"), stats("ncbi_disease")
    assert {s: counts.sentences[s] + 1 for s in ("dev", "test")} == {
        split: corpus.paper_sizes[split] for split in ("dev", "test")
    }
    assert (counts.sentences["train"], corpus.paper_sizes["train"]) == (5424, 5433)
    shares = {name: f"{share:.2f}" for name, (_, share) in counts.shares.items()}
    assert shares == {"O": "91.71", "B": "3.78", "I": "4.51"}
    assert any("docs/corpora.md" in note for note in counts.notes)


def test_classes_of_several_types(stats):
    counts = stats("bc5cdr")
    assert list(counts.shares) == ["O", "B", "I"]
    assert list(counts.weights["welt(temperature=1)"]) == [
        *("O", "B-Chemical", "I-Chemical", "B-Disease", "I-Disease")
    ]
    assert set(counts.sentences) == set(SPLITS)
    assert counts.notes == []


def test_weights_of_every_scheme_have_mean_one():
    counts = {"O": 900, "B-X": 60, "I-X": 40}
    weights = all_weights(counts)
    assert {name.split("(")[0] for name in weights} == set(SCHEMES) - {"explicit"}
    for row in weights.values():
        mean = sum(row[tag] * n for tag, n in counts.items()) / sum(counts.values())
        assert mean == pytest.approx(1)
