"""The HTTP interface: limits, shared batches, a token, and its page in a browser."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import spacy
from spacy.language import Language

from welt_spacy.serving.app import Limits, make_app
from welt_spacy.serving.batching import Batcher, Dial, Overloaded

from ..factories import make_examples, make_nlp, train

TEXTS = ["Selegiline 😀 and nausea.", "Aspirin helps.", "The study was blind.", ""]


@pytest.fixture(scope="module")
def nlp():
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    return nlp


@pytest.fixture(scope="module")
def model(nlp, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    nlp.to_disk(path)
    return path


def entities(doc):
    return [
        {
            "start": ent.start_char,
            "end": ent.end_char,
            "label": ent.label_,
            "text": ent.text,
            "confidence": round(ent._.confidence, 4),
        }
        for ent in doc.ents
    ]


class Client:
    """Calls an application in this process, on a loop of its own."""

    def __init__(self, app):
        self.app = app
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.lifespan = app.router.lifespan_context(app)

    def __enter__(self):
        self.run(self.lifespan.__aenter__())
        transport = httpx.ASGITransport(self.app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://test")
        return self

    def __exit__(self, *exc):
        self.run(self.lifespan.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def post(self, json=None, **options):
        return self.run(self.http.post("/annotate", json=json, **options))

    def get(self, path):
        return self.run(self.http.get(path))


def test_one_text_and_many(nlp):
    expected = [entities(doc) for doc in nlp.pipe(TEXTS)]
    assert sum(map(len, expected)) >= 3
    with Client(make_app(nlp)) as client:
        one = client.post({"text": TEXTS[0]})
        assert one.status_code == 200 and one.json() == {
            "pipeline": "en_pipeline-0.0.0",
            "documents": [{"entities": expected[0], "error": None}],
        }
        many = client.post({"texts": TEXTS}).json()["documents"]
        assert [document["entities"] for document in many] == expected
        assert client.post({"texts": []}).json()["documents"] == []
        health = client.get("/health").json()
        assert health["status"] == "ok" and health["accepted"] == 3


def test_the_dial_is_for_one_request(nlp):
    texts = {"texts": TEXTS[:3]}
    with Client(make_app(nlp)) as client:
        before = client.post(texts).json()
        none = client.post({**texts, "o_bias": 20}).json()
        assert not any(document["entities"] for document in none["documents"])
        many = client.post({**texts, "o_bias": -20, "threshold": 0}).json()
        n_many, n_before = (
            sum(len(d["entities"]) for d in found["documents"])
            for found in (many, before)
        )
        assert n_many > n_before
        with ThreadPoolExecutor(8) as pool:
            asked = [{**texts, "o_bias": 20} if i % 2 else texts for i in range(40)]
            found = [answer.json() for answer in pool.map(client.post, asked)]
        assert found == [none if i % 2 else before for i in range(40)]
    pipe = nlp.get_pipe("welt_ner")
    assert (pipe.o_bias, nlp.config["components"]["welt_ner"]["o_bias"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "asked, status, told",
    [
        ({}, 422, "either"),
        ({"text": "a", "texts": ["b"]}, 422, "either"),
        ({"text": 1}, 422, "string"),
        ({"text": "a", "o_bias": 1e9}, 422, "less than or equal"),
        ({"text": "a", "treshold": 0.5}, 422, "not permitted"),
        ({"text": "x" * 51}, 413, "51 characters: at most 50"),
        ({"texts": ["a"] * 4}, 413, "4 texts: at most 3"),
        ({"text": "x" * 70_000}, 413, "more than 67,336 bytes"),
    ],
)
def test_what_is_refused(nlp, asked, status, told):
    with Client(make_app(nlp, limits=Limits(max_chars=50, max_texts=3))) as client:
        answer = client.post(asked)
        assert answer.status_code == status and told in answer.text
        assert client.post({"text": "fine"}).status_code == 200


def test_bodies_that_are_not_json(nlp):
    with Client(make_app(nlp)) as client:
        for body in (b"", b"{", b"\xff", b'{"text": "\\ud800"}', b"[" * 10_000):
            answer = client.post(
                content=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code in (400, 422), body
        assert client.post({"text": "fine"}).status_code == 200


def test_a_body_without_end_is_ended(nlp):
    async def endless():
        while True:
            yield b" " * 10_000

    with Client(make_app(nlp, limits=Limits(max_chars=100, max_texts=1))) as client:
        assert client.post(content=endless()).status_code == 413


def test_token(nlp):
    with Client(make_app(nlp, token="secret é")) as client:
        assert client.post({"text": "a"}).status_code == 401
        for told, status in (("Bearer wrong", 401), ("secret", 401)):
            found = client.post({"text": "a"}, headers={"Authorization": told})
            assert found.status_code == status
            assert found.headers["www-authenticate"] == "Bearer"
        header = "Bearer secret é".encode()
        assert (
            client.post({"text": "a"}, headers={"Authorization": header}).status_code
            == 200
        )
        assert client.get("/health").status_code == 200


@Language.component("slow_or_bad")
def slow_or_bad(doc):
    if "bad" in doc.text:
        raise RuntimeError("no")
    time.sleep(0.2 if "slow" in doc.text else 0)
    return doc


def slow_nlp():
    nlp = spacy.blank("en")
    nlp.add_pipe("slow_or_bad")
    return nlp


def test_overload_is_told_at_once_and_passes(nlp):
    with Client(make_app(slow_nlp(), limits=Limits(max_queue=4))) as client:
        with ThreadPoolExecutor(30) as pool:
            started = time.monotonic()
            answers = list(pool.map(client.post, [{"text": "slow"}] * 30))
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 503} and codes.count(200) >= 4
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.headers["retry-after"] == "1"
        assert time.monotonic() - started < 10
        assert client.post({"text": "fine"}).status_code == 200


def test_a_request_that_takes_too_long_is_given_up():
    with Client(make_app(slow_nlp(), limits=Limits(timeout=0.3))) as client:
        answer = client.post({"texts": ["slow"] * 10})
        assert answer.status_code == 504 and "0.3 seconds" in answer.text
        deadline = time.monotonic() + 10
        while client.post({"text": "fine"}).status_code != 200:
            assert time.monotonic() < deadline


def test_a_text_that_the_pipeline_fails_on():
    with Client(make_app(slow_nlp())) as client:
        found = client.post({"texts": ["good", "bad"]}).json()["documents"]
        assert found[0]["error"] is None
        assert "RuntimeError: no" in found[1]["error"]
        all_bad = client.post({"texts": ["bad"] * 60}).json()["documents"]
        assert all(document["error"] for document in all_bad)
        assert client.post({"text": "a", "o_bias": 1}).status_code == 422


def in_a_thread(coroutine):
    """The main thread may have the loop of a browser."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def test_texts_of_many_clients_share_batches(nlp):
    sizes = []

    async def main():
        async with Batcher(nlp, batch_docs=16, max_queue=100) as batcher:
            inner = batcher._annotate
            batcher._annotate = lambda texts, dial: (
                sizes.append(len(texts)) or inner(texts, dial)
            )
            found = await asyncio.gather(
                *(batcher.annotate([TEXTS[i % 3]]) for i in range(40))
            )
            with pytest.raises(Overloaded):
                await batcher.annotate(["a"] * 101)
            # A client that goes away costs nothing
            task = asyncio.create_task(batcher.annotate(["a"] * 50, Dial(1.0)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0.05)
            assert await batcher.annotate(["b"]) == [[]]
            return found

    found = in_a_thread(main())
    assert [len(one) for one in found] == [1] * 40
    expected = [entities(doc) for doc in nlp.pipe(TEXTS[:3])]
    for i, (one,) in enumerate(found):
        got = [{k: v for k, v in e._asdict().items() if k != "pipeline"} for e in one]
        assert got == expected[i % 3]
    assert max(sizes) == 16 and len(sizes) <= 8


def test_memory_does_not_grow():
    nlp = slow_nlp()
    sizes = []

    async def main():
        async with Batcher(nlp) as batcher:
            for i in range(60):
                await batcher.annotate([f"word{i}x{j}" for j in range(64)])
                sizes.append(len(nlp.vocab.strings))

    in_a_thread(main())
    assert sizes[0] < sizes[20] and sizes[40] == sizes[-1]


@pytest.fixture
def server(model):
    """Starts `spacy welt serve` and gives its address."""
    processes = []

    def start(*options):
        process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "welt_spacy",
                    "serve",
                    str(model),
                    "--port",
                    "0",
                ),
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        for line in process.stdout:
            if match := re.search(r"http://[\w.:]+", line):
                return process, match[0]
        pytest.fail("the server did not start")

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_sigterm_under_load_loses_no_accepted_request(server):
    process, address = server()
    answers, refused = [], []
    stop = threading.Event()

    def client(i):
        while not stop.is_set():
            try:
                found = httpx.post(
                    f"{address}/annotate", json={"texts": TEXTS[:3] * 5}, timeout=30
                )
                answers.append(found.status_code)
            except httpx.ConnectError:
                refused.append(i)
                return
            except httpx.TransportError:
                # A connection that was made as the server ended, and never served
                refused.append(i)
                return

    with ThreadPoolExecutor(8) as pool:
        for i in range(8):
            pool.submit(client, i)
        deadline = time.monotonic() + 30
        while len(answers) < 30 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        stop.set()
    told = process.stdout.read()
    match = re.search(r"([\d,]+) requests accepted, ([\d,]+) answered", told)
    assert match, told
    accepted, answered = (int(n.replace(",", "")) for n in match.groups())
    assert accepted == answered == len(answers) and set(answers) == {200}


def test_serve_says_what_is_wrong(model, server):
    _, address = server()
    port = address.rsplit(":", 1)[1]
    for arguments, told in (
        ([str(model), "--port", port], "can't listen at"),
        (["en_none_such"], "en_none_such"),
        ([str(model), "--token", " "], "--token is empty"),
    ):
        found = subprocess.run(
            [sys.executable, "-m", "welt_spacy", "serve", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert found.returncode == 1 and told in found.stderr
        assert "Traceback" not in found.stderr


def test_the_interface_is_described_without_a_network(nlp):
    with Client(make_app(nlp)) as client:
        schema = client.get("/openapi.json").json()
        assert set(schema["paths"]) == {"/annotate", "/health"}
        codes = schema["paths"]["/annotate"]["post"]["responses"]
        assert {"200", "401", "413", "422", "503", "504"} <= set(codes)
        for path in ("/", "/docs"):
            page = client.get(path)
            assert page.status_code == 200
            assert not re.search(r'(src|href)="https?://', page.text)


def test_the_page_in_a_browser(server, browser):
    _, address = server()
    problems, requests = [], []
    page = browser.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.wait_for_selector("#told:not(:empty)")
    # With the keyboard alone: to the text, another text, annotate
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.fill("#text", "😀 Selegiline </script><b>x</b> and nausea.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#result mark:has-text('Selegiline')")
    marks = page.eval_on_selector_all(
        "#result mark", "all => all.map(mark => mark.firstChild.textContent)"
    )
    assert "Selegiline" in marks and "nausea" in marks
    assert page.eval_on_selector("#result", "e => e.querySelector('b')") is None
    # The dial: nothing is left at the greatest bias; and back
    page.focus("#o_bias")
    page.keyboard.press("End")
    page.fill("#threshold", "1")
    page.wait_for_selector("#result mark", state="detached")
    page.click("#reset")
    page.wait_for_selector("#result mark:nth-of-type(2)")
    page.select_option("#example", index=1)
    assert "BRCA2" in page.input_value("#text")
    assert not problems
    assert all(url.startswith((address, "data:")) for url in requests)
    page.close()


def test_dark_and_narrow(server, browser):
    _, address = server()
    context = browser.new_context(
        color_scheme="dark", viewport={"width": 360, "height": 700}
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#told:not(:empty)")
    ground = page.eval_on_selector("body", "e => getComputedStyle(e).backgroundColor")
    assert ground == "rgb(20, 24, 27)"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_a_token_is_asked_for_on_the_page(server, browser):
    os.environ["WELT_SERVE_TOKEN"] = "secret"
    try:
        _, address = server()
    finally:
        del os.environ["WELT_SERVE_TOKEN"]
    page = browser.new_page()
    page.goto(address)
    page.click("button.primary")
    page.wait_for_selector("#problem:not(:empty)")
    assert "token" in page.inner_text("#problem")
    page.fill("#token", "secret")
    page.click("button.primary")
    page.wait_for_selector("#told:not(:empty)")
    assert not page.inner_text("#problem")
    page.close()
