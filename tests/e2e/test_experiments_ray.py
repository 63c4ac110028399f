"""Experiments on Ray: the same figures as on this machine, whatever is lost; what fails stops
nothing."""

import subprocess
import sys
import threading
import time

import pytest

from welt_spacy.experiments.jobs import failures
from welt_spacy.experiments.local import CLAIMS, run_all, status
from welt_spacy.experiments.ray import run_ray
from welt_spacy.experiments.results import read_results
from welt_spacy.parallel.claims import Claims

from ..factories.experiments import (
    ENS,
    SMALL,
    VANILLA,
    make_corpora,
    make_grid,
    trainings,
    write_grid,
)

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpora"))


def files_in(output):
    return sorted(p.relative_to(output).as_posix() for p in output.glob("runs/**/*"))


@pytest.mark.slow
def test_a_lost_node_and_a_run_that_fails_change_nothing(
    tmp_path, corpora, ray_cluster
):
    import ray

    ray_cluster.make_second()
    settings = {
        "tuned": {},
        "keep_models": False,
        # Long enough to be at it when the node goes
        "overrides": {**SMALL, "training.max_steps": 60},
    }
    good = {"vanilla": VANILLA, "ens_0.3": ENS}
    grid = make_grid(tmp_path, schemes={"bad": {"@misc": "x"}, **good}, **settings)
    output, told, running = tmp_path / "ray", [], []
    ended = threading.Event()

    def lose_a_node():
        while not ended.is_set() and not running:
            time.sleep(0.1)
            names = {p.parent.name for p in output.glob("runs/.*/train.log")}
            if any("-vanilla-" in n for n in names) and any("-ens" in n for n in names):
                running.extend(names)
        ray_cluster.remove_node(ray_cluster.second, allow_graceful=False)
        ray_cluster.second = None

    thread = threading.Thread(target=lose_a_node)
    thread.start()
    try:
        failed = run_ray(grid, corpora, output, connect=lambda: ray, report=told.append)
    finally:
        ended.set()
        thread.join()
    assert running
    assert len(failed) == 1 and failed[0].startswith("ncbi_disease-bad-0: train: ")
    assert told[0] == "3 runs, 0 of them done before" and len(told) == 4
    assert len(failures(output)) == 1 and status(output).done == 2
    grid = make_grid(tmp_path, schemes=good, **settings)
    assert run_all(grid, corpora, tmp_path / "local", report=str) == []
    one, other = (read_results(grid, place) for place in (output, tmp_path / "local"))
    assert one.keys() == other.keys()
    for group, schemes in one.items():
        for name, runs in schemes.items():
            assert runs[0].strict == other[group][name][0].strict
            assert runs[0].fair == other[group][name][0].fair
    # The processes of the lost node end by themselves
    limit = time.monotonic() + 30
    while Claims(output / CLAIMS).held() and time.monotonic() < limit:
        time.sleep(0.2)
    # Nothing is left to do but to clean up, so nobody is connected to
    assert run_ray(grid, corpora, output, connect=lambda: None, report=str) == []
    assert files_in(output) == files_in(tmp_path / "local")


@pytest.mark.slow
def test_nodes_that_share_no_files(tmp_path, corpora, ray_cluster):
    """What a task needs comes from the storage, and goes there."""
    import ray

    pytest.importorskip("fsspec")
    from welt_spacy.experiments.remote import Storage

    grid = make_grid(
        tmp_path, schemes={"vanilla": VANILLA}, tuned={}, keep_models=False
    )
    output = tmp_path / "driver"
    failed = run_ray(
        *(grid, corpora, output),
        connect=lambda: ray,
        storage=Storage(f"file://{tmp_path}/store"),
        report=str,
    )
    assert failed == [] and status(output).done == 1
    assert len(files_in(tmp_path / "store")) == len(files_in(output)) > 5
    # The task worked in a folder of its own, and left nothing but the corpus
    (node,) = ray_cluster.caches.glob("experiments/*")
    assert not list(node.glob("runs/*")) and not list(node.glob("claims/*"))
    assert len(list(node.glob("corpora/ncbi_disease/*.spacy"))) == 3
    assert not list(output.glob("claims/*"))
    assert not (output / "corpora").exists()


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_no_training(tmp_path, corpora, ray_cluster):
    """The next one makes what is left, and each result is there once."""
    import ray

    path = write_grid(
        tmp_path,
        schemes={"vanilla": VANILLA},
        tuned=None,
        keep_models=False,
        overrides={**SMALL, "training.max_steps": 100000},
    )
    output = tmp_path / "out"
    command = [sys.executable, "-m", "spacy", "welt", "experiment", "run", str(path)]
    command += ["--corpora", str(corpora), "--output", str(output), "--engine", "ray"]
    command += ["--ray-address", ray_cluster.address]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as driver:
        limit = time.monotonic() + 120
        while not list(output.glob("runs/.*/train.log")):
            assert time.monotonic() < limit and driver.poll() is None
            time.sleep(0.1)
        driver.kill()
    limit = time.monotonic() + 60
    while trainings(tmp_path):
        assert time.monotonic() < limit
        time.sleep(0.2)
    grid = make_grid(
        tmp_path, schemes={"vanilla": VANILLA}, tuned={}, keep_models=False
    )
    assert run_ray(grid, corpora, output, connect=lambda: ray, report=str) == []
    assert len(list((output / "runs").iterdir())) == 1
    assert status(output).done == 1 and failures(output) == {}
