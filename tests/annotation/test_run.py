"""Annotated files: every document once and the same bytes, whatever is killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from welt_spacy.annotation.plan import Settings
from welt_spacy.annotation.run import Resources, annotate_files
from welt_spacy.annotation.shards import list_done
from welt_spacy.errors import WeltError

from ..factories import run_python, wait_until
from ..factories.annotation import (
    annotate_serially,
    make_job,
    make_pipeline,
    make_texts,
    read_data,
    read_output,
    read_rejects,
    write_jsonl,
)

N, SIZE = 600, 20
SETTINGS = Settings(shard_docs=SIZE, max_chars=1000)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("model") / "rules")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    texts = make_texts(N)
    texts[77] = "x" * 2000
    return write_jsonl(tmp_path_factory.mktemp("input") / "in.jsonl.gz", texts)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, pipeline, source):
    """Annotate the source in this process."""
    output = tmp_path_factory.mktemp("output") / "out"
    job = make_job(output, pipeline, shard_docs=SIZE, max_chars=1000)
    annotate_serially(job, [source])
    return output


@pytest.fixture
def annotate(pipeline, source):
    """Annotate the source into a folder by workers."""

    def run(output, workers=1, **options):
        return annotate_files(
            [pipeline],
            [str(source)],
            output,
            SETTINGS,
            resources=Resources(workers=workers),
            **options,
        )

    return run


def list_workers(pid: int) -> list[int]:
    """Return the ids of the worker processes of a driver."""
    pattern = "welt_spacy.annotation.worker"
    done = subprocess.run(
        ["pgrep", "-P", str(pid), "-f", pattern], capture_output=True, text=True
    )
    return sorted(map(int, done.stdout.split()))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_documents_and_offsets(undisturbed):
    rows = read_output(undisturbed)
    assert [row["id"] for row in rows] == [str(i) for i in range(N) if i != 77]
    texts = make_texts(N)
    entities = [(texts[int(r["id"])], ent) for r in rows for ent in r["entities"]]
    assert len(entities) > N
    for text, ent in entities:
        assert text[ent["start"] : ent["end"]] == ent["text"]
        assert ent["pipeline"] == "en_rules-0.0.0" and ent["confidence"] is None


def test_rejects_and_summary(undisturbed):
    (reject,) = read_rejects(undisturbed)
    assert (reject["id"], reject["reason"]) == ("77", "too long")
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert (summary["docs"], summary["rejects"]) == (N - 1, 1)
    n_entities = sum(len(row["entities"]) for row in read_output(undisturbed))
    assert summary["entities"] == n_entities == sum(summary["labels"].values())
    lines = (undisturbed / "manifest.jsonl").read_text().splitlines()
    assert len(lines) == N / SIZE
    assert sum(json.loads(line)["docs"] for line in lines) == N - 1


def test_two_workers_write_the_same_bytes(tmp_path, annotate, undisturbed):
    states = []
    summary = annotate(
        tmp_path / "out",
        workers=2,
        report=True,
        on_update=lambda status: states.append(status.progress),
    )
    assert summary.reasons == {"too long": 1}
    assert read_data(tmp_path / "out") == read_data(undisturbed)
    assert "too long" in (tmp_path / "out" / "report.html").read_text()
    assert states[0].n_docs == 0 and states[-1].n_docs == N


def test_a_finished_run_writes_nothing(tmp_path, annotate, undisturbed):
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    times = {path: path.stat().st_mtime_ns for path in (output / "data").iterdir()}
    assert annotate(output, workers=2).docs == N - 1
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_workers_killed_at_random_moments(tmp_path, annotate, undisturbed):
    rng = random.Random(0)
    victims = []

    def kill_worker(status):
        workers = list_workers(os.getpid())
        if workers and len(victims) < 3 and rng.random() < 0.3:
            victims.append(rng.choice(workers))
            os.kill(victims[-1], signal.SIGKILL)

    annotate(tmp_path / "out", workers=2, on_update=kill_worker)
    assert len(victims) == 3
    assert read_data(tmp_path / "out") == read_data(undisturbed)


def kill_driver(command, output, n_done: int) -> None:
    """Start a driver and kill it when so many shards are done."""
    driver = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: driver.poll() or len(list_done(output)) >= n_done)
    workers = list_workers(driver.pid)
    driver.kill()
    driver.wait()
    for pid in workers:  # they end with their driver
        wait_until(lambda pid=pid: not is_alive(pid))


def test_drivers_killed_at_random_moments(
    tmp_path, pipeline, source, annotate, undisturbed
):
    rng = random.Random(0)
    output = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "welt_spacy", "annotate", str(pipeline), str(source)),
        *(str(output), "--shard-docs", str(SIZE), "--max-chars", "1000"),
        *("--workers", "2"),
    ]
    for _ in range(2):
        kill_driver(command, output, len(list_done(output)) + rng.randint(1, 8))
    annotate(output)
    assert read_data(output) == read_data(undisturbed)


def test_two_drivers_with_a_shard_each(tmp_path, annotate, undisturbed):
    output = tmp_path / "out"
    summaries = []

    def run(shard):
        summaries.append(annotate(output, shard=shard))

    threads = [threading.Thread(target=run, args=(s,)) for s in ("1/2", "2/2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(summaries) == 2 and min(s.missing for s in summaries) == 0
    assert read_data(output) == read_data(undisturbed)
    assert (output / "summary.json").is_file()


def test_a_full_disk(tmp_path, annotate, undisturbed):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)],
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("can't mount a small file system")
    try:
        output = small / "out"
        with pytest.raises(WeltError, match="No space left on device"):
            annotate(output)
        assert 0 < len(list_done(output)) < N / SIZE
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        annotate(output)
        assert read_data(output) == read_data(undisturbed)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_max_errors(tmp_path, pipeline):
    texts = ["x" * 100 if i % 10 == 0 else "fine" for i in range(200)]
    path = write_jsonl(tmp_path / "a.jsonl", texts)
    settings = Settings(shard_docs=10, max_chars=50)
    arguments = [pipeline], [str(path)], tmp_path / "out", settings
    with pytest.raises(WeltError, match="more than --max-errors 5"):
        annotate_files(*arguments, max_errors=5)
    assert 0 < len(list_done(tmp_path / "out")) < 20
    assert annotate_files(*arguments, max_errors=20).rejects == 20


def test_an_error_of_a_worker_is_one_line(tmp_path, source):
    path = make_pipeline(tmp_path / "broken")
    config = (path / "config.cfg").read_text()
    (path / "config.cfg").write_text(config.replace("entity_ruler", "no_such_pipe"))
    with pytest.raises(WeltError, match="can't load this pipeline") as error:
        annotate_files([path], [str(source)], tmp_path / "out")
    assert "\n" not in str(error.value)


def test_pipelines_with_one_name_are_refused(tmp_path, pipeline, source):
    with pytest.raises(WeltError, match="could not be distinguished"):
        annotate_files([pipeline, pipeline], [str(source)], tmp_path / "out")


def test_several_pipelines_share_a_reading(tmp_path, pipeline):
    patterns = [
        {"label": "Gene", "pattern": "rats"},
        {"label": "X", "pattern": "aspirin"},
    ]
    genes = make_pipeline(tmp_path / "genes", "genes", patterns)
    path = write_jsonl(tmp_path / "a.jsonl", ["aspirin for rats", "none"])
    annotate_serially(make_job(tmp_path / "out", pipeline, genes), [path])
    first, second = read_output(tmp_path / "out")
    assert [(e["text"], e["label"], e["pipeline"]) for e in first["entities"]] == [
        ("aspirin", "Chemical", "en_rules-0.0.0"),
        ("aspirin", "X", "en_genes-0.0.0"),
        ("rats", "Gene", "en_genes-0.0.0"),
    ]
    assert second["entities"] == []


CODE = """
import sys
from pathlib import Path
from tests.factories.annotation import annotate_serially, make_job

pipeline, source, folder, *formats = sys.argv[1:]
for format_ in formats:
    output = Path(folder, format_)
    job = make_job(output, pipeline, format=format_, shard_docs=10)
    annotate_serially(job, [source])
"""


def test_all_formats_have_the_same_bytes_in_another_process(tmp_path, pipeline, root):
    formats = ["jsonl.gz", "parquet", "pubtator", "bioc", "brat", "spacy"]
    path = write_jsonl(tmp_path / "a.jsonl", make_texts(30))
    arguments = [pipeline, path, tmp_path / "other", *formats]
    run_python("-c", CODE, *arguments, cwd=root, PYTHONHASHSEED="1")
    for format_ in formats:
        output = tmp_path / "here" / format_
        job = make_job(output, pipeline, format=format_, shard_docs=10)
        annotate_serially(job, [path])
        assert read_data(output) == read_data(tmp_path / "other" / format_) != {}
