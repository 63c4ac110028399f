"""Worker processes on this machine: tasks, errors, lost workers, and the end of the driver."""

import os
import signal
import subprocess
import sys

import pytest

from welt_spacy.parallel.pool import WorkerPool

from ..factories import wait_until

MODULE = "tests.parallel.pool_worker"
DRIVER = """
import sys
from welt_spacy.parallel.pool import WorkerPool
with WorkerPool("tests.parallel.pool_worker", [[], []]) as pool:
    for _ in range(2):
        pool.submit({"until": "never"})
    while pool.n_unfinished:
        for event in pool.wait():
            print(event.value, flush=True)
"""


def run_all(pool, tasks=()):
    """Return all events until the tasks have ended."""
    for task in tasks:
        pool.submit(task)
    events = []
    while pool.n_unfinished:
        events += pool.wait()
    return events


def results(events):
    return {
        event.task["number"]: (event.kind, event.value)
        for event in events
        if event.is_last
    }


def test_each_worker_gets_one_task_at_a_time():
    with WorkerPool(MODULE, [["a"], ["b"]]) as pool:
        assert pool.n_free == 2
        events = run_all(pool, [{"number": i} for i in range(10)])
        assert pool.n_free == 2
    ended = [event.value for event in events if event.kind == "done"]
    assert sorted(value["number"] for value in ended) == list(range(10))
    workers = {(value["pid"], *value["arguments"]) for value in ended}
    assert len(workers) <= 2 and {name for _, name in workers} <= {"a", "b"}


def test_progress_comes_before_the_result():
    with WorkerPool(MODULE, [[]]) as pool:
        events = run_all(pool, [{"number": 0, "report": [1, "ü\n"]}])
    assert [event.kind for event in events] == ["started", "progress", "done"]
    assert events[1].value == [1, "ü\n"]
    assert events[0].value == events[2].value["pid"]


@pytest.mark.parametrize(
    "error, message",
    [("ours", "no"), ("other", "KeyError: 'no'"), ("exit", "SystemExit: no")],
)
def test_an_error_is_sent_and_the_worker_goes_on(error, message):
    with WorkerPool(MODULE, [[]]) as pool:
        events = run_all(pool, [{"number": 0, "error": error}, {"number": 1}])
    ended = results(events)
    assert ended[0] == ("failed", message)
    assert ended[1][0] == "done"
    assert len({event.value for event in events if event.kind == "started"}) == 1


def test_the_task_of_a_killed_worker_is_run_again(tmp_path):
    task = {"number": 0, "touch": str(tmp_path / "calls"), "die_below": 3}
    with WorkerPool(MODULE, [[]], max_losses=2) as pool:
        events = run_all(pool, [task, {"number": 1}])
    assert (tmp_path / "calls").read_text() == "xxx"
    assert [
        event.kind for event in events if event.task is task or event.task == task
    ] == [*("started", "restarted", "started", "restarted", "started", "done")]
    assert results(events)[1][0] == "done"


def test_a_task_that_kills_its_workers_is_lost_and_stops_no_other(tmp_path):
    task = {"number": 0, "touch": str(tmp_path / "calls"), "die_below": 99}
    with WorkerPool(MODULE, [[]], max_losses=1) as pool:
        events = run_all(pool, [task, {"number": 1}])
    assert (tmp_path / "calls").read_text() == "xx"
    assert results(events)[0] == ("lost", "its process ended 2 times (signal 9)")
    assert results(events)[1][0] == "done"


def test_an_idle_worker_that_was_killed_is_replaced():
    with WorkerPool(MODULE, [[]]) as pool:
        (_, first) = run_all(pool, [{"number": 0}])
        os.kill(first.value["pid"], signal.SIGKILL)
        events = run_all(pool, [{"number": 1}])
    assert events[-1].kind == "done" and events[-1].value["pid"] != first.value["pid"]


def test_a_worker_that_can_not_start_is_a_loss():
    with WorkerPool("tests.parallel.no_such_worker", [[]], max_losses=0) as pool:
        (*_, event) = run_all(pool, [{"number": 0}])
    assert event.kind == "lost" and "No module named" in event.value


def test_a_worker_for_each_task():
    with WorkerPool(MODULE, [[], []], max_tasks=1) as pool:
        events = run_all(pool, [{"number": i} for i in range(4)])
    pids = [value["pid"] for kind, value in results(events).values() if kind == "done"]
    assert len(set(pids)) == 4


def test_tasks_added_while_others_run(tmp_path):
    with WorkerPool(MODULE, [[]]) as pool:
        pool.submit({"number": 0, "until": str(tmp_path / "end")})
        while not pool.wait():
            pass
        assert (pool.n_free, pool.n_unfinished) == (0, 1)
        pool.submit({"number": 1})
        (tmp_path / "end").touch()
        assert set(results(run_all(pool))) == {0, 1}


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_error_of_the_driver_ends_the_workers():
    with pytest.raises(RuntimeError), WorkerPool(MODULE, [[]]) as pool:
        pool.submit({"until": "never"})
        (event, *_) = pool.wait()
        raise RuntimeError
    assert not is_running(event.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_driver(number, root):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=root,
        text=True,
    )
    with driver:
        pids = [int(driver.stdout.readline()) for _ in range(2)]
        assert all(map(is_running, pids))
        driver.send_signal(number)
    wait_until(lambda: not any(map(is_running, pids)))
