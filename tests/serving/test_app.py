"""The HTTP interface: limits, shared batches, the token, and the page in a browser."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import pytest
import spacy
from spacy.language import Language

from welt_spacy.serving.app import Limits, make_app
from welt_spacy.serving.batching import Batcher, DecodingOptions, Overloaded

from ..factories import (
    fails_with_one_line,
    make_examples,
    make_nlp,
    run_command,
    train,
    wait_until,
)

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


def entities_to_json(doc):
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
    """A client of an application in this process, on a loop of its own."""

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


def test_one_text(nlp):
    (expected,) = (entities_to_json(doc) for doc in nlp.pipe(TEXTS[:1]))
    assert len(expected) >= 2
    with Client(make_app(nlp)) as client:
        response = client.post({"text": TEXTS[0]})
        assert response.status_code == 200 and response.json() == {
            "pipeline": "en_pipeline-0.0.0",
            "documents": [{"entities": expected, "error": None}],
        }


def test_several_texts(nlp):
    expected = [entities_to_json(doc) for doc in nlp.pipe(TEXTS)]
    with Client(make_app(nlp)) as client:
        documents = client.post({"texts": TEXTS}).json()["documents"]
        assert [document["entities"] for document in documents] == expected
        assert client.post({"texts": []}).json()["documents"] == []


def test_health(nlp):
    with Client(make_app(nlp)) as client:
        client.post({"text": "a"})
        client.post({"text": 1})
        assert client.get("/health").json() == {
            "status": "ok",
            "pipeline": "en_pipeline-0.0.0",
            "waiting": 0,
            "accepted": 2,
            "answered": 2,
        }


def count_entities(response):
    return sum(len(document["entities"]) for document in response["documents"])


def test_decoding_options_change_the_entities(nlp):
    texts = {"texts": TEXTS[:3]}
    with Client(make_app(nlp)) as client:
        default = client.post(texts).json()
        none = client.post({**texts, "o_bias": 20}).json()
        more = client.post({**texts, "o_bias": -20, "threshold": 0}).json()
    assert count_entities(none) == 0 < count_entities(default) < count_entities(more)


def test_decoding_options_are_those_of_one_request(nlp):
    texts = {"texts": TEXTS[:3]}
    with Client(make_app(nlp)) as client:
        default = client.post(texts).json()
        none = client.post({**texts, "o_bias": 20}).json()
        requests = [{**texts, "o_bias": 20} if i % 2 else texts for i in range(40)]
        with ThreadPoolExecutor(8) as pool:
            responses = [answer.json() for answer in pool.map(client.post, requests)]
    assert responses == [none if i % 2 else default for i in range(40)]
    pipe = nlp.get_pipe("welt_ner")
    assert (pipe.o_bias, nlp.config["components"]["welt_ner"]["o_bias"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "request_, status, message",
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
def test_refused_requests(nlp, request_, status, message):
    with Client(make_app(nlp, limits=Limits(max_chars=50, max_texts=3))) as client:
        response = client.post(request_)
        assert response.status_code == status and message in response.text
        assert client.post({"text": "fine"}).status_code == 200


def test_bodies_that_are_not_json(nlp):
    with Client(make_app(nlp)) as client:
        for body in (b"", b"{", b"\xff", b'{"text": "\\ud800"}', b"[" * 10_000):
            response = client.post(
                content=body, headers={"Content-Type": "application/json"}
            )
            assert response.status_code in (400, 422), body
        assert client.post({"text": "fine"}).status_code == 200


def test_an_endless_body_is_refused(nlp):
    async def endless():
        while True:
            yield b" " * 10_000

    with Client(make_app(nlp, limits=Limits(max_chars=100, max_texts=1))) as client:
        assert client.post(content=endless()).status_code == 413


@pytest.mark.parametrize("header", [None, "Bearer wrong", "secret"])
def test_a_wrong_token(nlp, header):
    headers = {"Authorization": header} if header else {}
    with Client(make_app(nlp, token="secret é")) as client:
        response = client.post({"text": "a"}, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"


def test_the_right_token(nlp):
    headers = {"Authorization": "Bearer secret é".encode()}
    with Client(make_app(nlp, token="secret é")) as client:
        assert client.post({"text": "a"}, headers=headers).status_code == 200
        assert client.get("/health").status_code == 200


# Texts with "slow" wait until this is set
RELEASE = threading.Event()


@Language.component("slow_or_bad")
def slow_or_bad(doc):
    if "bad" in doc.text:
        raise RuntimeError("no")
    if "slow" in doc.text:
        RELEASE.wait()
    return doc


@pytest.fixture
def slow_nlp():
    RELEASE.clear()
    nlp = spacy.blank("en")
    nlp.add_pipe("slow_or_bad")
    yield nlp
    RELEASE.set()


def test_overload_is_reported_at_once_and_ends(slow_nlp):
    app = make_app(slow_nlp, limits=Limits(max_queue=4))
    with Client(app) as client, ThreadPoolExecutor(30) as pool:
        requests = [pool.submit(client.post, {"text": "slow"}) for _ in range(30)]
        # While the pipeline waits, because a batch and the queue hold 8 requests at most
        done = as_completed(requests)
        refused = [next(done).result() for _ in range(5)]
        RELEASE.set()
        assert {response.status_code for response in refused} == {503}
        assert refused[0].headers["retry-after"] == "1"
        codes = [request.result().status_code for request in requests]
        assert set(codes) == {200, 503} and codes.count(200) >= 4
        assert client.post({"text": "fine"}).status_code == 200


def test_a_request_times_out(slow_nlp):
    with Client(make_app(slow_nlp, limits=Limits(timeout=0.3))) as client:
        response = client.post({"texts": ["slow"] * 10})
        assert response.status_code == 504 and "0.3 seconds" in response.text
        RELEASE.set()
        while client.post({"text": "fine"}).status_code != 200:
            pass


def test_a_text_that_the_pipeline_fails_on(slow_nlp):
    with Client(make_app(slow_nlp)) as client:
        documents = client.post({"texts": ["good", "bad"]}).json()["documents"]
        assert documents[0]["error"] is None
        assert "RuntimeError: no" in documents[1]["error"]


def test_a_pipeline_that_fails_on_all_texts(slow_nlp):
    with Client(make_app(slow_nlp)) as client:
        documents = client.post({"texts": ["bad"] * 60}).json()["documents"]
        assert all(document["error"] for document in documents)


def test_decoding_options_need_a_welt_ner(slow_nlp):
    with Client(make_app(slow_nlp)) as client:
        assert client.post({"text": "a", "o_bias": 1}).status_code == 422


def run_in_thread(coroutine):
    """Run a coroutine. The main thread may have the loop of a browser."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def test_texts_of_many_clients_share_batches(nlp):
    sizes = []

    async def main():
        async with Batcher(nlp, batch_docs=16) as batcher:
            annotate = batcher._annotate
            batcher._annotate = lambda texts, options: (
                sizes.append(len(texts)) or annotate(texts, options)
            )
            requests = (batcher.annotate([TEXTS[i % 3]]) for i in range(40))
            return await asyncio.gather(*requests)

    results = run_in_thread(main())
    expected = [entities_to_json(doc) for doc in nlp.pipe(TEXTS[:3])]
    for i, (entities,) in enumerate(results):
        rows = [ent._asdict() for ent in entities]
        for row in rows:
            del row["pipeline"]
        assert rows == expected[i % 3]
    assert max(sizes) == 16 and len(sizes) <= 8


def test_more_texts_than_the_queue_holds(nlp):
    async def main():
        async with Batcher(nlp, max_queue=100) as batcher:
            with pytest.raises(Overloaded):
                await batcher.annotate(["a"] * 101)
            return await batcher.annotate(["a"] * 100)

    assert len(run_in_thread(main())) == 100


def test_texts_of_a_client_that_leaves_are_skipped(nlp):
    async def main():
        async with Batcher(nlp) as batcher:
            options = DecodingOptions(o_bias=1.0)
            task = asyncio.create_task(batcher.annotate(["a"] * 50, options))
            while not len(batcher):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await batcher.annotate(["b"]) == [[]]
            assert len(batcher) == 0

    run_in_thread(main())


def test_memory_does_not_grow(slow_nlp):
    sizes = []

    async def main():
        async with Batcher(slow_nlp) as batcher:
            for i in range(60):
                await batcher.annotate([f"word{i}x{j}" for j in range(64)])
                sizes.append(len(slow_nlp.vocab.strings))

    run_in_thread(main())
    assert sizes[0] < sizes[20] and sizes[40] == sizes[-1]


@pytest.fixture
def server(model):
    """Start `spacy welt serve` and return its process and address."""
    processes = []

    def start(*options):
        command = [sys.executable, "-m", "welt_spacy", "serve", str(model)]
        process = subprocess.Popen(
            [*command, "--port", "0", *options],
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
    codes = []

    def send_requests():
        texts = {"texts": TEXTS[:3] * 5}
        # Until the server refuses connections, or ends before it serves one
        with contextlib.suppress(httpx.TransportError):
            while True:
                response = httpx.post(f"{address}/annotate", json=texts, timeout=None)
                codes.append(response.status_code)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(send_requests)
        wait_until(lambda: len(codes) >= 30, "30 responses")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    output = process.stdout.read()
    match = re.search(r"([\d,]+) requests accepted, ([\d,]+) answered", output)
    assert match, output
    accepted, answered = (int(n.replace(",", "")) for n in match.groups())
    assert accepted == answered == len(codes) and set(codes) == {200}


def test_a_port_in_use(model, server):
    _, address = server()
    port = address.rsplit(":", 1)[1]
    result = run_command("serve", model, "--port", port)
    fails_with_one_line(result, "can't listen at")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["en_none_such"], "en_none_such"),
        (["MODEL", "--token", " "], "--token is empty"),
    ],
)
def test_errors_of_the_command(model, arguments, message):
    arguments = [model if word == "MODEL" else word for word in arguments]
    fails_with_one_line(run_command("serve", *arguments), message)


def test_the_schema(nlp):
    with Client(make_app(nlp)) as client:
        schema = client.get("/openapi.json").json()
        assert set(schema["paths"]) == {"/annotate", "/health"}
        codes = schema["paths"]["/annotate"]["post"]["responses"]
        assert {"200", "401", "413", "422", "503", "504"} <= set(codes)


def test_the_page_needs_no_network(nlp):
    with Client(make_app(nlp)) as client:
        page = client.get("/")
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
    page.wait_for_selector("#status:not(:empty)")
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
    # The sliders: no entity at the greatest bias; the button restores the settings
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
    page.wait_for_selector("#status:not(:empty)")
    ground = page.eval_on_selector("body", "e => getComputedStyle(e).backgroundColor")
    assert ground == "rgb(20, 24, 27)"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_the_page_asks_for_the_token(server, browser):
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
    page.wait_for_selector("#status:not(:empty)")
    assert not page.inner_text("#problem")
    page.close()
