"""Push packages to a model hub: a local server that speaks its protocol."""

import base64
import json
import re
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import spacy
import srsly

from welt_spacy.errors import WeltError
from welt_spacy.packaging.push import push, read_package

from ..factories import (
    ents,
    fails_with_one_line,
    make_examples,
    make_nlp,
    run_command,
    train,
)

hub = pytest.importorskip("huggingface_hub", reason="needs welt-spacy[hub]")
TEXT = "Aspirin and N-acetylcysteine were given."
NAME = "en_welt_x"
README = f"# {NAME}\n\npip install {NAME}-0.1.0-py3-none-any.whl\n"
META = {
    **{"name": "welt_x", "version": "0.1.0", "license": "MIT"},
    "performance": {"ents_p": 0.9, "ents_r": 0.8, "ents_f": 0.85},
    "evaluation": {"name": "BC5CDR", "type": "bc5cdr", "split": "test"},
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return a wheel in the layout of `spacy package`."""
    folder = tmp_path_factory.mktemp("push")
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    nlp.to_disk(folder / "model")
    srsly.write_json(folder / "model" / "meta.json", {**nlp.meta, **META})
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
    """A hub that stores the repositories, branches and commits that it receives."""

    def __init__(self, status=200):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.repos, self.branches, self.commits = [], [], {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def reply(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.reply({"siblings": [], "sha": "0" * 40, "id": "org/x"})

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        if server.status != 200:
            self.reply({"error": "no"}, server.status)
        elif self.path == "/api/repos/create":
            server.repos.append(json.loads(body))
            self.reply({"url": f"{server.url}/org/x"})
        elif "/branch/" in self.path:
            server.branches.append(self.path.rpartition("/")[2])
            self.reply({})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.reply({"files": files})
        elif "/commit/" in self.path:
            branch = self.path.rpartition("/")[2].partition("?")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    server.commits.setdefault(branch, {})[line["value"]["path"]] = (
                        content
                    )
            url = f"{server.url}/org/x/commit/{'0' * 40}"
            self.reply({"success": True, "commitUrl": url, "commitOid": "0" * 40})
        else:
            self.reply({})


@pytest.fixture
def server(monkeypatch):
    served = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def test_the_upload_can_be_loaded(wheel, server, tmp_path):
    url = push(wheel, "org/x", token="secret")
    assert url.startswith(f"{server.url}/org/x/commit/")
    for name, content in server.commits["main"].items():
        path = tmp_path / "snapshot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    nlp = spacy.load(tmp_path / "snapshot")
    assert ents(nlp(TEXT)) == [
        ("Aspirin", "Chemical"),
        ("N-acetylcysteine", "Chemical"),
    ]


def test_the_repository_is_created(wheel, server):
    push(wheel, "org/x", private=True, token="secret")
    (created,) = server.repos
    assert created["name"] == "x" and created["organization"] == "org"
    # The field depends on the version of huggingface_hub
    assert created.get("private") or created.get("visibility") == "private"


def test_the_upload_has_the_wheel(wheel, server):
    push(wheel, "org/x", token="secret")
    for version in ("0.1.0", "any"):
        name = f"{NAME}-{version}-py3-none-any.whl"
        assert server.commits["main"][name] == wheel.read_bytes()


def test_the_upload_has_a_card(wheel, server):
    push(wheel, "org/x", token="secret")
    content = server.commits["main"]["README.md"]
    card = hub.ModelCard(content.decode())
    assert card.data.pipeline_tag == "token-classification"
    assert card.data.eval_results[2].metric_value == 0.85
    address = f"{server.url}/org/x/resolve/main/{NAME}-0.1.0-py3-none-any.whl"
    assert f"pip install {address}" in card.text
    assert content.count(b"\n---\n") == 1


def test_a_branch_is_created(wheel, server):
    push(wheel, "org/x", revision="v0.1", token="secret")
    assert server.branches == ["v0.1"] and list(server.commits) == ["v0.1"]
    assert b"/resolve/v0.1/" in server.commits["v0.1"]["README.md"]


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_errors_of_the_hub_are_one_line(wheel, server, status):
    server.status = status
    with pytest.raises(WeltError, match="refused") as err:
        push(wheel, "org/x", token="secret")
    assert "\n" not in str(err.value)


def test_an_unreachable_hub_is_an_error(wheel, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeltError, match="refused"):
        push(wheel, "org/x", token="secret")


def run_dry(wheel, *options):
    return run_command("push", wheel, "--repo", "org/x", "--dry-run", *options)


def test_a_dry_run_writes_the_repository(wheel, tmp_path):
    output = tmp_path / "folder" / "hub"
    result = run_dry(wheel, "--output", output)
    assert result.exit_code == 0 and "nothing was uploaded" in result.stdout
    assert ents(spacy.load(output)(TEXT))
    card = hub.ModelCard((output / "README.md").read_text())
    assert card.data.model_name == NAME and README.strip() in card.text


def test_a_dry_run_writes_beside_the_wheel(wheel):
    assert run_dry(wheel).exit_code == 0
    assert wheel.with_name(f"{NAME}-0.1.0-py3-none-any-hub").is_dir()


def test_a_dry_run_replaces_nothing(wheel, tmp_path):
    (tmp_path / "hub").mkdir()
    fails_with_one_line(run_dry(wheel, "--output", tmp_path / "hub"), "exists already")
    assert not list((tmp_path / "hub").iterdir())


def test_metadata_of_the_readme_are_replaced(wheel, tmp_path):
    changed = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("README.md"):
                content = b"---\ntags:\n- old\n---\n# My own card\n"
            new.writestr(name, content)
    assert run_dry(changed, "-o", tmp_path / "x").exit_code == 0
    card = hub.ModelCard((tmp_path / "x" / "README.md").read_text())
    assert card.text.strip() == "# My own card" and "old" not in card.data.tags


def test_names_in_a_wheel_stay_in_the_folder(wheel, tmp_path):
    hostile = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(hostile, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr(f"{NAME}/{NAME}-0.1.0/../../../../out.txt", "x")
    assert run_dry(hostile, "--output", tmp_path / "deep/er/x").exit_code == 0
    (path,) = tmp_path.rglob("out.txt")
    assert path.parent == tmp_path / "deep/er/x"


@pytest.mark.parametrize("repo", ["", "x", "a/b/c", "../x", "a b/c", "-a/b"])
def test_invalid_names_of_repositories(wheel, repo):
    result = run_command("push", wheel, f"--repo={repo}", "--dry-run")
    fails_with_one_line(result, "Use ORG/NAME")


@pytest.mark.parametrize(
    "name, member, content",
    [
        ("empty.whl", None, ""),
        ("no_pipeline.whl", "x/__init__.py", ""),
        ("incomplete.whl", "x/x-1/meta.json", "{}"),
        ("no_json.whl", "x/x-1/meta.json", "{"),
        ("missing.whl", None, None),
    ],
)
def test_files_that_are_not_packages(tmp_path, name, member, content):
    if member is not None:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, content)
    elif content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(WeltError, match=re.escape(name)) as err:
        read_package(tmp_path / name)
    assert "\n" not in str(err.value)


def test_a_missing_huggingface_hub_is_one_line(wheel, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = run_command("push", wheel, "--repo", "org/x")
    fails_with_one_line(result, "welt-spacy[hub]")
