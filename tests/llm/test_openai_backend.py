"""A server that answers rightly, wrongly, late or not at all."""

import json
import logging
import threading
import time
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
ANSWER = '[{"entity": "Chemical", "name": "zinc"}]'


class Server(ThreadingHTTPServer):
    """Answers by what the prompt says."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body)
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
        try:
            self.answer(body, body["messages"][0]["content"])
        finally:
            with server.lock:
                server.busy -= 1

    def answer(self, body, prompt):
        n = sum(one["messages"] == body["messages"] for one in self.server.asked)
        if "broken" in prompt or ("once" in prompt and n == 1):
            return self.send(500, b"out of order")
        if "nothing" in prompt:
            return self.connection.close()
        if "slow" in prompt:
            time.sleep(1.5)
        if "garbage" in prompt:
            return self.send(200, b"<html>welcome</html>")
        if "strange" in prompt:
            return self.send(200, b'{"choices": []}')
        text = "I can't." if "chatty" in prompt else ANSWER
        tokens = [
            {
                "token": text[i : i + 5],
                "logprob": -0.01,
                "bytes": None,
                "top_logprobs": [],
            }
            for i in range(0, len(text), 5)
        ]
        choice = {
            "index": 0,
            "finish_reason": "length" if "long" in prompt else "stop",
            "message": {"role": "assistant", "content": text},
        }
        if body.get("logprobs"):
            choice["logprobs"] = {"content": tokens}
        told = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        self.send(200, json.dumps({**told, "choices": [choice]}).encode())

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
        server.shutdown()


def make_nlp(server, **settings):
    nlp = spacy.blank("en")
    backend = {
        "@misc": "welt_spacy.OpenAIBackend.v1",
        "model": "m",
        "base_url": f"http://127.0.0.1:{server.server_port}/v1",
        "timeout": 1.0,
        "max_retries": 1,
        **settings,
    }
    nlp.add_pipe("generative_ner", config={"labels": ["Chemical"], "backend": backend})
    return nlp


def test_no_doc_is_lost(server, caplog):
    texts = [
        *("zinc", "zinc broken", "zinc once", "zinc nothing", "zinc slow"),
        *("zinc garbage", "zinc strange", "zinc chatty", "zinc long", "no such thing"),
    ]
    nlp = make_nlp(server, concurrency=3)
    with caplog.at_level(logging.WARNING):
        docs = list(nlp.pipe(texts))
    assert [doc.text for doc in docs] == texts
    found = [get_llm_responses(doc)["generative_ner"] for doc in docs]
    assert [told.issues for told in found] == [
        {},
        {"failed": 1},
        {},  # at the second attempt
        *({"failed": 1},) * 4,
        {"not JSON": 1},
        {"cut off": 1},
        {"unsupported name": 1},
    ]
    assert [bool(doc.ents) for doc in docs] == [
        *(True, False, True, False, False, False, False, False, True, False)
    ]
    for told in found:
        if told.error:
            assert "\n" not in told.error and "127.0.0.1" in told.error
    assert "5 of 10 requests failed" in caplog.text
    assert 1 < server.most_busy <= 3
    assert get_confidence(docs[0].ents[0]) == pytest.approx(0.9231, abs=1e-4)
    body = server.asked[0]
    assert body["temperature"] == 0 and body["max_tokens"] == 512
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["items"]["properties"]["entity"]["enum"] == ["Chemical"]


def test_a_server_that_is_not_there(server, tmp_path):
    nlp = make_nlp(server, log_probs=False)
    doc = nlp("zinc")
    assert ents(doc) == [("zinc", "Chemical")] and get_confidence(doc.ents[0]) is None
    nlp.to_disk(tmp_path / "model")
    for other in copies(nlp, tmp_path / "model"):
        assert ents(other("zinc")) == ents(doc)
    forked = nlp.pipe(["zinc"] * 4, n_process=2, batch_size=2)
    assert [ents(other) for other in forked] == [ents(doc)] * 4
    server.shutdown()
    server.server_close()
    found = get_llm_responses(nlp("zinc"))["generative_ner"]
    assert found.issues == {"failed": 1} and "Connection error" in found.error


def test_what_is_sent(server):
    url = f"http://127.0.0.1:{server.server_port}/v1"
    request = Request("zinc", 7, "start: NAME", 3, {"type": "array"})
    OpenAIBackend("m", url, guide="grammar", extra_body={"top_k": 1})([request])
    assert server.asked[-1]["structured_outputs"] == {"grammar": "start: NAME"}
    assert server.asked[-1]["top_k"] == 1 and "response_format" not in server.asked[-1]
    OpenAIBackend("m", url, guide="none", log_probs=False)([request])
    assert not {"structured_outputs", "logprobs"} & set(server.asked[-1])
    for settings in ({"concurrency": 0}, {"guide": "x"}, {"timeout": 0}):
        with pytest.raises(WeltError):
            OpenAIBackend("m", url, **settings)
