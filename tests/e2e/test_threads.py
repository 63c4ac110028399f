"""One loaded pipeline, called from many threads and processes at once."""

import random
import string
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import spacy

from welt_spacy.packaging.optimize import optimize_pipeline

from ..factories import make_examples, make_nlp, make_tiny_bert, train

TRANSFORMER = {"@architectures": "welt_spacy.TransformerEncoder.v1", "overlap": 8}
KINDS = {
    "cpu": {},
    "bert": {},
    "int8": {},
}


def make_texts(n):
    rng = random.Random(0)

    def word():
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9)))

    return [" ".join(word() for _ in range(rng.randint(1, 40))) for _ in range(n)]


def result(doc):
    """Return entities and the bytes of their scores."""
    spans = doc.spans["welt_ner"]
    entities = [(ent.label_, ent.start, ent.end) for ent in spans]
    return entities, spans.attrs["scores"].tobytes()


@pytest.fixture(scope="module", params=["cpu", "bert", "int8"])
def path(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    settings = {"threshold": 0.0, "spans_key": "welt_ner", "o_bias": -3.0}
    if request.param != "cpu":
        pytest.importorskip("transformers")
        bert = make_tiny_bert(folder / "bert", 64)
        settings["model"] = {"tok2vec": {**TRANSFORMER, "name": str(bert)}}
    nlp = make_nlp(**settings)
    train(nlp, make_examples(nlp), steps=2, learn_rate=0.001)
    if request.param == "int8":
        pytest.importorskip("onnxruntime", reason="needs welt-spacy[onnx]")
        pytest.importorskip("onnx")
        optimize_pipeline(nlp, "int8")
    nlp.to_disk(folder / "model")
    return folder / "model"


def test_threads_return_the_results_of_one_thread(path, monkeypatch):
    """Compare results to the bit, with a table of words that is emptied often."""
    monkeypatch.setattr("welt_spacy.ml.lexeme_table.MAX_WORDS", 300)
    texts = make_texts(120)
    wanted = [result(doc) for doc in map(spacy.load(path), texts)]
    nlp = spacy.load(path)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda text: result(nlp(text)), texts * 2))
    finally:
        sys.setswitchinterval(interval)
    assert results == wanted * 2
    assert [result(nlp(text)) for text in texts] == wanted
    assert any(spans for spans, _ in wanted)


def test_pipe_from_threads_and_processes(path):
    texts = make_texts(40)
    nlp = spacy.load(path)
    wanted = [np.frombuffer(result(nlp(text))[1], "float32") for text in texts]

    def close(docs):
        for doc, scores in zip(docs, wanted):
            if "int8" not in path.parent.name:  # rounds by the range of a batch
                np.testing.assert_allclose(
                    doc.spans["welt_ner"].attrs["scores"], scores, atol=1e-5
                )
        return len(docs)

    with ThreadPoolExecutor(4) as pool:
        piped = list(pool.map(lambda _: list(nlp.pipe(texts, batch_size=7)), range(4)))
    assert [close(docs) for docs in piped] == [40] * 4
    assert close(list(nlp.pipe(texts, n_process=2, batch_size=10))) == 40
