"""Language models on a server that responds correctly, wrongly or not at all."""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import spacy

from welt_spacy.errors import WeltError
from welt_spacy.llm.backends import Request
from welt_spacy.llm.openai_backend import OpenAIBackend
from welt_spacy.tokens.confidence import get_confidence
from welt_spacy.tokens.llm_responses import get_llm_responses

from ..factories import copies, ents

pytest.importorskip("openai", reason="needs welt-spacy[openai]")
RESPONSE = '[{"entity": "Chemical", "name": "zinc"}]'


class Server(ThreadingHTTPServer):
    """A server whose behaviour depends on words of the prompt."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.requests = []
        self.n_open = self.max_open = 0
        self.lock = threading.Lock()
        self.is_closing = threading.Event()
        self.pair = threading.Barrier(2)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(body)
            n_attempts = sum(r["messages"] == body["messages"] for r in server.requests)
            server.n_open += 1
            server.max_open = max(server.max_open, server.n_open)
        try:
            self.respond(body, body["messages"][0]["content"], n_attempts)
        finally:
            with server.lock:
                server.n_open -= 1

    def respond(self, body, prompt, n_attempts):
        if "broken" in prompt or ("flaky" in prompt and n_attempts == 1):
            return self.send(500, b"out of order")
        if "nothing" in prompt:
            return self.connection.close()
        if "never" in prompt:
            self.server.is_closing.wait()
        if "pair" in prompt:
            self.server.pair.wait()
        if "garbage" in prompt:
            return self.send(200, b"<html>welcome</html>")
        if "strange" in prompt:
            return self.send(200, b'{"choices": []}')
        text = "I can't." if "chatty" in prompt else RESPONSE
        tokens = [
            {"token": text[i : i + 5], "logprob": -0.01, "bytes": None}
            for i in range(0, len(text), 5)
        ]
        choice = {
            "index": 0,
            "finish_reason": "length" if "long" in prompt else "stop",
            "message": {"role": "assistant", "content": text},
        }
        if body.get("logprobs"):
            choice["logprobs"] = {
                "content": [{**t, "top_logprobs": []} for t in tokens]
            }
        header = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        self.send(200, json.dumps({**header, "choices": [choice]}).encode())

    def send(self, status, content):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.is_closing.set()
        server.shutdown()


def make_nlp(server, **settings):
    nlp = spacy.blank("en")
    backend = {
        "@misc": "welt_spacy.OpenAIBackend.v1",
        "model": "m",
        "base_url": server.url,
        "max_retries": 1,
        **settings,
    }
    nlp.add_pipe("generative_ner", config={"labels": ["Chemical"], "backend": backend})
    return nlp


def get_responses(doc):
    return get_llm_responses(doc)["generative_ner"]


@pytest.mark.parametrize(
    "text, issues, has_entity",
    [
        ("zinc", {}, True),
        ("zinc broken", {"failed": 1}, False),
        ("zinc flaky", {}, True),
        ("zinc nothing", {"failed": 1}, False),
        ("zinc garbage", {"failed": 1}, False),
        ("zinc strange", {"failed": 1}, False),
        ("zinc chatty", {"not JSON": 1}, False),
        ("zinc long", {"cut off": 1}, True),
        ("no such word", {"unsupported name": 1}, False),
    ],
)
def test_issues_of_responses(server, text, issues, has_entity):
    doc = make_nlp(server)(text)
    responses = get_responses(doc)
    assert responses.issues == issues and bool(doc.ents) == has_entity
    if "failed" in issues:
        assert "\n" not in responses.error and "127.0.0.1" in responses.error


def test_a_timeout_is_an_issue(server):
    responses = get_responses(make_nlp(server, timeout=0.1)("zinc never"))
    assert responses.issues == {"failed": 1} and "timed out" in responses.error


def test_no_document_is_lost(server, caplog):
    texts = ["zinc", "zinc broken", "zinc flaky", "zinc garbage", "zinc"]
    with caplog.at_level(logging.WARNING):
        docs = list(make_nlp(server, concurrency=3).pipe(texts))
    assert [doc.text for doc in docs] == texts
    assert [bool(doc.ents) for doc in docs] == [True, False, True, False, True]
    assert "2 of 5 requests failed" in caplog.text


def test_requests_are_concurrent(server):
    """Use a server that responds only when two requests are open."""
    docs = make_nlp(server, concurrency=2).pipe([f"zinc pair {i}" for i in range(6)])
    assert all(doc.ents for doc in docs)
    assert server.max_open == 2


def test_confidences_are_those_of_the_server(server):
    doc = make_nlp(server)("zinc")
    assert get_confidence(doc.ents[0]) == pytest.approx(0.9231, abs=1e-4)


def test_without_log_probabilities_the_confidence_is_none(server):
    doc = make_nlp(server, log_probs=False)("zinc")
    assert ents(doc) == [("zinc", "Chemical")]
    assert get_confidence(doc.ents[0]) is None


def test_the_request_has_limits_and_a_schema(server):
    make_nlp(server)("zinc")
    (body,) = server.requests
    assert body["temperature"] == 0 and body["max_tokens"] == 512
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["items"]["properties"]["entity"]["enum"] == ["Chemical"]


def test_copies_and_processes_have_their_own_connections(server, tmp_path):
    nlp = make_nlp(server)
    expected = ents(nlp("zinc"))
    nlp.to_disk(tmp_path / "model")
    for copy in copies(nlp, tmp_path / "model"):
        assert ents(copy("zinc")) == expected
    docs = nlp.pipe(["zinc"] * 4, n_process=2, batch_size=2)
    assert [ents(doc) for doc in docs] == [expected] * 4


def test_an_unreachable_server_is_an_issue(server):
    nlp = make_nlp(server)
    server.shutdown()
    server.server_close()
    responses = get_responses(nlp("zinc"))
    assert responses.issues == {"failed": 1} and "Connection error" in responses.error


REQUEST = Request("zinc", 7, "start: NAME", 3, {"type": "array"})


def test_a_grammar_is_sent(server):
    backend = OpenAIBackend("m", server.url, guide="grammar", extra_body={"top_k": 1})
    backend([REQUEST])
    (body,) = server.requests
    assert body["structured_outputs"] == {"grammar": "start: NAME"}
    assert body["top_k"] == 1 and "response_format" not in body


def test_nothing_is_sent_without_a_guide(server):
    OpenAIBackend("m", server.url, guide="none", log_probs=False)([REQUEST])
    (body,) = server.requests
    assert not {"structured_outputs", "response_format", "logprobs"} & set(body)


@pytest.mark.parametrize(
    "setting", [{"concurrency": 0}, {"guide": "x"}, {"timeout": 0}]
)
def test_invalid_settings_are_refused(server, setting):
    with pytest.raises(WeltError, match=next(iter(setting))):
        OpenAIBackend("m", server.url, **setting)
