"""Tasks and actors on Ray: errors, lost processes, and room in the cluster."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from welt_spacy.errors import WeltError

pytest.importorskip("ray")

CPU = {"CPU": 1.0}


def run_task(folder, task):
    """Kill the own process in the first calls of a task, raise its error, or return."""
    calls = Path(folder) / str(task["number"])
    with calls.open("a") as file:
        file.write("x")
    if len(calls.read_text()) <= task.get("kills", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if "error" in task:
        raise WeltError(task["error"])
    return {"number": task["number"], "pid": os.getpid()}


def make_run(folder, error=None):
    if error:
        raise WeltError(error)
    return partial(run_task, folder)


@pytest.fixture
def ray(ray_cluster):
    import ray

    return ray


def run_all(pool, tasks):
    for task in tasks:
        pool.submit(task)
    events = []
    with pool:
        while pool.n_unfinished:
            events += pool.wait()
    return {event.task["number"]: event for event in events if event.is_last}


def make_pool(kind, ray, tmp_path, **options):
    from welt_spacy.parallel.ray import RayActorPool, RayTaskPool

    if kind == "tasks":
        run = partial(run_task, str(tmp_path))
        return RayTaskPool(ray, run, needs=CPU, **options)
    return RayActorPool(
        ray, partial(make_run, str(tmp_path)), workers=1, needs=CPU, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tasks", "actors"])
def test_results_errors_and_lost_processes(kind, ray, tmp_path):
    tasks = [
        *({"number": 0}, {"number": 1, "error": "no such file"}),
        *({"number": 2, "kills": 1}, {"number": 3, "kills": 99}, {"number": 4}),
    ]
    ended = run_all(make_pool(kind, ray, tmp_path, max_losses=1), tasks)
    kinds = {number: event.kind for number, event in ended.items()}
    assert kinds == {0: "done", 1: "failed", 2: "done", 3: "lost", 4: "done"}
    assert ended[1].value == "no such file"
    assert "\n" not in ended[3].value
    calls = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert calls == {"0": "x", "1": "x", "2": "xx", "3": "xx", "4": "x"}
    pids = {ended[number].value["pid"] for number in (0, 4)}
    assert len(pids) == 2  # of an actor because it was lost in between


@pytest.mark.slow
def test_an_actor_keeps_its_process(ray, tmp_path):
    ended = run_all(
        make_pool("actors", ray, tmp_path), [{"number": i} for i in range(4)]
    )
    assert len({event.value["pid"] for event in ended.values()}) == 1


@pytest.mark.slow
def test_an_actor_that_can_not_load_fails_its_task(ray, tmp_path):
    from welt_spacy.parallel.ray import RayActorPool

    make = partial(make_run, str(tmp_path), "no such pipeline")
    ended = run_all(RayActorPool(ray, make, workers=1, needs=CPU), [{"number": 0}])
    assert (ended[0].kind, ended[0].value) == ("failed", "no such pipeline")


@pytest.mark.slow
def test_room_in_the_cluster(ray, ray_cluster, monkeypatch):
    from welt_spacy.parallel.ray import check_room, has_node

    monkeypatch.setattr("welt_spacy.parallel.ray.SETTLE", 0.0)
    ray_cluster.make_second()
    assert has_node(ray, CPU) and not has_node(ray, {"CPU": 2.0})
    with pytest.raises(WeltError, match="3 actors need 3 CPUs: .* Use --workers"):
        check_room(ray, 3, CPU)
    with pytest.raises(WeltError, match="an actor needs 1 GPUs: the cluster has 0"):
        check_room(ray, 1, {"CPU": 0.0, "GPU": 1.0})
