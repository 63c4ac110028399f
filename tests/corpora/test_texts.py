"""Texts for distillation from files of all formats."""

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from welt_spacy.corpora.texts import read_texts
from welt_spacy.errors import WeltError
from welt_spacy.tokens.document_id import get_document_id, set_document_id

from ..factories import BIO

TEXT = "Aspirin helps. It was given."


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en", config=BIO)


def read_ids_and_texts(path, nlp, **settings):
    docs = read_texts(path, nlp, **settings)
    return [(get_document_id(doc), doc.text.strip()) for doc in docs]


def test_all_formats(nlp, tmp_path):
    files = {
        "a.txt": f"{TEXT}\n\n",
        "a.jsonl": f'{{"text": "{TEXT}", "id": 7}}\n',
        "a.pubtator": "7|t|Aspirin helps.\n7|a|It was given.\n7\t0\t7\tAspirin\tDrug\n",
        "a.xml": '<?xml version="1.0"?><collection><document><id>7</id><passage>'
        f"<offset>0</offset><text>{TEXT}</text></passage></document></collection>",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content, "utf8")
        doc_id = "" if name == "a.txt" else "7"
        cut = [(doc_id, "Aspirin helps."), (doc_id, "It was given.")]
        assert read_ids_and_texts(tmp_path / name, nlp) == cut
        assert read_ids_and_texts(tmp_path / name, nlp, n_sents=0) == [(doc_id, TEXT)]


def test_docs_keep_their_tokens(nlp, tmp_path):
    words = ["N-acetyl", "cysteine"]
    docs = [Doc(nlp.vocab, words=words, ents=["B-X", "I-X"]), nlp.make_doc(TEXT)]
    DocBin(docs=docs).to_disk(tmp_path / "a.spacy")
    tokenized, raw = read_texts(tmp_path / "a.spacy", nlp)
    assert [t.text for t in tokenized] == words and tokenized.ents[0].label_ == "X"
    # spaCy trains on the words of docs whose spaces are unknown, else on the text
    assert tokenized.has_unknown_spaces and not raw.has_unknown_spaces
    assert raw.text == TEXT


def test_docs_are_cut_where_they_have_boundaries(nlp, tmp_path):
    doc = nlp.make_doc(TEXT)
    for token in doc:
        token.is_sent_start = token.text in ("Aspirin", "It")
    set_document_id(doc, "7")
    DocBin(docs=[doc], attrs=["SENT_START"], store_user_data=True).to_disk(
        tmp_path / "a.spacy"
    )
    cut = [("7", "Aspirin helps."), ("7", "It was given.")]
    assert read_ids_and_texts(tmp_path / "a.spacy", nlp) == cut
    for n_sents in (0, 2, 3):
        assert read_ids_and_texts(tmp_path / "a.spacy", nlp, n_sents=n_sents) == [
            ("7", TEXT)
        ]


def test_bad_files(nlp, tmp_path):
    for line in ("{", "[]", '{"text": 3}', '{"txt": ""}', "3"):
        (tmp_path / "a.jsonl").write_text(f'{{"text": "x"}}\n{line}\n')
        with pytest.raises(WeltError, match="a.jsonl:2: (not|no|int as)"):
            read_ids_and_texts(tmp_path / "a.jsonl", nlp)
    with pytest.raises(WeltError, match="a.doc: the format is not known"):
        read_ids_and_texts(tmp_path / "a.doc", nlp)
    with pytest.raises(WeltError, match="No such file"):
        read_ids_and_texts(tmp_path / "b.txt", nlp)
