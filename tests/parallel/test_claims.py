"""Work divided among processes by files."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from welt_spacy.errors import WeltError
from welt_spacy.parallel import claims as module
from welt_spacy.parallel.claims import Claims, part, share_work

HOLD = """
import sys, time
from welt_spacy.parallel.claims import Claims
with Claims(__import__("pathlib").Path(sys.argv[1])).take("work") as claim:
    claim.tell(docs=7)
    print("taken" if claim else "no", flush=True)
    time.sleep(60)
"""


def hold(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "taken\n"
    return process


def test_one_takes_it_and_gives_it_back(tmp_path):
    one, other = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    with one.take("work") as claim:
        assert claim is not None
        with other.take("work") as second, other.take("more") as third:
            assert second is None and third is not None
        assert set(one.told()) == {"work"}
    with other.take("work") as claim:
        assert claim is not None
    assert not one.told()


def test_a_claim_tells_how_far_the_work_is(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.02)
    claims = Claims(tmp_path)
    with claims.take("work") as claim:
        claim.tell(docs=12)
        deadline = time.monotonic() + 5
        while claims.told()["work"].get("docs") != 12 and time.monotonic() < deadline:
            time.sleep(0.01)
        told = claims.told()["work"]
        assert told["docs"] == 12 and told["pid"] == os.getpid()


def test_a_killed_process_has_left_its_claim_at_once(tmp_path):
    process = hold(tmp_path)
    claims = Claims(tmp_path)
    try:
        with claims.take("work") as claim:
            assert claim is None
        process.send_signal(signal.SIGSTOP)  # slow is not dead
        with claims.take("work") as claim:
            assert claim is None
    finally:
        process.kill()
        process.wait()
    with claims.take("work") as claim:
        assert claim is not None


def test_without_a_sign_of_life_for_a_while_a_claim_of_another_machine_is_left(
    tmp_path,
):
    claims = Claims(tmp_path, stale=0.3)
    path = tmp_path / "work"
    # Clocks of machines need not agree: this one's is years behind
    for beat in range(4):
        path.write_text(json.dumps({"machine": "another", "beat": beat}).ljust(100))
        os.utime(path, (1e9, 1e9))
        time.sleep(0.15)
        with claims.take("work") as claim:
            assert claim is None
    time.sleep(0.35)
    with claims.take("work") as claim:
        assert claim is not None
    # Killed before it could write anything
    path.touch()
    with claims.take("work") as claim:
        assert claim is None
    time.sleep(0.35)
    with claims.take("work") as claim:
        assert claim is not None


def test_the_one_that_was_taken_for_dead_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.02)
    claims = Claims(tmp_path)
    with claims.take("work") as claim:
        (tmp_path / "work").unlink()
        with Claims(tmp_path).take("work") as other:
            assert other is not None
            time.sleep(0.1)
            content = (tmp_path / "work").read_bytes()
            assert json.loads(content)["beat"] >= 1 and len(content) == module.SIZE
            claim.release()
            assert (tmp_path / "work").exists()
            claim.release = lambda: None
    assert not list(tmp_path.iterdir())


def race(folder, n, queue):
    claims, taken = Claims(folder / "claims"), []
    for i in range(n):
        with claims.take(f"{i}") as claim:
            if claim and not (folder / f"{i}").exists():
                (folder / f"{i}").touch()
                taken.append(i)
    queue.put(taken)


def test_many_processes_share_work(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [
        context.Process(target=race, args=(tmp_path, 50, queue)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    taken = [i for _ in workers for i in queue.get(timeout=60)]
    for worker in workers:
        worker.join()
    assert sorted(taken) == list(range(50))


def test_work_is_shared_until_all_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.01)
    made, lock = [], threading.Lock()

    def do(name, claim):
        time.sleep(0.002)
        with lock:
            made.append(name)
        (tmp_path / name).touch()

    def work():
        share_work(
            Claims(tmp_path / "claims"),
            [str(i) for i in range(40)],
            lambda name: (tmp_path / name).exists(),
            do,
        )

    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(work) for _ in range(4)]:
            job.result()
    assert sorted(made, key=int) == [str(i) for i in range(40)]

    # What is raised ends it, and gives the claim back
    def fail(name, claim):
        raise WeltError("no")

    claims = Claims(tmp_path / "claims")
    with pytest.raises(WeltError, match="no"):
        share_work(claims, ["x"], lambda name: False, fail)
    assert not claims.held()
    share_work(claims, ["x"], lambda name: False, fail, stopped=lambda: True)


def test_a_folder_that_can_not_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(WeltError, match="can't write here"),
        Claims(tmp_path / "file" / "claims").take("work"),
    ):
        pass


def test_parts():
    assert part(None) == (0, 1) and part("1/1") == (0, 1) and part("3/16") == (2, 16)
    for wrong in ("0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/2/3", "²/3", ""):
        with pytest.raises(WeltError, match="is not a part"):
            part(wrong)
