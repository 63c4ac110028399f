"""Fetching without a network: from folders, a local server, or nowhere."""

import functools
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace

import pytest

from welt_spacy.corpora.catalog import Corpus, CorpusFile, get_corpus
from welt_spacy.corpora.fetch import default_cache, fetch
from welt_spacy.errors import WeltError

from ..factories import wait_until

CONTENT = b"Aspirin\tB-Chemical\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = "http://127.0.0.1:9"  # nothing listens at port 9


class OneFile(Corpus):
    """A corpus with one file."""

    file = CorpusFile("x/train.tsv", f"{NOWHERE}/train.tsv", None, SHA256)

    @property
    def files(self):
        return {"train": self.file}


def make_corpus(**changes):
    corpus = OneFile("x", "X", "iob", {"Chemical": "Chemical"}, "x", "", "")
    object.__setattr__(corpus, "file", replace(corpus.file, **changes))
    return corpus


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """Serve a folder, and yield it with its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def put(folder, content=CONTENT, path="x/train.tsv"):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)


def everything_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_order_is_mirror_cache_publisher(server, tmp_path, no_sources):
    folder, address = server
    put(folder, path="train.tsv")
    corpus = make_corpus(url=f"{address}/train.tsv")
    # from the publisher
    (path,) = fetch(corpus).values()
    assert path == no_sources / "x" / "train.tsv"
    assert path.read_bytes() == CONTENT
    assert everything_in(no_sources) == ["x/train.tsv"]
    # from the cache: the publisher has nothing any more
    (folder / "train.tsv").unlink()
    before = path.stat().st_mtime_ns
    fetch(corpus)
    assert path.stat().st_mtime_ns == before
    # from the mirror, a folder, into an empty cache
    put(tmp_path / "mirror")
    other = tmp_path / "other"
    fetch(corpus, mirror=str(tmp_path / "mirror"), cache=other)
    assert everything_in(other) == ["x/train.tsv"]


def test_mirror_may_be_an_address(server, no_sources, monkeypatch):
    folder, address = server
    put(folder)
    monkeypatch.setenv("WELT_CORPORA_MIRROR", f"{address}/")
    assert fetch(make_corpus())["train"].read_bytes() == CONTENT


def test_sources_without_the_file_are_skipped(server, tmp_path, no_sources):
    folder, address = server
    put(folder, path="train.tsv")
    corpus = make_corpus(url=f"{address}/train.tsv")
    for mirror in (str(tmp_path / "empty"), NOWHERE):
        fetch(corpus, mirror=mirror, cache=tmp_path / mirror[-1])
    with pytest.raises(WeltError, match="Tried"):
        fetch(corpus, offline=True)


def test_the_error_names_the_variable_and_all_sources(no_sources):
    with pytest.raises(WeltError) as caught:
        fetch(make_corpus())
    message = str(caught.value)
    assert "\n" not in message
    for part in ("WELT_CORPORA_MIRROR", "x/train.tsv", "cache", NOWHERE):
        assert part in message
    assert not no_sources.exists() or everything_in(no_sources) == []


@pytest.mark.parametrize("source", ["folder", "mirror", "publisher"])
def test_other_content_is_refused_and_not_stored(server, tmp_path, no_sources, source):
    folder, address = server
    put(folder, b"something else")
    put(folder, b"something else", "train.tsv")
    mirror = {"folder": str(folder), "mirror": address, "publisher": None}[source]
    with pytest.raises(WeltError, match=f"SHA-256 is not {SHA256}"):
        fetch(make_corpus(url=f"{address}/train.tsv"), mirror=mirror)
    assert not no_sources.exists() or everything_in(no_sources) == []


def test_damaged_cache_is_refused_or_fetched_again(server, tmp_path, no_sources):
    folder, address = server
    put(no_sources, CONTENT[:100])
    with pytest.raises(WeltError, match="wrong checksum"):
        fetch(make_corpus())
    put(folder)
    fetch(make_corpus(), mirror=address)
    assert (no_sources / "x/train.tsv").read_bytes() == CONTENT


def test_trust_on_first_use(server, no_sources):
    folder, address = server
    put(folder)
    corpus = make_corpus(sha256=None)
    fetch(corpus, mirror=address)
    record = json.loads((no_sources / "trusted.json").read_text())
    assert record == {"x/train.tsv": SHA256}
    # another content under the same name is refused from now on
    put(folder, b"something else")
    (no_sources / "x/train.tsv").unlink()
    with pytest.raises(WeltError, match=SHA256):
        fetch(corpus, mirror=address)
    (no_sources / "trusted.json").write_text("{")
    with pytest.raises(WeltError, match=r"trusted\.json:1: not JSON"):
        fetch(corpus, mirror=address)


def test_files_inside_of_an_archive(server, no_sources):
    folder, address = server
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.writestr("X/train.tsv", CONTENT)
    corpus = make_corpus(url=f"{address}/x.zip", member="X/train.tsv")
    assert fetch(corpus)["train"].read_bytes() == CONTENT
    (folder / "x.zip").write_bytes(b"<html>moved</html>")
    with pytest.raises(WeltError, match="not the archive"):
        fetch(corpus, cache=no_sources / "other")
    assert everything_in(no_sources / "other") == []


def test_cache_that_can_not_be_written(server, tmp_path):
    folder, address = server
    put(folder)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeltError, match="can't read this file"):
        fetch(make_corpus(), mirror=address, cache=tmp_path / "file")
    put(tmp_path / "cache", path="x")  # a file where a folder has to be
    for mirror in (str(folder), address):
        with pytest.raises(WeltError, match="can't write"):
            fetch(make_corpus(), mirror=mirror, cache=tmp_path / "cache")


def test_real_corpora_from_the_mirror(mirror, tmp_path):
    paths = fetch(get_corpus("biored_disease"), mirror=str(mirror), cache=tmp_path)
    assert everything_in(tmp_path) == [
        "biored/Dev.PubTator",
        "biored/Test.PubTator",
        "biored/Train.PubTator",
    ]
    assert paths["dev"].name == "Dev.PubTator"


def test_cache_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("WELT_CORPORA_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("WELT_CORPORA_CACHE")
    assert "welt-spacy" in str(default_cache())


class Slow(Handler):
    ended = threading.Event()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        self.wfile.flush()
        self.ended.wait()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_download_leaves_no_file(server, tmp_path):
    folder, good = server
    put(folder)
    cache = tmp_path / "cache"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as httpd:
        httpd.daemon_threads = True
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        code = (
            "from tests.corpora.test_fetch import make_corpus, fetch; import sys;"
            "fetch(make_corpus(), mirror=sys.argv[1], cache=sys.argv[2])"
        )
        address = f"http://127.0.0.1:{httpd.server_address[1]}"
        process = subprocess.Popen([sys.executable, "-c", code, address, str(cache)])
        wait_until(lambda: cache.exists() and everything_in(cache), "a download")
        process.send_signal(signal.SIGKILL)
        process.wait()
        Slow.ended.set()
        httpd.shutdown()
    assert not (cache / "x/train.tsv").exists()
    fetch(make_corpus(), mirror=good, cache=cache)
    assert (cache / "x/train.tsv").read_bytes() == CONTENT
