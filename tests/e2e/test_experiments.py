"""Experiments that are killed: every result is there once in the end, none half-made."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from welt_spacy.experiments.driver import get_status
from welt_spacy.experiments.local import run_local
from welt_spacy.experiments.results import Group, read_results
from welt_spacy.experiments.workspace import Workspace

from ..factories import wait_until
from ..factories.experiments import (
    LONG,
    VANILLA,
    find_workers,
    make_corpora,
    make_grid,
    make_one_job,
    write_grid,
)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpora"))


def is_training(workspace):
    """Return whether the first scores of a training are in its log."""
    logs = workspace.output.glob("runs/*/train.log")
    return any("\n  0       0 " in log.read_text() for log in logs)


def test_two_drivers_train_each_run_once(tmp_path, corpora):
    grid = make_grid(tmp_path, tuned={}, seeds=[0, 1], keep_models=False)
    workspace, lines = Workspace(tmp_path / "out", corpora), []
    with ThreadPoolExecutor(2) as pool:
        drivers = [
            pool.submit(run_local, grid, workspace, report=lines.append)
            for _ in range(2)
        ]
        assert [driver.result() for driver in drivers] == [[], []]
    assert sum(": done (" in line for line in lines) == 4
    assert sum(": was run by another process (" in line for line in lines) <= 4
    assert len(read_results(grid, workspace).scores[Group("ncbi_disease")]) == 2
    assert len(list(workspace.output.glob("runs/*"))) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_ended_leaves_no_training(tmp_path, corpora, number):
    settings = {"schemes": {"vanilla": VANILLA}, "overrides": LONG}
    path = write_grid(tmp_path, tuned=None, **settings)
    workspace = Workspace(tmp_path / "out", corpora)
    command = [sys.executable, "-m", "spacy", "welt", "experiment", "run", str(path)]
    command += ["--corpora", str(corpora), "--output", str(workspace.output)]
    driver = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell in the background has it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_until(lambda: is_training(workspace) or driver.poll() is not None)
        os.kill(driver.pid, number)  # the driver alone, not its group
        _, errors = driver.communicate()
    finally:
        driver.kill()
    statuses = {signal.SIGTERM: 143, signal.SIGKILL: -9, signal.SIGINT: 130}
    assert driver.returncode == statuses[number]
    assert b"Traceback" not in errors
    wait_until(lambda: not find_workers(tmp_path) and not get_status(workspace).running)
    status = get_status(workspace)
    assert (status.done, status.failed) == (0, {})
    # What is half-made does not count, and the run itself can begin at once
    (folder,) = workspace.output.glob("runs/*")
    with workspace.get_run(folder.name).open() as output:
        assert not output.is_finished


def test_a_worker_that_is_killed_once_is_replaced(tmp_path, corpora):
    grid, workspace, job = make_one_job(tmp_path, corpora)
    lines, killed = [], []

    def report(line):
        lines.append(line)

    with ThreadPoolExecutor(1) as pool:
        driver = pool.submit(run_local, grid, workspace, report=report)
        wait_until(lambda: find_workers(tmp_path) or driver.done())
        for pid in find_workers(tmp_path):
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
        assert driver.result() == []
    assert killed
    assert (
        "⚠ ncbi_disease-vanilla-0: its process ended (signal 9). It is run again"
        in lines
    )
    assert job.is_done(workspace)


def test_a_worker_that_is_always_killed_is_a_failure(tmp_path, corpora):
    grid, workspace, job = make_one_job(tmp_path, corpora, overrides=LONG)
    with ThreadPoolExecutor(1) as pool:
        driver = pool.submit(run_local, grid, workspace, report=str)
        while not driver.done():
            for pid in find_workers(tmp_path):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        (failed,) = driver.result()
    assert failed.startswith(
        "ncbi_disease-vanilla-0: its process ended 2 times (signal"
    )
    assert list(get_status(workspace).failed) == [job.name]
    assert not job.is_done(workspace)


def test_a_full_disk_loses_nothing(tmp_path, corpora):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("can't mount a small file system")
    try:
        grid, _, job = make_one_job(tmp_path, corpora)
        workspace = Workspace(small / "out", corpora)
        (failed,) = run_local(grid, workspace, report=str)
        assert "No space left" in failed
        assert not job.is_done(workspace)
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        assert run_local(grid, workspace, report=str) == []
        assert job.is_done(workspace) and get_status(workspace).failed == {}
    finally:
        subprocess.run(["umount", str(small)], check=True)
