"""Experiments on Ray: the same results as on this machine, whatever is lost; a run that fails
stops no other."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from welt_spacy.experiments.driver import get_status
from welt_spacy.experiments.local import run_local
from welt_spacy.experiments.ray import run_ray
from welt_spacy.experiments.results import read_results
from welt_spacy.experiments.workspace import Workspace

from ..factories import wait_until
from ..factories.experiments import (
    BROKEN,
    ENS,
    LONG,
    SMALL,
    VANILLA,
    find_workers,
    make_corpora,
    make_grid,
    write_grid,
)

pytest.importorskip("ray")

ONE_RUN = {"schemes": {"vanilla": VANILLA}, "tuned": {}, "keep_models": False}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def connect(ray_cluster):
    import ray

    return lambda: ray


def list_files(workspace):
    paths = workspace.output.glob("runs/**/*")
    return sorted(path.relative_to(workspace.output).as_posix() for path in paths)


def compute_scores(grid, workspace):
    return {
        (group, scheme, seed): (scored.strict, scored.fair)
        for group, schemes in read_results(grid, workspace).scores.items()
        for scheme, runs in schemes.items()
        for seed, scored in runs.items()
    }


@pytest.mark.slow
def test_a_lost_node_and_a_run_that_fails_change_nothing(
    tmp_path, corpora, ray_cluster, connect
):
    ray_cluster.make_second()
    settings = {"tuned": {}, "keep_models": False}
    good = {"vanilla": VANILLA, "ens_0.3": ENS}
    grid = make_grid(tmp_path, schemes={**good, "bad": BROKEN}, **settings)
    workspace, lines = Workspace(tmp_path / "ray", corpora), []
    with ThreadPoolExecutor(1) as pool:
        driver = pool.submit(
            run_ray, grid, workspace, connect=connect, report=lines.append
        )
        # Two workers: one on each node. They are stopped, so that both are at work when
        # the node goes, however fast the machine is
        stopped: set[int] = set()
        while len(stopped) < 2 and not driver.done():
            for pid in {*find_workers(workspace.output)} - stopped:
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
            time.sleep(0.02)
        ray_cluster.remove_node(ray_cluster.second, allow_graceful=False)
        ray_cluster.second = None
        # The worker of the lost node ends with its parent
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        failed = driver.result()
    assert len(stopped) == 2
    assert len(failed) == 1 and failed[0].startswith("ncbi_disease-bad-0: train: ")
    assert lines[0] == "3 runs, 0 of them done before"
    assert sum(line[0] in "✔✘" for line in lines[1:]) == 3
    status = get_status(workspace)
    assert len(status.failed) == 1 and status.done == 2
    grid = make_grid(tmp_path, schemes=good, **settings)
    local = Workspace(tmp_path / "local", corpora)
    assert run_local(grid, local, n_jobs=2, report=str) == []
    assert compute_scores(grid, workspace) == compute_scores(grid, local)
    (bad,) = status.failed
    names = [name for name in list_files(workspace) if bad not in name]
    assert names == list_files(local)


@pytest.mark.slow
def test_a_finished_experiment_needs_no_cluster(tmp_path, corpora, connect):
    grid = make_grid(tmp_path, **ONE_RUN)
    workspace = Workspace(tmp_path / "out", corpora)
    assert run_ray(grid, workspace, connect=connect, report=str) == []
    assert run_ray(grid, workspace, connect=lambda: None, report=str) == []


@pytest.mark.slow
def test_nodes_that_share_no_files(tmp_path, corpora, ray_cluster, connect):
    # A task fetches its corpus from the storage, and sends its results there
    pytest.importorskip("fsspec")
    from welt_spacy.experiments.remote import Storage

    grid = make_grid(tmp_path, **ONE_RUN)
    storage = Storage(f"file://{tmp_path}/store")
    workspace = Workspace(tmp_path / "driver", corpora, storage)
    store = Workspace(tmp_path / "store", corpora)
    assert run_ray(grid, workspace, connect=connect, report=str) == []
    assert get_status(workspace).done == 1
    assert len(list_files(store)) == len(list_files(workspace)) > 5
    # The task worked in a folder of its own, and left nothing but the corpus
    (node,) = ray_cluster.caches.glob("experiments/*")
    assert not list(node.glob("runs/*"))
    assert len(list(node.glob("corpora/ncbi_disease/*.spacy"))) == 3
    assert not (workspace.output / "corpora").exists()


@pytest.mark.slow
def test_relative_paths_start_in_the_folder_of_the_driver(
    tmp_path, corpora, connect, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "encoder.bin").write_text("a")
    # The worker would refuse a run whose files it does not see
    overrides = {**SMALL, "paths.encoder": "encoder.bin"}
    grid = make_grid(tmp_path, **ONE_RUN, overrides=overrides)
    workspace = Workspace(tmp_path / "out", corpora)
    assert run_ray(grid, workspace, connect=connect, report=str) == []


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_no_training(
    tmp_path, corpora, ray_cluster, connect
):
    settings = {**ONE_RUN, "tuned": None}
    path = write_grid(tmp_path, **settings, overrides=LONG)
    workspace = Workspace(tmp_path / "out", corpora)
    command = [sys.executable, "-m", "spacy", "welt", "experiment", "run", str(path)]
    command += ["--corpora", str(corpora), "--output", str(workspace.output)]
    command += ["--engine", "ray", "--ray-address", ray_cluster.address]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as driver:
        logs = workspace.output / "runs"
        wait_until(lambda: list(logs.glob("*/train.log")) or driver.poll() is not None)
        assert driver.poll() is None
        driver.kill()
    wait_until(lambda: not find_workers(tmp_path))
    grid = make_grid(tmp_path, **ONE_RUN)
    assert run_ray(grid, workspace, connect=connect, report=str) == []
    assert get_status(workspace).done == 1 and get_status(workspace).failed == {}
