"""Pushing to a model hub: against a server of our own that speaks its protocol."""

import base64
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import spacy
import srsly

from welt_spacy.errors import WeltError
from welt_spacy.packaging.push import push, read_package

from ..factories import ents, make_examples, make_nlp, run_command, train
from .test_model_card import SCORED

hub = pytest.importorskip("huggingface_hub", reason="needs welt-spacy[hub]")
TEXT = "Aspirin and N-acetylcysteine were given."
NAME = "en_welt_x"
README = f"# {NAME}\n\npip install {NAME}-0.1.0-py3-none-any.whl\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """As `spacy package` lays it out."""
    folder = tmp_path_factory.mktemp("push")
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    nlp.to_disk(folder / "model")
    meta = {**nlp.meta, **SCORED, "name": "welt_x", "version": "0.1.0"}
    srsly.write_json(folder / "model" / "meta.json", meta)
    (folder / "model" / "README.md").write_text(README)
    path = folder / f"{NAME}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{NAME}/__init__.py", "")
        for file in sorted((folder / "model").rglob("*")):
            inside = file.relative_to(folder / "model")
            if file.is_file():
                archive.write(file, f"{NAME}/{NAME}-0.1.0/{inside.as_posix()}")
        archive.writestr(f"{NAME}-0.1.0.dist-info/METADATA", f"Name: {NAME}\n")
    return path


class Hub(ThreadingHTTPServer):
    """Takes repositories, branches and commits, and keeps what it is given."""

    def __init__(self, status=200):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.repos, self.branches, self.commits = [], [], {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, found, status=200):
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.answer({"siblings": [], "sha": "0" * 40, "id": "org/x"})

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        if server.status != 200:
            self.answer({"error": "no"}, server.status)
        elif self.path == "/api/repos/create":
            server.repos.append(json.loads(body))
            self.answer({"url": f"{server.url}/org/x"})
        elif "/branch/" in self.path:
            server.branches.append(self.path.rpartition("/")[2])
            self.answer({})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        elif "/commit/" in self.path:
            branch = self.path.rpartition("/")[2].partition("?")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    server.commits.setdefault(branch, {})[line["value"]["path"]] = (
                        content
                    )
            url = f"{server.url}/org/x/commit/{'0' * 40}"
            self.answer({"success": True, "commitUrl": url, "commitOid": "0" * 40})
        else:
            self.answer({})


@pytest.fixture
def server(monkeypatch):
    served = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def test_what_is_uploaded_is_a_pipeline_with_a_card(wheel, server, tmp_path):
    url = push(wheel, "org/x", private=True, token="secret")
    assert url.startswith(f"{server.url}/org/x/commit/")
    (created,) = server.repos
    assert created["name"] == "x" and created["organization"] == "org"
    # The one or the other, by the version of huggingface_hub
    assert created.get("private") or created.get("visibility") == "private"
    files = server.commits["main"]
    for name, content in files.items():
        path = tmp_path / "snapshot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    nlp = spacy.load(tmp_path / "snapshot")
    assert ents(nlp(TEXT)) == [
        ("Aspirin", "Chemical"),
        ("N-acetylcysteine", "Chemical"),
    ]
    for version in ("0.1.0", "any"):
        assert files[f"{NAME}-{version}-py3-none-any.whl"] == wheel.read_bytes()
    card = hub.ModelCard(files["README.md"].decode())
    assert card.data.pipeline_tag == "token-classification"
    assert card.data.eval_results[2].metric_value == 0.85
    address = f"{server.url}/org/x/resolve/main/{NAME}-0.1.0-py3-none-any.whl"
    assert f"pip install {address}" in card.text
    assert files["README.md"].count(b"\n---\n") == 1


def test_a_branch(wheel, server):
    push(wheel, "org/x", revision="v0.1", token="secret")
    assert server.branches == ["v0.1"] and list(server.commits) == ["v0.1"]
    assert b"/resolve/v0.1/" in server.commits["v0.1"]["README.md"]


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_hub_that_refuses(wheel, server, status):
    server.status = status
    with pytest.raises(WeltError, match="refused") as err:
        push(wheel, "org/x", token="secret")
    assert "\n" not in str(err.value)


def test_no_hub_at_all(wheel, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeltError, match="refused"):
        push(wheel, "org/x", token="secret")


def test_dry_run(wheel, tmp_path):
    output = tmp_path / "folder" / "hub"
    asked = (wheel, "--repo", "org/x", "--dry-run", "--output", output)
    result = run_command("push", *asked)
    assert result.exit_code == 0 and "nothing was uploaded" in result.stdout
    assert ents(spacy.load(output)(TEXT))
    card = hub.ModelCard((output / "README.md").read_text())
    assert card.data.model_name == NAME and README.strip() in card.text
    again = run_command("push", *asked)
    assert again.exit_code == 1 and "is there already" in again.stderr
    result = run_command("push", wheel, "--repo", "org/x", "--dry-run")
    assert result.exit_code == 0
    assert wheel.with_name(f"{NAME}-0.1.0-py3-none-any-hub").is_dir()


def test_a_card_that_has_metadata_already(wheel, tmp_path):
    """One block, ours, whatever the README of the package begins with."""
    other = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("README.md"):
                content = b"---\ntags:\n- old\n---\n# My own card\n"
            new.writestr(name, content)
    assert (
        run_command(
            "push", other, "--repo", "a/b", "--dry-run", "-o", tmp_path / "x"
        ).exit_code
        == 0
    )
    card = hub.ModelCard((tmp_path / "x" / "README.md").read_text())
    assert card.text.strip() == "# My own card" and "old" not in card.data.tags


def test_names_in_a_wheel_stay_in_the_folder(wheel, tmp_path):
    hostile = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(hostile, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr(f"{NAME}/{NAME}-0.1.0/../../../../out.txt", "x")
    run_command(
        "push",
        hostile,
        "--repo",
        "a/b",
        "--dry-run",
        "--output",
        tmp_path / "deep/er/x",
    )
    assert not list(tmp_path.glob("out.txt")) and not list(
        tmp_path.glob("deep/out.txt")
    )


@pytest.mark.parametrize("repo", ["", "x", "a/b/c", "../x", "a b/c", "-a/b"])
def test_names_of_repositories(wheel, repo):
    result = run_command("push", wheel, f"--repo={repo}", "--dry-run")
    assert result.exit_code == 1 and "use ORG/NAME" in result.stderr


def test_files_that_are_not_packages(tmp_path):
    (tmp_path / "a.whl").write_text("text")
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as archive:
        archive.writestr("x/__init__.py", "")
    with zipfile.ZipFile(tmp_path / "c.whl", "w") as archive:
        archive.writestr("x/x-1/meta.json", "{}")
    with zipfile.ZipFile(tmp_path / "d.whl", "w") as archive:
        archive.writestr("x/x-1/meta.json", "{")
    for name in ("a.whl", "b.whl", "c.whl", "d.whl", "none.whl"):
        with pytest.raises(WeltError, match=re.escape(name)) as err:
            read_package(tmp_path / name)
        assert "\n" not in str(err.value)


def test_without_huggingface_hub(wheel, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    result = run_command("push", wheel, "--repo", "org/x")
    assert result.exit_code == 1 and "welt-spacy[hub]" in result.stderr
