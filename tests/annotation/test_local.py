"""Exactly once, whatever is killed: runs of `spacy welt annotate` as processes."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import spacy
from spacy.language import Language

from welt_spacy.annotation.annotator import Pipeline, Pipelines
from welt_spacy.annotation.local import prepared, run_local
from welt_spacy.annotation.plan import make_plan, write_plan
from welt_spacy.annotation.shards import annotate_shard, done, is_whole, read_record
from welt_spacy.annotation.status import Watch, finish
from welt_spacy.errors import WeltError
from welt_spacy.formats.documents import Reject
from welt_spacy.parallel.claims import Claims
from welt_spacy.util.files import Busy

from ..factories.annotation import (
    data_of,
    make_pipeline,
    make_settings,
    read_output,
    read_rejects,
    some_texts,
    write_jsonl,
)

N, SIZE = 600, 20


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("model") / "rules")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    texts = some_texts(N)
    texts[77] = "x" * 2000
    return write_jsonl(tmp_path_factory.mktemp("input") / "in.jsonl.gz", texts)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, pipeline, source):
    """The output of a run in this process."""
    folder = tmp_path_factory.mktemp("output") / "out"
    settings = make_settings(pipeline, shard_docs=SIZE, max_chars=1000)
    with prepared(folder, [str(source)], settings) as plan:
        pipelines = Pipelines([Pipeline("en_rules-0.0.0", spacy.load(pipeline))])
        for shard in plan.shards:
            annotate_shard(plan, shard, pipelines, folder)
        finish(folder, plan)
    return folder


def command(pipeline, source, output, *options):
    return [
        *(sys.executable, "-m", "welt_spacy", "annotate", str(pipeline), str(source)),
        *(str(output), "--shard-docs", str(SIZE), "--max-chars", "1000", *options),
    ]


def run(*arguments):
    found = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert "Traceback" not in found.stderr
    return found


def start(*arguments):
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def workers_of(output):
    """The processes that are at a shard."""
    return {told["pid"] for told in Claims(output / "claims").told().values()}


def test_output(undisturbed):
    rows = read_output(undisturbed)
    assert [row["id"] for row in rows] == [str(i) for i in range(N) if i != 77]
    texts = some_texts(N)
    n = 0
    for row in rows:
        for ent in row["entities"]:
            text = texts[int(row["id"])]
            assert text[ent["start"] : ent["end"]] == ent["text"]
            assert ent["pipeline"] == "en_rules-0.0.0" and ent["confidence"] is None
            n += 1
    assert n > N
    (reject,) = read_rejects(undisturbed)
    assert (reject["id"], reject["reason"]) == ("77", "too long")
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert (summary["docs"], summary["rejects"], summary["entities"]) == (N - 1, 1, n)
    lines = (undisturbed / "manifest.jsonl").read_text().splitlines()
    assert len(lines) == N / SIZE
    assert sum(json.loads(line)["docs"] for line in lines) == N - 1


def test_two_workers_give_the_same_bytes(tmp_path, pipeline, source, undisturbed):
    found = run(pipeline, source, tmp_path / "out", "--workers", "2", "--report")
    assert found.returncode == 3 and "1 x too long" in found.stdout
    assert data_of(tmp_path / "out") == data_of(undisturbed)
    assert "too long" in (tmp_path / "out" / "report.html").read_text()
    assert not list((tmp_path / "out" / "claims").iterdir())
    # A second time there is nothing to do
    times = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out/data").iterdir()
    }
    again = run(pipeline, source, tmp_path / "out", "--workers", "2")
    assert again.returncode == 3
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_killed_at_random_moments(tmp_path, pipeline, source, undisturbed):
    rng = random.Random(0)
    output = tmp_path / "out"
    for i in range(4):
        process = start(pipeline, source, output, "--workers", "2")
        deadline = time.monotonic() + 30
        # Not while nothing has begun yet
        n_done = len(done(output))
        while process.poll() is None and time.monotonic() < deadline:
            if len(done(output)) > n_done or workers_of(output):
                break
            time.sleep(0.01)
        time.sleep(rng.random() * 0.3)
        victims = [process.pid, *sorted(workers_of(output))]
        victim = victims[0] if i % 2 else victims[-1]
        with_suppress(os.kill, victim, signal.SIGKILL)
        if victim == process.pid:
            process.wait()
            for pid in victims[1:]:
                wait_for_end(pid)
        else:
            process.wait(60)  # the other worker, or nobody, does the rest
    assert run(pipeline, source, output).returncode == 3
    assert data_of(output) == data_of(undisturbed)
    assert not [p for p in (output / "data").iterdir() if p.name.startswith(".")]


def with_suppress(call, *arguments):
    with contextlib.suppress(ProcessLookupError):
        call(*arguments)


def wait_for_end(pid):
    """Workers end with their driver."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"{pid} outlives its driver")


def test_two_drivers_on_one_output(tmp_path, pipeline, source, undisturbed):
    output = tmp_path / "out"
    drivers = [start(pipeline, source, output, "--claim") for _ in range(2)]
    deadline = time.monotonic() + 60
    while len(workers_of(output)) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    drivers[0].kill()
    assert drivers[1].wait(60) == 3
    drivers[0].wait()
    assert data_of(output) == data_of(undisturbed)
    assert not [p for p in (output / "data").iterdir() if p.name.startswith(".")]


def test_a_second_driver_is_told_how_to_join(tmp_path, pipeline, source):
    settings = make_settings(pipeline, shard_docs=SIZE, max_chars=1000)
    files = [str(source)]
    with (
        prepared(tmp_path / "out", files, settings),
        pytest.raises(Busy, match="use --claim"),
        prepared(tmp_path / "out", files, settings),
    ):
        pass
    # Those that work together are not disturbed either
    with (
        Claims(tmp_path / "out" / "claims").take("000000-in"),
        pytest.raises(Busy, match="use --claim"),
        prepared(tmp_path / "out", files, settings),
    ):
        pass


def test_parts(tmp_path, pipeline, source, undisturbed):
    output = tmp_path / "out"
    first = run(pipeline, source, output, "--shard", "2/2")
    assert first.returncode == 0 and "15 shards of other parts are left" in first.stdout
    assert len(done(output)) == 15
    assert run(pipeline, source, output, "--shard", "1/2").returncode == 3
    assert data_of(output) == data_of(undisturbed)


def test_a_full_disk(tmp_path, pipeline, source, undisturbed):
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
        found = run(pipeline, source, output, "--workers", "2")
        assert found.returncode == 1
        assert "No space left on device" in found.stderr, found.stderr
        assert len(found.stderr.strip().splitlines()) <= 4
        n_done = len(done(output))
        assert 0 < n_done < N / SIZE
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        assert run(pipeline, source, output).returncode == 3
        assert data_of(output) == data_of(undisturbed)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_data_that_were_changed_are_made_again(tmp_path, pipeline, source, undisturbed):
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    settings = make_settings(pipeline, shard_docs=SIZE, max_chars=1000)
    one, two, three = sorted((output / "data").iterdir())[:3]
    one.unlink()
    two.write_bytes(two.read_bytes()[:-1])
    three.write_bytes(three.read_bytes().replace(b"aspirin", b"ASPIRIN", 1))
    with prepared(output, [str(source)], settings) as plan:
        assert len(done(output)) == len(plan.shards) - 2
    with prepared(output, [str(source)], settings, thorough=True) as plan:
        assert len(done(output)) == len(plan.shards) - 3
        run_local(output, plan)
    assert data_of(output) == data_of(undisturbed)


def test_folders_that_are_not_ours(tmp_path, pipeline, source):
    settings = make_settings(pipeline)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    (tmp_path / "file").touch()
    for name, told in (("mine", "did not write"), ("file", "is a file")):
        with (
            pytest.raises(WeltError, match=told),
            prepared(tmp_path / name, [str(source)], settings),
        ):
            pass
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@Language.component("fails_on_bad")
def fails_on_bad(doc):
    if "bad" in doc.text:
        raise RuntimeError("no idea what this is\nsecond line")
    return doc


def failing():
    nlp = spacy.blank("en")
    nlp.add_pipe("fails_on_bad")
    return Pipelines([Pipeline("en_failing-1", nlp)])


def test_a_text_that_the_pipeline_fails_on_is_refused(tmp_path, pipeline):
    texts = ["good", "bad", "good too"]
    path = write_jsonl(tmp_path / "a.jsonl", texts)
    plan = make_plan([str(path)], make_settings(pipeline, with_text=True))
    write_plan(plan, tmp_path / "out")
    record = annotate_shard(plan, plan.shards[0], failing(), tmp_path / "out")
    assert (record["docs"], record["rejects"]) == (2, 1)
    (reject,) = read_rejects(tmp_path / "out")
    assert reject["id"] == "1" and reject["reason"] == "pipeline failed"
    assert reject["message"] == "en_failing-1: RuntimeError: no idea what this is"
    assert [row["text"] for row in read_output(tmp_path / "out")] == [
        "good",
        "good too",
    ]


def test_a_pipeline_that_fails_on_every_text_ends_the_run(tmp_path, pipeline):
    path = write_jsonl(tmp_path / "a.jsonl", ["bad"] * 50)
    plan = make_plan([str(path)], make_settings(pipeline))
    with pytest.raises(WeltError, match="fails on every text"):
        annotate_shard(plan, plan.shards[0], failing(), tmp_path / "out")
    assert not done(tmp_path / "out") and not list((tmp_path / "out/data").iterdir())


def test_max_errors(tmp_path, pipeline):
    texts = ["x" * 100 if i % 10 == 0 else "fine" for i in range(200)]
    path = write_jsonl(tmp_path / "a.jsonl", texts)
    settings = make_settings(pipeline, shard_docs=10, max_chars=50)
    with prepared(tmp_path / "out", [str(path)], settings) as plan:
        with pytest.raises(WeltError, match="more than --max-errors 5"):
            run_local(tmp_path / "out", plan, max_errors=5)
        n_done = len(done(tmp_path / "out"))
        assert 0 < n_done < 20
        run_local(tmp_path / "out", plan, max_errors=20)
        assert finish(tmp_path / "out", plan)["rejects"] == 20


def test_several_pipelines_share_a_reading(tmp_path, pipeline):
    other = make_pipeline(
        tmp_path / "other",
        "genes",
        [{"label": "Gene", "pattern": "rats"}, {"label": "X", "pattern": "aspirin"}],
    )
    path = write_jsonl(tmp_path / "a.jsonl", ["aspirin for rats", "none"])
    settings = make_settings(pipeline)
    settings = settings._replace(
        pipelines=settings.pipelines + make_settings(other).pipelines
    )
    with prepared(tmp_path / "out", [str(path)], settings) as plan:
        run_local(tmp_path / "out", plan)
        first, second = read_output(tmp_path / "out")
    assert [(e["text"], e["label"], e["pipeline"]) for e in first["entities"]] == [
        ("aspirin", "Chemical", "en_rules-0.0.0"),
        ("aspirin", "X", "en_genes-0.0.0"),
        ("rats", "Gene", "en_genes-0.0.0"),
    ]
    assert second["entities"] == []


@pytest.mark.parametrize("format_", ["jsonl.gz", "parquet", "bioc", "brat", "spacy"])
def test_formats_give_the_same_bytes_in_another_process(tmp_path, pipeline, format_):
    path = write_jsonl(tmp_path / "a.jsonl", some_texts(30))
    settings = make_settings(pipeline, format=format_, shard_docs=10, max_chars=1000)
    one, other = tmp_path / "one", tmp_path / "other"
    with prepared(one, [str(path)], settings) as plan:
        pipelines = Pipelines([Pipeline("en_rules-0.0.0", spacy.load(pipeline))])
        for shard in plan.shards:
            record = annotate_shard(plan, shard, pipelines, one)
            assert is_whole(one, record, thorough=True)
            # Twice does no harm
            assert (
                annotate_shard(plan, shard, pipelines, one)["sha256"]
                == record["sha256"]
            )
    with prepared(other, [str(path)], settings) as plan:
        run_local(other, plan)
    assert data_of(one) == data_of(other)


def test_watch(undisturbed, pipeline, source, tmp_path):
    settings = make_settings(pipeline, shard_docs=SIZE, max_chars=1000)
    with prepared(undisturbed, [str(source)], settings) as plan:
        status = Watch(undisturbed, plan).look()
        assert (status.docs, status.rejects, status.shards) == (N, 1, N / SIZE)
        assert status.words > 5 * N and status.workers == 0
        record = read_record(undisturbed, plan.shards[0].name)
        assert record["words"] < status.words
        before = Watch(tmp_path, plan).look()
    assert before.docs == 0 and before.n_docs == N and before.docs_s == 0


def test_strings_are_given_back(pipeline):
    nlp = spacy.load(pipeline)
    pipelines = Pipelines([Pipeline("en_rules-0.0.0", nlp)])
    from welt_spacy.formats.documents import Document

    sizes = []
    for i in range(10):
        documents = [Document("", f"word{i}x{j} aspirin") for j in range(1000)]
        found = list(pipelines.annotate(documents))
        assert all(
            not isinstance(one, Reject) and len(one.entities) == 1 for one in found
        )
        sizes.append(len(nlp.vocab.strings))
    assert sizes[1] > sizes[0] and sizes[-1] == sizes[2]
