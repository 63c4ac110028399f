"""Experiments that go wrong: every result is there once after all, none half-made."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from welt_spacy.experiments.jobs import failures, is_done
from welt_spacy.experiments.local import run_all, status
from welt_spacy.experiments.results import read_results

from ..factories.experiments import (
    SMALL,
    VANILLA,
    make_corpora,
    make_grid,
    one_run,
    trainings,
    write_grid,
)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpora"))


def test_two_runners_train_each_run_once(tmp_path, corpora):
    grid = make_grid(tmp_path, tuned={}, seeds=[0, 1])
    output = tmp_path / "out"
    told = [[], []]
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(run_all, grid, corpora, output, report=lines.append)
            for lines in told
        ]
        assert [job.result() for job in jobs] == [[], []]
    trained = [line for lines in told for line in lines if re.search(r": \d+ s", line)]
    assert len(trained) == 4
    assert len(read_results(grid, output)[("ncbi_disease", "", "")]) == 2
    assert len(list((output / "runs").iterdir())) == 4
    assert not list((output / "claims").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_runner_that_is_ended_leaves_no_training(tmp_path, corpora, number):
    """And what it was at is trained again from the beginning, by one process."""
    path = write_grid(
        tmp_path,
        schemes={"vanilla": VANILLA},
        tuned=None,
        overrides={**SMALL, "training.max_steps": 100000},
    )
    command = [sys.executable, "-m", "spacy", "welt", "experiment", "run", str(path)]
    command += ["--corpora", str(corpora), "--output", str(tmp_path / "out")]
    runner = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell in the background has it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    limit = time.monotonic() + 60
    try:
        while not any(
            "0     " in log.read_text()
            for log in (tmp_path / "out/runs").glob(".*/train.log")
        ):
            assert time.monotonic() < limit
            time.sleep(0.1)
        os.kill(runner.pid, number)  # the runner alone, not its group
        _, errors = runner.communicate(timeout=30)
    finally:
        runner.kill()
    wanted = {signal.SIGTERM: 143, signal.SIGKILL: -9, signal.SIGINT: 130}
    assert runner.returncode == wanted[number]
    assert b"Traceback" not in errors
    limit = time.monotonic() + 15
    while trainings(tmp_path):
        assert time.monotonic() < limit
        time.sleep(0.1)
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={})
    assert failures(tmp_path / "out") == {}
    assert run_all(grid, corpora, tmp_path / "out", report=str) == []
    left = [path.name for path in (tmp_path / "out/runs").iterdir()]
    assert len(left) == 1, left  # and nothing half-made


def test_a_training_that_is_killed_is_a_failure_and_is_made_good(tmp_path, corpora):
    long = {**SMALL, "training.max_steps": 100000}
    grid, output, job = one_run(tmp_path, corpora, overrides=long)
    killed, seen = [], []

    def kill():
        limit = time.monotonic() + 60
        while not trainings(output) and time.monotonic() < limit:
            time.sleep(0.1)
        seen.append(status(output))
        for line in trainings(output):
            killed.append(int(line.split()[0]))
            os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    (failed,) = run_all(grid, corpora, output, report=str)
    killer.join()
    assert killed and failed.startswith("ncbi_disease-vanilla-0: train: ")
    assert (seen[0].done, list(seen[0].running)) == (0, [job.name])
    assert list(failures(output)) == [job.name]
    assert not list((output / "runs").iterdir())
    short, _, _ = one_run(tmp_path, corpora)
    assert run_all(short, corpora, output, report=str) == []


def test_a_full_disk_loses_nothing(tmp_path, corpora):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("can't mount a small file system")
    try:
        grid, _, job = one_run(tmp_path, corpora)
        (failed,) = run_all(grid, corpora, small / "out", report=str)
        assert "No space left" in failed
        assert not list((small / "out/runs").iterdir())
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        assert run_all(grid, corpora, small / "out", report=str) == []
        assert is_done(job, small / "out") and failures(small / "out") == {}
    finally:
        subprocess.run(["umount", str(small)], check=True)
