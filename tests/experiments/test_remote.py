"""Runs kept at an address, for machines that share no file system."""

import shutil

import pytest

from welt_spacy.errors import WeltError
from welt_spacy.experiments.driver import get_status
from welt_spacy.experiments.remote import Storage
from welt_spacy.experiments.workspace import Workspace
from welt_spacy.util.fingerprint import Fingerprint, checksum

from ..factories.experiments import (
    VANILLA,
    make_corpora,
    run_experiment_command,
    write_grid,
)

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    return fsspec.filesystem("memory")


@pytest.fixture
def address(memory):
    yield "memory://grid/one"
    if memory.exists("/grid"):
        memory.rm("/grid", recursive=True)


@pytest.fixture
def here(tmp_path):
    return Workspace(tmp_path / "here", tmp_path / "corpora")


@pytest.fixture
def there(tmp_path):
    return Workspace(tmp_path / "there", tmp_path / "corpora")


def put(workspace, name):
    """Write a finished run with a pipeline."""
    folder = workspace.get_run(name)
    (folder.path / "model-best").mkdir(parents=True)
    (folder.path / "model-best/meta.json").write_text("{}")
    with folder.open() as output:
        output.start(Fingerprint({"name": name}, {}, {}))
        output.add("test.json", name)
        output.finish()
    return folder


def is_whole(workspace, name):
    return workspace.get_run(name).open().is_intact()


@pytest.fixture
def two_runs(here, address):
    """Return a storage to which two runs were sent."""
    for name in ("a-1", "b-2"):
        put(here, name)
    here.write_plan(["a-1", "b-2", "c-3"])
    storage = Storage(address)
    storage.send_missing(["a-1", "b-2", "c-3"], here.output)
    return storage


def test_an_empty_storage(there, address):
    Storage(address).fetch_all(there.output)
    assert not there.output.exists()


def test_runs_are_fetched_without_their_pipelines(two_runs, there, address, memory):
    Storage(address + "/").fetch_all(there.output)
    for name in ("a-1", "b-2"):
        assert is_whole(there, name)
        assert not (there.get_run(name).path / "model-best").exists()
    files = memory.find("/grid/one/runs/a-1")
    assert [path.rpartition("runs/a-1/")[2] for path in files] == [
        *("model-best/meta.json", "run.json", "test.json")
    ]
    assert sorted(p.name for p in there.output.glob("runs/*")) == ["a-1", "b-2"]
    assert there.read_plan()[0] == ["a-1", "b-2", "c-3"]


def test_a_damaged_run_is_fetched_again(two_runs, there):
    two_runs.fetch_all(there.output)
    (there.get_run("a-1").path / "test.json").write_text("x")
    two_runs.fetch_run(there.get_run("a-1"))
    assert is_whole(there, "a-1")


def test_a_run_that_was_sent_in_part_is_not_fetched(two_runs, here, there, memory):
    memory.rm("/grid/one/runs/a-1/run.json")
    two_runs.fetch_all(there.output)
    assert not is_whole(there, "a-1") and is_whole(there, "b-2")
    two_runs.send_missing(["a-1"], here.output)
    two_runs.fetch_all(there.output)
    assert is_whole(there, "a-1")


def test_names_that_lead_elsewhere_are_not_followed(two_runs, there, memory, tmp_path):
    memory.pipe_file("/grid/one/runs/a-1/../../../escaped", b"x")
    memory.pipe_file("/grid/one/runs/.hidden/run.json", b"{}")
    two_runs.fetch_all(there.output)
    assert sorted(p.name for p in there.output.glob("runs/*")) == ["a-1", "b-2"]
    assert not list(tmp_path.rglob("escaped*"))


def test_a_failure_is_sent_until_the_run_is_done(here, there, address):
    storage, folder = Storage(address), here.get_run("a-1")
    folder.write_error("out of memory")
    (folder.path / "train.log").write_text("Killed")
    here.write_plan(["a-1"])
    storage.send_missing([], here.output)
    storage.send_failure(folder)
    storage.send_failure(here.get_run("none"))
    storage.fetch_all(there.output)
    assert get_status(there).failed == {"a-1": "out of memory"}
    assert (there.get_run("a-1").path / "train.log").read_text() == "Killed"
    shutil.rmtree(folder.path)
    storage.send_run(put(here, "a-1"))
    storage.fetch_all(there.output)
    status = get_status(there)
    assert status.failed == {} and status.done == 1


SPLITS = ("train", "dev", "test")


@pytest.fixture
def corpus(here, address):
    """Send a corpus and return its checksums."""
    make_corpora(here.corpora)
    Storage(address).send_corpus("ncbi_disease", SPLITS, here.corpora)
    return {split: checksum(here.get_split("ncbi_disease", split)) for split in SPLITS}


@pytest.fixture
def node(tmp_path):
    return Workspace(tmp_path / "node", tmp_path / "node/corpora")


def test_a_corpus_is_fetched_by_its_content(here, node, corpus, address):
    for _ in range(2):
        Storage(address).fetch_corpus("ncbi_disease", corpus, node.corpora)
        for split in SPLITS:
            expected = here.get_split("ncbi_disease", split).read_bytes()
            assert node.get_split("ncbi_disease", split).read_bytes() == expected


def test_a_corpus_that_was_sent_in_part(here, node, corpus, address, memory):
    (place, *_) = memory.find("/grid/one/corpora")
    memory.pipe_file(place, b"x")
    storage = Storage(address)
    with pytest.raises(WeltError, match="is not the file that was sent"):
        storage.fetch_corpus("ncbi_disease", corpus, node.corpora)
    assert not list((node.corpora / "ncbi_disease").glob(".*"))
    storage.send_corpus("ncbi_disease", SPLITS, here.corpora)
    storage.fetch_corpus("ncbi_disease", corpus, node.corpora)


def test_a_corpus_that_was_not_sent(node, corpus, address):
    with pytest.raises(WeltError, match="memory://grid/one"):
        Storage(address).fetch_corpus("linnaeus", {"train": "0" * 64}, node.corpora)


def test_two_machines_train_each_run_once(tmp_path):
    # Workers are processes of their own, so not in memory
    address = f"file://{tmp_path}/store"
    corpora = make_corpora(tmp_path / "corpora")
    path = write_grid(
        tmp_path,
        schemes={"vanilla": VANILLA, "other": VANILLA},
        tuned=None,
        keep_models=False,
    )
    one, two = (Workspace(tmp_path / name, corpora) for name in ("one", "two"))
    to = ("--storage", address)
    first = run_experiment_command("run", path, one, *to, "--shard", "1/2")
    assert first.exit_code == 0, first.output
    rest = run_experiment_command("run", path, two, *to)
    assert rest.exit_code == 0, rest.output
    assert "2 runs, 1 of them done before" in rest.stderr
    elsewhere = Workspace(tmp_path / "elsewhere", tmp_path / "none")
    for workspace in (one, elsewhere):
        text = run_experiment_command("status", path, workspace, *to).stdout
        assert "2 of 2 runs are done, 0 running, 0 failed" in text
    results = [
        run_experiment_command("results", path, workspace).stdout
        for workspace in (one, two, elsewhere)
    ]
    assert results[0] == results[1] == results[2] and "| other |" in results[0]


@pytest.mark.parametrize("wrong", ["nosuch://x/y", "http://127.0.0.1:9/x"])
def test_addresses_that_are_wrong(tmp_path, wrong):
    workspace = Workspace(tmp_path / "out", tmp_path)
    options = ("--storage", wrong)
    result = run_experiment_command("status", write_grid(tmp_path), workspace, *options)
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert wrong in result.stderr
