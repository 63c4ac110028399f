"""The component `generative_ner` with small random language models."""

import json
import math
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin, Span

from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.convert import convert_splits
from welt_spacy.corpora.fetch import fetch
from welt_spacy.errors import WeltError
from welt_spacy.llm.backends import Completion
from welt_spacy.llm.causal_lm import TransformersBackend, encode_prompt
from welt_spacy.llm.responses import parse_response
from welt_spacy.tokens.confidence import get_confidence
from welt_spacy.tokens.llm_responses import get_llm_responses

from ..factories import (
    BIO,
    copies,
    ents,
    fails_with_one_line,
    make_merging_tokenizer,
    make_tiny_lm,
    run_command,
    save_tiny_lm,
)

torch = pytest.importorskip("torch", reason="needs welt-spacy[llm]")
pytest.importorskip("llguidance")

TEXTS = [
    'Naloxone reverses the "antihypertensive" effect of clonidine.',
    "Pain.",
    "",
    "IFN-\u03b3 \\ in mice\n\nand rats",
]
LABELS = ["Chemical", "Disease"]
# Model -> a seed with which it predicts entities
FAMILIES = {"qwen3": 2, "llama": 1, "gpt2": 0}
# The issues of a model that can only copy
COPY_ISSUES = {"cut off", "over-generated", "ambiguous"}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / request.param
    return save_tiny_lm(path, request.param, seed=FAMILIES[request.param])


def make_nlp(name, **config):
    nlp = spacy.blank("en", config=BIO)
    backend = {
        "@misc": "welt_spacy.TransformersBackend.v1",
        "name": str(name),
        "store": True,
    }
    prompt = {"@misc": "welt_spacy.JsonPrompt.v1", "instruction": "{types}"}
    settings = {"labels": LABELS, "max_response_tokens": 120, **config}
    nlp.add_pipe(
        "generative_ner", config={"prompt": prompt, "backend": backend, **settings}
    )
    return nlp


def get_responses(doc):
    return get_llm_responses(doc)["generative_ner"]


# Constrained decoding


def test_a_random_model_can_only_copy(folder):
    docs = list(make_nlp(folder).pipe(TEXTS))
    for doc in docs:
        responses = get_responses(doc)
        assert set(responses.issues) <= COPY_ISSUES
        for text in responses.texts:
            for entity in json.loads(text):
                assert entity["entity"] in LABELS and entity["name"] in doc.text
        for ent in doc.ents:
            assert 0 < get_confidence(ent) <= 1
    assert any(doc.ents for doc in docs)


def test_an_empty_document_is_not_prompted(folder):
    assert get_responses(make_nlp(folder)("")).texts == []


def test_batches_do_not_change_entities(folder):
    nlp = make_nlp(folder)
    for batched, text in zip(nlp.pipe(TEXTS), TEXTS):
        single = nlp(text)
        assert ents(batched) == ents(single)
        for a, b in zip(batched.ents, single.ents):
            assert get_confidence(a) == pytest.approx(get_confidence(b), rel=1e-4)


def generate_greedily(pipe, text, n_tokens):
    """Generate without a cache, a batch or a grammar; return ids and log-probabilities."""
    model, tokenizer = pipe.backend.lm.model, pipe.backend.lm.tokenizer
    ids = encode_prompt(tokenizer, pipe.prompt(text, LABELS))
    start, log_probs = len(ids), []
    while len(ids) < start + n_tokens:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        token = int(logits.argmax())
        if token == tokenizer.eos_token_id:
            break
        log_probs.append(float(torch.log_softmax(logits, -1)[token]))
        ids.append(token)
    return ids[start:], log_probs


def to_bytes(pipe, ids):
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    values = {mark: byte for byte, mark in bytes_to_unicode().items()}
    tokens = pipe.backend.lm.tokenizer.convert_ids_to_tokens(ids)
    return bytes(values[mark] for token in tokens for mark in token)


def test_unconstrained_responses_are_those_of_greedy_search(folder):
    nlp = make_nlp(folder, constrained=False, max_response_tokens=12)
    pipe = nlp.get_pipe("generative_ner")
    for doc in nlp.pipe([text for text in TEXTS if text]):
        responses = get_responses(doc)
        ids, log_probs = generate_greedily(pipe, doc.text, 12)
        text = to_bytes(pipe, ids).decode("utf8", errors="ignore")
        assert responses.texts == [text]
        if len(ids) == 12:
            assert responses.issues == {**parse_response(text).issues, "cut off": 1}
        [[unit]] = pipe.predict([nlp.make_doc(doc.text)])
        values = [value for _, value in unit.completion.tokens]
        assert values == pytest.approx(log_probs, abs=1e-4)


@pytest.mark.parametrize("max_response_tokens", [2, 40, 90])
def test_responses_are_always_closed(tiny_lm, max_response_tokens):
    for doc in make_nlp(tiny_lm, max_response_tokens=max_response_tokens).pipe(TEXTS):
        for text in get_responses(doc).texts:
            assert isinstance(json.loads(text), list)


def test_one_token_is_too_short_for_a_response(tiny_lm):
    assert get_responses(make_nlp(tiny_lm, max_response_tokens=1)("Pain.")).texts == [
        "["
    ]


@pytest.mark.parametrize("seed", range(3))
def test_responses_are_closed_though_tokens_begin_entities(tmp_path, seed):
    """Use a vocabulary with tokens that end a name and begin another: '"}, {"entity'."""
    frame = (
        '{"entity": "Chemical", "name": "zinc"}, {"entity": "Disease", "name": "pain"}'
    )
    tokenizer = make_merging_tokenizer([f"[{frame}, {frame}]"] * 9 + TEXTS)
    tokens = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    assert any('"}, {' in token for token in tokens)
    path = tmp_path / "lm"
    make_tiny_lm("gpt2", 1024, seed, len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    issues = Counter()
    for max_response_tokens in (30, 60, 90):
        for doc in make_nlp(path, max_response_tokens=max_response_tokens).pipe(TEXTS):
            responses = get_responses(doc)
            issues.update(responses.issues)
            for text in responses.texts:
                assert isinstance(json.loads(text), list)
    assert set(issues) <= COPY_ISSUES


def test_names_in_real_sentences_are_copied(mirror, folder):
    """Check a few sentences; benchmarks/generation.py has 2,000 responses."""
    corpus = get_corpus("bc5cdr")
    splits = convert_splits(corpus, fetch(corpus, mirror=str(mirror)))
    texts = [doc.text for doc in splits["test"].docs][:12]
    for doc in make_nlp(folder).pipe(texts):
        responses = get_responses(doc)
        assert set(responses.issues) <= COPY_ISSUES
        for text in responses.texts:
            json.loads(text)


# Confidences


def make_stub_nlp(text, tokens, **config):
    """Return a pipeline whose language model always returns the same response."""

    class Backend:
        extra = "llm"

        def __call__(self, requests):
            return [Completion(text, tokens) for _ in requests]

    nlp = make_nlp("", **config)
    nlp.get_pipe("generative_ner").backend = Backend()
    return nlp


@pytest.fixture
def two_entities():
    """Return a response with two entities, and its tokens with log-probabilities."""
    text = '[{"entity": "Chemical", "name": "zinc"}, {"entity": "Disease", "name": "pain"}]'
    end = text.index("}") + 1
    tokens = [(text.index("zinc"), -0.1), (end, -0.2), (len(text) - 1, -0.4)]
    return text, [*tokens, (len(text), -3.0)]


def test_confidence_is_the_product_over_the_tokens_of_the_object(two_entities):
    doc = make_stub_nlp(*two_entities)("zinc for pain")
    assert [get_confidence(ent) for ent in doc.ents] == pytest.approx(
        [math.exp(-0.3), math.exp(-0.4)]
    )


def test_entities_below_the_threshold_are_dropped(two_entities):
    nlp = make_stub_nlp(*two_entities, threshold=0.7)
    assert ents(nlp("zinc for pain")) == [("zinc", "Chemical")]


def test_spans_have_the_confidences(two_entities):
    doc = make_stub_nlp(*two_entities, spans_key="mine")("zinc for pain")
    scores = doc.spans["mine"].attrs["scores"]
    assert np.allclose(scores, [math.exp(-0.3), math.exp(-0.4)])


def test_without_probabilities_the_confidence_is_none():
    text = '[{"entity": "Chemical", "name": "zinc"}]'
    doc = make_stub_nlp(text, None, spans_key="mine", threshold=0.5)("zinc for pain")
    assert ents(doc) == [("zinc", "Chemical")]
    assert doc.ents[0]._.confidence is None
    assert [span.text for span in doc.spans["mine"]] == ["zinc"]
    assert "scores" not in doc.spans["mine"].attrs


# Saving and loading


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "model/../../evil.txt"])
def test_bytes_with_paths_outside_of_the_folder_are_refused(name):
    pipe = make_nlp("").get_pipe("generative_ner")
    with pytest.raises(WeltError, match="outside of its folder"):
        pipe.from_bytes(srsly.msgpack_dumps({name: b"evil"}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a pipeline, and the folder to which it was saved. Its base model is deleted."""
    path = tmp_path_factory.mktemp("saved")
    save_tiny_lm(path / "lm")
    nlp = make_nlp(path / "lm", n_sents=1, threshold=1e-12)
    nlp.add_pipe("welt_sentencizer", first=True)
    nlp.to_disk(path / "model")
    shutil.rmtree(path / "lm")
    return nlp, path / "model"


def test_copies_predict_the_same(saved):
    nlp, path = saved
    expected = [ents(doc) for doc in nlp.pipe(TEXTS)]
    assert any(expected)
    for copy in copies(nlp, path):
        assert [ents(doc) for doc in copy.pipe(TEXTS)] == expected


def test_a_pipeline_is_loaded_from_bytes(saved):
    nlp, _ = saved
    fresh = make_nlp("", n_sents=1, threshold=1e-12)
    fresh.add_pipe("welt_sentencizer", first=True)
    fresh.from_bytes(nlp.to_bytes())
    for a, b in zip(nlp.pipe(TEXTS), fresh.pipe(TEXTS)):
        assert ents(a) == ents(b)


def test_a_saved_pipeline_requires_the_extra(saved):
    requirements = spacy.load(saved[1]).meta["requirements"]
    assert any("welt-spacy[llm]" in name for name in requirements)


# Parts of documents


def test_parts_need_sentences(tiny_lm):
    with pytest.raises(WeltError, match="welt_sentencizer"):
        make_nlp(tiny_lm, n_sents=2)("Zinc. Pain. Rats.")


@pytest.fixture(scope="module")
def split_doc(tiny_lm):
    nlp = make_nlp(tiny_lm, n_sents=2)
    nlp.add_pipe("welt_sentencizer", first=True)
    return nlp("Zinc is there. Pain is there. Rats are not.")


def test_each_part_has_a_response(split_doc):
    assert len(get_responses(split_doc).texts) == 2
    assert all(ent.text in split_doc.text for ent in split_doc.ents)


def test_responses_are_saved_with_documents(split_doc):
    data = DocBin(docs=[split_doc], store_user_data=True).to_bytes()
    [loaded] = DocBin().from_bytes(data).get_docs(split_doc.vocab)
    assert get_responses(loaded).issues == get_responses(split_doc).issues
    assert split_doc._.llm_responses["generative_ner"]["error"] is None


def test_texts_beyond_the_context_length_are_reported(tiny_lm, caplog):
    docs = list(make_nlp(tiny_lm).pipe(["Zinc.", "zinc " * 300]))
    assert get_responses(docs[0]).issues.get("failed") is None
    responses = get_responses(docs[1])
    assert responses.issues == {"failed": 1} and "n_sents" in responses.error
    assert "1 of 2 requests failed" in caplog.text


# Settings


def test_labels_are_needed(tiny_lm):
    with pytest.raises(WeltError, match="no labels"):
        make_nlp(tiny_lm, labels=[])("Zinc.")


def test_settings_are_written_to_the_config(tiny_lm):
    nlp = make_nlp(tiny_lm, labels=[])
    pipe = nlp.get_pipe("generative_ner")
    assert (pipe.add_label("Gene"), pipe.add_label("Gene")) == (1, 0)
    pipe.threshold = 0.25
    config = nlp.config["components"]["generative_ner"]
    assert (config["labels"], config["threshold"]) == (["Gene"], 0.25)


def test_invalid_settings_are_refused(tiny_lm):
    with pytest.raises(WeltError, match="n_sents"):
        make_nlp(tiny_lm).get_pipe("generative_ner").n_sents = -1
    with pytest.raises(WeltError, match="dtype"):
        TransformersBackend("x", dtype="int3")


@pytest.mark.parametrize(
    "name, message", [("nowhere/lm", "nowhere/lm"), ("", "No language model")]
)
def test_missing_models_are_errors(tmp_path, name, message):
    path = tmp_path / name if name else name
    with pytest.raises(WeltError, match=message):
        make_nlp(path)("Zinc.")


# Pipelines


def test_entities_of_earlier_components_stay(tiny_lm):
    nlp = make_nlp(tiny_lm)
    predicted = [ent for doc in nlp.pipe(TEXTS) for ent in doc.ents]
    ent = predicted[-1]
    doc = Doc(
        nlp.vocab,
        words=[token.text for token in ent.doc],
        spaces=[bool(token.whitespace_) for token in ent.doc],
    )
    doc.ents = [Span(doc, ent.start, ent.end, label="Kept")]
    assert (ent.text, "Kept") in ents(nlp(doc))


@pytest.fixture(scope="module")
def predicted(tiny_lm, tmp_path_factory):
    """Return the folder of a pipeline, and a file of its predictions to use as gold data."""
    path = tmp_path_factory.mktemp("predicted")
    nlp = make_nlp(tiny_lm)
    docs = list(nlp.pipe([text for text in TEXTS if text]))
    DocBin(docs=docs).to_disk(path / "gold.spacy")
    nlp.to_disk(path / "model")
    return path / "model", path / "gold.spacy"


def test_evaluate_counts_issues(predicted, tmp_path):
    output = tmp_path / "scores"
    result = run_command(
        *("evaluate", *predicted, "--score-raw-text"),
        *("--json", f"{output}.json", "--html", f"{output}.html"),
    )
    assert result.exit_code == 0, result.output
    assert "unsupported name" in result.stdout and "Sets of strings" in result.stdout
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["strict"]["f"] == scores["strings"]["r"] == 1.0
    assert scores["llm_responses"]["issues"]["unsupported name"]["n"] == 0
    page = (tmp_path / "scores.html").read_text()
    assert "Responses of the language model" in page


@pytest.mark.parametrize("options", [[], ["--objective", "precision>=0.9"]])
def test_the_threshold_is_tuned(predicted, tmp_path, options):
    result = run_command("tune", "threshold", *predicted, tmp_path / "tuned", *options)
    assert result.exit_code == 0 and "threshold" in result.stdout, result.output


@pytest.mark.parametrize(
    "steps", ["label-propagation", "threshold,calibration", "decoding"]
)
def test_other_steps_of_tuning_need_a_tagger(predicted, tmp_path, steps):
    result = run_command("tune", steps, *predicted, tmp_path / "tuned")
    fails_with_one_line(result, "generative_ner")


def test_pipelines_are_compared(predicted):
    model, gold = predicted
    result = run_command("compare", model, model, gold)
    assert result.exit_code == 0, result.output


def test_many_threads_use_one_pipeline(tiny_lm):
    nlp = make_nlp(tiny_lm)
    expected = [ents(nlp(text)) for text in TEXTS]
    fresh = make_nlp(tiny_lm)  # the first thread loads the model
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda text: ents(fresh(text)), TEXTS * 3))
    assert results == expected * 3


def test_several_processes_after_use_in_the_parent(tiny_lm):
    nlp = make_nlp(tiny_lm)
    expected = [ents(doc) for doc in nlp.pipe(TEXTS)]
    docs = list(nlp.pipe(TEXTS * 2, n_process=2, batch_size=2))
    assert [ents(doc) for doc in docs] == expected * 2
    assert get_llm_responses(docs[0])["generative_ner"].texts
