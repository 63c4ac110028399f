"""Texts to entities in Python."""

import itertools

import pytest
import spacy

import welt_spacy
from welt_spacy.annotation.annotator import Annotator, Pipeline, Pipelines
from welt_spacy.errors import WeltError
from welt_spacy.formats.documents import Document, Entity, Reject

from ..factories import make_examples, make_nlp, train
from ..factories.annotation import make_pipeline, make_texts


def test_annotate():
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    texts = ["Selegiline 😀 and nausea.", "", "The study was blind."]
    results = list(welt_spacy.annotate(nlp, texts))
    docs = list(nlp.pipe(texts))
    for entities, doc, text in zip(results, docs, texts):
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
    assert sum(map(len, results)) == 2


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
    texts = make_texts(20)
    batch = annotator({"pmid": list(range(20)), "abstract": texts})
    assert list(batch) == ["pmid", "abstract", "entities"]
    for text, entities in zip(texts, batch["entities"]):
        for ent in entities:
            assert text[ent["start"] : ent["end"]] == ent["text"]
    with pytest.raises(WeltError, match="no column 'abstract': there are text"):
        annotator({"text": texts})


def test_memory_zones_free_strings(tmp_path):
    nlp = spacy.load(make_pipeline(tmp_path / "rules"))
    pipelines = Pipelines([Pipeline("en_rules-0.0.0", nlp)])
    sizes = []
    for i in range(10):
        documents = [Document("", f"word{i}x{j} aspirin") for j in range(1000)]
        counts = pipelines.annotate(documents, lambda document: len(document.entities))
        assert set(counts) == {1}
        sizes.append(len(nlp.vocab.strings))
    assert sizes[1] > sizes[0] and sizes[-1] == sizes[2]


def test_a_reject_keeps_its_place(tmp_path):
    nlp = spacy.load(make_pipeline(tmp_path / "rules"))
    reject = Reject("2", "too long", "line 2")
    items = [Document("1", "aspirin"), reject, Document("3", "nausea")]
    pipelines = Pipelines([Pipeline("en_rules-0.0.0", nlp)])
    results = list(pipelines.annotate(items, lambda document: document.document.id))
    assert results == ["1", reject, "3"]
