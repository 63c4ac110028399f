"""Texts to entities in Python."""

import itertools

import pytest
import spacy

import welt_spacy
from welt_spacy.annotation.annotator import Annotator
from welt_spacy.errors import WeltError
from welt_spacy.formats.documents import Entity

from ..factories import make_examples, make_nlp, train
from ..factories.annotation import make_pipeline, some_texts


def test_annotate():
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    texts = ["Selegiline 😀 and nausea.", "", "The study was blind."]
    found = list(welt_spacy.annotate(nlp, texts))
    docs = list(nlp.pipe(texts))
    for entities, doc, text in zip(found, docs, texts):
        assert entities == [
            Entity(
                ent.start_char,
                ent.end_char,
                ent.label_,
                text[ent.start_char : ent.end_char],
                round(ent._.confidence, 4),
                "en_pipeline-0.0.0",
            )
            for ent in doc.ents
        ]
    assert sum(map(len, found)) == 2


def test_annotate_streams_and_gives_strings_back(tmp_path):
    nlp = spacy.load(make_pipeline(tmp_path / "rules"))
    read = []

    def texts():
        for i in itertools.count():
            read.append(i)
            yield f"aspirin word{i}"

    stream = welt_spacy.annotate(nlp, texts(), ahead=100)
    first = list(itertools.islice(stream, 3000))
    assert all(len(entities) == 1 for entities in first) and len(read) <= 3001
    n_strings = len(nlp.vocab.strings)
    list(itertools.islice(stream, 5000))
    assert len(nlp.vocab.strings) == n_strings
    # The pipeline is free again, whether or not the stream was read to its end
    assert nlp("aspirin").ents
    with nlp.memory_zone():
        assert nlp("aspirin").ents


def test_annotate_raises_what_the_pipeline_raises():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.max_length = 10
    with pytest.raises(ValueError, match="E088"):
        list(welt_spacy.annotate(nlp, ["short", "longer than ten"]))


def test_annotator_for_batches_of_columns(tmp_path):
    annotator = Annotator(str(make_pipeline(tmp_path / "rules")), text="abstract")
    texts = some_texts(20)
    batch = annotator({"pmid": list(range(20)), "abstract": texts})
    assert list(batch) == ["pmid", "abstract", "entities"]
    for text, entities in zip(texts, batch["entities"]):
        for ent in entities:
            assert text[ent["start"] : ent["end"]] == ent["text"]
    with pytest.raises(WeltError, match="no column 'abstract': there are text"):
        annotator({"text": texts})
