"""Runs kept at an address, for machines that share no file system."""

import shutil

import pytest

from welt_spacy.errors import WeltError
from welt_spacy.experiments.jobs import checksum, failures, is_whole, to_json
from welt_spacy.experiments.remote import Storage

from ..factories.experiments import VANILLA, invoke, make_corpora, write_grid

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def address():
    yield "memory://grid/one"
    fsspec.filesystem("memory").rm("/grid", recursive=True)


def put(output, name):
    """A whole run, with a pipeline."""
    folder = output / "runs" / name
    (folder / "model-best").mkdir(parents=True)
    (folder / "model-best/meta.json").write_text("{}")
    (folder / "test.json").write_text(name)
    results = {"test.json": checksum(folder / "test.json")}
    (folder / "run.json").write_text(to_json({"results": results}))
    return folder


def test_runs_go_there_and_come_back(tmp_path, address):
    here, there = tmp_path / "here", tmp_path / "there"
    for name in ("a-1", "b-2"):
        put(here, name)
    storage = Storage(address)
    storage.fetch_all(there)
    assert not there.exists()
    (here / "experiment.json").write_text("{}")
    storage.send_missing(["a-1", "b-2", "c-3"], here)
    Storage(address + "/").fetch_all(there)
    for name in ("a-1", "b-2"):
        assert is_whole(name, there)
        # Pipelines are kept where all can get them, and not fetched
        assert not (there / "runs" / name / "model-best").exists()
    files = fsspec.filesystem("memory").find("/grid/one/runs/a-1")
    assert [path.rpartition("runs/a-1/")[2] for path in files] == [
        *("model-best/meta.json", "run.json", "test.json")
    ]
    assert sorted(p.name for p in (there / "runs").iterdir()) == ["a-1", "b-2"]
    # What is damaged here is fetched again
    (there / "runs/a-1/test.json").write_text("x")
    storage.fetch_run("a-1", there)
    assert is_whole("a-1", there)


def test_what_was_sent_in_part_is_not_fetched(tmp_path, address):
    put(tmp_path / "here", "a-1")
    storage, memory = Storage(address), fsspec.filesystem("memory")
    storage.send_run("a-1", tmp_path / "here")
    memory.rm("/grid/one/runs/a-1/run.json")
    storage.fetch_all(tmp_path / "there")
    assert not list(tmp_path.glob("there/runs/*"))
    (tmp_path / "here/experiment.json").write_text("{}")
    storage.send_missing(["a-1"], tmp_path / "here")
    storage.fetch_all(tmp_path / "there")
    assert is_whole("a-1", tmp_path / "there")


def test_names_that_lead_elsewhere_are_not_followed(tmp_path, address):
    put(tmp_path / "here", "a-1")
    storage, memory = Storage(address), fsspec.filesystem("memory")
    storage.send_run("a-1", tmp_path / "here")
    memory.pipe_file("/grid/one/runs/a-1/../../../escaped", b"x")
    memory.pipe_file("/grid/one/runs/.hidden/run.json", b"{}")
    storage.fetch_all(tmp_path / "there/deep")
    assert sorted(p.name for p in tmp_path.glob("there/deep/runs/*")) == ["a-1"]
    assert not list(tmp_path.rglob("escaped*"))


def test_failures_until_they_are_made_good(tmp_path, address):
    here, there = tmp_path / "here", tmp_path / "there"
    storage = Storage(address)
    (here / "failed/a-1").mkdir(parents=True)
    (here / "failed/a-1/reason.txt").write_text("out of memory\n")
    storage.send_failure("a-1", here)
    storage.send_failure("none", here)
    storage.fetch_all(there)
    assert failures(there) == {"a-1": "out of memory"}
    put(here, "a-1")
    storage.send_run("a-1", here)
    storage.fetch_all(there)
    assert failures(there) == {}
    again = tmp_path / "again"
    storage.fetch_all(again)
    assert failures(again) == {} and is_whole("a-1", again)


def test_corpora_by_their_content(tmp_path, address):
    storage = Storage(address)
    make_corpora(tmp_path / "corpora")
    splits = ["train", "dev", "test"]
    storage.send_corpus("ncbi_disease", splits, tmp_path / "corpora")
    folder = tmp_path / "corpora/ncbi_disease"
    data = {split: checksum(folder / f"{split}.spacy") for split in splits}
    for _ in range(2):
        storage.fetch_corpus("ncbi_disease", data, tmp_path / "node")
        for split in splits:
            found = (tmp_path / f"node/ncbi_disease/{split}.spacy").read_bytes()
            assert found == (folder / f"{split}.spacy").read_bytes()
    # A part that a killed sender has left, and what nobody has sent
    memory = fsspec.filesystem("memory")
    (place, *_) = memory.find("/grid/one/corpora")
    memory.pipe_file(place, b"x")
    shutil.rmtree(tmp_path / "node")
    with pytest.raises(WeltError, match="is not the file that was sent"):
        storage.fetch_corpus("ncbi_disease", data, tmp_path / "node")
    assert not list((tmp_path / "node/ncbi_disease").glob(".*"))
    storage.send_corpus("ncbi_disease", splits, tmp_path / "corpora")
    storage.fetch_corpus("ncbi_disease", data, tmp_path / "node")
    with pytest.raises(WeltError, match="memory://grid/one"):
        storage.fetch_corpus("linnaeus", {"train": "0" * 64}, tmp_path / "node")


def test_two_machines_train_each_run_once(tmp_path, address):
    corpora = make_corpora(tmp_path / "corpora")
    path = write_grid(
        tmp_path,
        schemes={"vanilla": VANILLA, "other": VANILLA},
        tuned=None,
        keep_models=False,
    )
    one, two = tmp_path / "one", tmp_path / "two"
    to = ("--storage", address)
    first = invoke("run", path, corpora, one, *to, "--shard", "1/2")
    assert first.exit_code == 0, first.output
    rest = invoke("run", path, corpora, two, *to)
    assert rest.exit_code == 0, rest.output
    assert "2 runs, 1 of them done before" in rest.stderr
    for output in (one, tmp_path / "elsewhere"):
        told = invoke("status", path, None, output, *to).stdout
        assert "2 of 2 runs are done, 0 running, 0 failed" in told
    results = [invoke("results", path, None, output).stdout for output in (one, two)]
    assert results[0] == results[1] and "| other |" in results[0]


def test_addresses_that_are_wrong(tmp_path):
    for wrong in ("nosuch://x/y", "http://127.0.0.1:9/x"):
        told = invoke(
            "status", write_grid(tmp_path), None, tmp_path / "out", "--storage", wrong
        )
        assert told.exit_code == 1 and "Traceback" not in told.output
        assert wrong in told.stderr
