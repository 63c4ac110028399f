"""The component `generative_ner`, with small language models of random weights."""

import json
import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin

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
# Seeds with which they name something
FAMILIES = {"qwen3": 2, "llama": 1, "gpt2": 0}


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


def plain_answer(pipe, text, n_tokens):
    """Greedy search without a cache, a batch or a grammar, with log-probabilities."""
    model, tokenizer = pipe.backend.lm.model, pipe.backend.lm.tokenizer
    ids = encode_prompt(tokenizer, pipe.prompt(text, LABELS))
    start, values = len(ids), []
    while len(ids) < start + n_tokens:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        token = int(logits.argmax())
        if token == tokenizer.eos_token_id:
            break
        values.append(float(torch.log_softmax(logits, -1)[token]))
        ids.append(token)
    return ids[start:], values


def test_a_random_model_can_only_copy(folder):
    nlp = make_nlp(folder)
    docs = list(nlp.pipe(TEXTS))
    for doc in docs:
        found = get_llm_responses(doc)["generative_ner"]
        assert set(found.issues) <= {"cut off", "over-generated", "ambiguous"}
        for text in found.texts:
            for item in json.loads(text):
                assert item["entity"] in LABELS and item["name"] in doc.text
        for ent in doc.ents:
            assert 0 < get_confidence(ent) <= 1
    assert any(doc.ents for doc in docs)
    assert get_llm_responses(docs[2])["generative_ner"].texts == []
    alone = [nlp(text) for text in TEXTS]
    assert list(map(ents, docs)) == list(map(ents, alone))
    for doc, same in zip(docs, alone):
        for ent, other in zip(doc.ents, same.ents):
            assert get_confidence(ent) == pytest.approx(get_confidence(other), rel=1e-4)


def test_without_a_grammar_it_says_what_it_says(folder):
    nlp = make_nlp(folder, constrained=False, max_response_tokens=12)
    pipe = nlp.get_pipe("generative_ner")
    for doc in nlp.pipe(TEXTS):
        found = get_llm_responses(doc)["generative_ner"]
        if not doc.text:
            assert found.texts == []
            continue
        ids, values = plain_answer(pipe, doc.text, 12)
        text = bytes_of(pipe, ids)
        assert found.texts == [text.decode("utf8", errors="ignore")]
        assert found.issues == {
            **parse_response(found.texts[0]).issues,
            "cut off": 1,
        } or (len(ids) < 12)
        [part] = pipe.predict([nlp.make_doc(doc.text)])[0]
        assert [value for _, value in part.completion.tokens] == pytest.approx(
            values, abs=1e-4
        )


def bytes_of(pipe, ids):
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    there = {mark: byte for byte, mark in bytes_to_unicode().items()}
    pieces = pipe.backend.lm.tokenizer.convert_ids_to_tokens(ids)
    return bytes(there[mark] for piece in pieces for mark in piece)


@pytest.mark.parametrize("max_response_tokens", [1, 2, 40, 90])
def test_an_answer_always_ends(tiny_lm, max_response_tokens):
    nlp = make_nlp(tiny_lm, max_response_tokens=max_response_tokens)
    for doc in nlp.pipe(TEXTS):
        for text in get_llm_responses(doc)["generative_ner"].texts:
            assert (
                isinstance(json.loads(text), list)
                if max_response_tokens > 1
                else text == "["
            )


@pytest.mark.parametrize("seed", range(3))
def test_an_answer_ends_though_pieces_go_on(tmp_path, seed):
    """A piece such as '"}, {"entity' ends a name and begins another."""
    frame = (
        '{"entity": "Chemical", "name": "zinc"}, {"entity": "Disease", "name": "pain"}'
    )
    tokenizer = make_merging_tokenizer([f"[{frame}, {frame}]"] * 9 + TEXTS)
    pieces = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    assert any('"}, {' in piece for piece in pieces)
    path = tmp_path / "lm"
    make_tiny_lm("gpt2", 1024, seed, len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    issues = Counter()
    for max_response_tokens in (30, 60, 90):
        for doc in make_nlp(path, max_response_tokens=max_response_tokens).pipe(TEXTS):
            found = get_llm_responses(doc)["generative_ner"]
            issues.update(found.issues)
            for text in found.texts:
                assert isinstance(json.loads(text), list)
    assert set(issues) <= {"cut off", "over-generated", "ambiguous"}


def test_real_sentences_and_no_invented_name(real_docs, folder):
    """Count over 12 sentences; benchmarks/generation.py counts over 2,000."""
    texts = [doc.text for doc in real_docs("bc5cdr")[:12]]
    nlp = make_nlp(folder)
    for doc in nlp.pipe(texts):
        found = get_llm_responses(doc)["generative_ner"]
        assert set(found.issues) <= {"cut off", "over-generated", "ambiguous"}
        for text in found.texts:
            json.loads(text)


def test_confidence_is_the_product_over_the_tokens_of_the_object():
    class Backend:
        extra = "llm"

        def __call__(self, requests):
            text = '[{"entity": "Chemical", "name": "zinc"}, {"entity": "Disease", "name": "pain"}]'
            cut = text.index("}") + 1
            half = text.index("zinc")
            tokens = [
                (half, -0.1),
                (cut, -0.2),
                (len(text) - 1, -0.4),
                (len(text), -3.0),
            ]
            return [Completion(text, tokens) for _ in requests]

    nlp = make_nlp("")
    nlp.get_pipe("generative_ner").backend = Backend()
    doc = nlp("zinc for pain")
    assert [get_confidence(ent) for ent in doc.ents] == pytest.approx(
        [math.exp(-0.3), math.exp(-0.4)]
    )
    nlp.get_pipe("generative_ner").threshold = 0.7
    assert ents(nlp("zinc for pain")) == [("zinc", "Chemical")]
    nlp.get_pipe("generative_ner").spans_key = "mine"
    doc = nlp("zinc for pain")
    assert np.allclose(doc.spans["mine"].attrs["scores"], [math.exp(-0.3)])


def test_without_probabilities_the_confidence_is_none():
    class Backend:
        extra = "llm"

        def __call__(self, requests):
            text = '[{"entity": "Chemical", "name": "zinc"}]'
            return [Completion(text, None) for _ in requests]

    nlp = make_nlp("", spans_key="mine")
    nlp.get_pipe("generative_ner").backend = Backend()
    doc = nlp("zinc for pain")
    assert ents(doc) == [("zinc", "Chemical")]
    assert doc.ents[0]._.confidence is None
    assert [span.text for span in doc.spans["mine"]] == ["zinc"]
    assert "scores" not in doc.spans["mine"].attrs


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "model/../../evil.txt"])
def test_bytes_with_paths_outside_of_the_folder_are_refused(name):
    pipe = make_nlp("").get_pipe("generative_ner")
    with pytest.raises(WeltError, match="outside of its folder"):
        pipe.from_bytes(srsly.msgpack_dumps({name: b"evil"}))


def test_saved_copied_and_pickled(tiny_lm, tmp_path):
    nlp = make_nlp(tiny_lm, n_sents=1, threshold=1e-12)
    nlp.add_pipe("welt_sentencizer", first=True)
    expected = [ents(doc) for doc in nlp.pipe(TEXTS)]
    assert any(expected)
    nlp.to_disk(tmp_path / "model")
    for path in tiny_lm.iterdir():
        path.rename(path.with_name(f"gone-{path.name}"))
    try:
        for other in copies(nlp, tmp_path / "model"):
            assert [ents(doc) for doc in other.pipe(TEXTS)] == expected
        fresh = make_nlp(tiny_lm, n_sents=1, threshold=1e-12)
        fresh.add_pipe("welt_sentencizer", first=True)
        fresh.from_bytes(nlp.to_bytes())
        assert [ents(doc) for doc in fresh.pipe(TEXTS)] == expected
    finally:
        for path in tiny_lm.iterdir():
            path.rename(path.with_name(path.name.replace("gone-", "")))
    requirements = spacy.load(tmp_path / "model").meta["requirements"]
    assert any("welt-spacy[llm]" in name for name in requirements)


def test_parts_of_docs(tiny_lm):
    nlp = make_nlp(tiny_lm, n_sents=2)
    with pytest.raises(WeltError, match="welt_sentencizer"):
        nlp("Zinc. Pain. Rats.")
    nlp.add_pipe("welt_sentencizer", first=True)
    doc = nlp("Zinc is there. Pain is there. Rats are not.")
    assert len(get_llm_responses(doc)["generative_ner"].texts) == 2
    for ent in doc.ents:
        assert ent.text in doc.text
    told = DocBin(docs=[doc], store_user_data=True).to_bytes()
    [same] = DocBin().from_bytes(told).get_docs(nlp.vocab)
    assert get_llm_responses(same)["generative_ner"].issues == (
        get_llm_responses(doc)["generative_ner"].issues
    )
    assert doc._.llm_responses["generative_ner"]["error"] is None


def test_what_does_not_fit_is_told(tiny_lm, caplog):
    nlp = make_nlp(tiny_lm)
    docs = list(nlp.pipe(["Zinc.", "zinc " * 300]))
    assert get_llm_responses(docs[0])["generative_ner"].issues.get("failed") is None
    found = get_llm_responses(docs[1])["generative_ner"]
    assert found.issues == {"failed": 1} and "n_sents" in found.error
    assert "1 of 2 requests failed" in caplog.text


def test_settings(tiny_lm, tmp_path):
    nlp = make_nlp(tiny_lm, labels=[])
    with pytest.raises(WeltError, match="no labels"):
        nlp("Zinc.")
    pipe = nlp.get_pipe("generative_ner")
    assert (pipe.add_label("Gene"), pipe.add_label("Gene")) == (1, 0)
    assert nlp.config["components"]["generative_ner"]["labels"] == ["Gene"]
    pipe.threshold = 0.25
    assert nlp.config["components"]["generative_ner"]["threshold"] == 0.25
    with pytest.raises(WeltError, match="n_sents"):
        pipe.n_sents = -1
    nowhere = make_nlp(tmp_path / "nowhere")
    with pytest.raises(WeltError, match="nowhere"):
        nowhere("Zinc.")
    with pytest.raises(WeltError, match="No language model"):
        make_nlp("")("Zinc.")
    with pytest.raises(WeltError, match="dtype"):
        TransformersBackend("x", dtype="int3")


def test_entities_of_earlier_components_stay(tiny_lm):
    nlp = make_nlp(tiny_lm)
    expected = None
    for text in TEXTS:
        doc = nlp(text)
        if doc.ents:
            expected = doc.ents[0]
    assert expected is not None
    fixed = Doc(
        nlp.vocab,
        words=[t.text for t in expected.doc],
        spaces=[bool(t.whitespace_) for t in expected.doc],
    )
    span = fixed[expected.start : expected.end]
    fixed.ents = [spacy.tokens.Span(fixed, span.start, span.end, label="Kept")]
    doc = nlp(fixed)
    assert (expected.text, "Kept") in ents(doc)


def test_evaluated_compared_tuned_and_packaged(tiny_lm, tmp_path):
    nlp = make_nlp(tiny_lm)
    docs = list(nlp.pipe([text for text in TEXTS if text]))
    DocBin(docs=docs).to_disk(tmp_path / "gold.spacy")
    nlp.to_disk(tmp_path / "model")
    out = tmp_path / "scores"
    done = run_command(
        *("evaluate", tmp_path / "model", tmp_path / "gold.spacy"),
        *("--json", f"{out}.json", "--html", f"{out}.html", "--score-raw-text"),
    )
    assert done.exit_code == 0, done.output
    assert "unsupported name" in done.stdout and "Sets of strings" in done.stdout
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["strict"]["f"] == scores["strings"]["r"] == 1.0
    assert scores["llm_responses"]["issues"]["unsupported name"]["n"] == 0
    page = (tmp_path / "scores.html").read_text()
    assert "Responses of the language model" in page
    data = (tmp_path / "model", tmp_path / "gold.spacy")
    tuned = run_command("tune", "threshold", *data, tmp_path / "tuned")
    assert tuned.exit_code == 0 and "threshold" in tuned.stdout, tuned.output
    sure = run_command(
        *("tune", "threshold", *data, tmp_path / "sure"),
        *("--objective", "precision>=0.9"),
    )
    assert sure.exit_code == 0
    for steps in ("label-propagation", "threshold,calibration", "decoding"):
        again = run_command("tune", steps, *data, tmp_path / "x")
        fails_with_one_line(again, "generative_ner")
    both = run_command(
        "compare", tmp_path / "model", tmp_path / "tuned", tmp_path / "gold.spacy"
    )
    assert both.exit_code == 0, both.output


def test_many_threads_use_one_pipeline(tiny_lm):
    nlp = make_nlp(tiny_lm)
    expected = [ents(nlp(text)) for text in TEXTS]
    fresh = make_nlp(tiny_lm)  # the model is loaded by whichever thread comes first
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: ents(fresh(text)), TEXTS * 3))
    assert found == expected * 3


def test_several_processes_after_use_in_the_parent(tiny_lm):
    nlp = make_nlp(tiny_lm)
    expected = [ents(doc) for doc in nlp.pipe(TEXTS)]
    docs = list(nlp.pipe(TEXTS * 2, n_process=2, batch_size=2))
    assert [ents(doc) for doc in docs] == expected * 2
    assert get_llm_responses(docs[0])["generative_ner"].texts
