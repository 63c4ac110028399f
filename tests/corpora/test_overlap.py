"""Documents in several corpora."""

from hypothesis import given
from hypothesis import strategies as st

from welt_spacy.corpora.overlap import TextIndex

ABSTRACT = (
    "Selegiline-induced postural hypotension in Parkinson's disease: a longitudinal "
    "study on the effects of drug withdrawal. The United Kingdom Parkinson's Disease "
    "Research Group trial found an increased mortality of 3.5 % in patients."
)


def test_the_same_text_cut_in_another_way():
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


def test_short_texts_must_be_there_as_a_whole():
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
def test_what_was_added_is_there(text):
    index = TextIndex()
    index.add(text)
    assert index.share(text) in (0.0, 1.0)


def test_real_corpora(mirror):
    """69 of BC5CDR's test abstracts are in BioRED's training data."""
    from welt_spacy.corpora.pubtator import read_pubtator

    index = TextIndex()
    for split in ("Train", "Dev"):
        for document in read_pubtator(mirror / f"biored/{split}.PubTator"):
            index.add(document.text)
    path = mirror / "aioner/data/pubtator/BC5CDR_Test.PubTator"
    assert sum(index.has(document.text) for document in read_pubtator(path)) == 69
