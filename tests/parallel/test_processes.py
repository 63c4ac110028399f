"""Processes that are started for work."""

import os
import subprocess
import sys
import types

import pytest

from welt_spacy.parallel.processes import end_all, n_cores, peak_gpu_mb, peak_mb


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
def test_cores_are_those_of_the_process():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert n_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert n_cores() == len(before)


def test_memory(monkeypatch):
    assert peak_mb() > 20
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert peak_gpu_mb() == 0
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True, max_memory_reserved=lambda: 3 << 20
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    assert peak_gpu_mb() == 3
    cuda.is_initialized = lambda: False
    assert peak_gpu_mb() == 0


def test_a_process_that_will_not_end_is_killed(monkeypatch):
    monkeypatch.setattr("welt_spacy.parallel.processes.GRACE", 0.5)
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    )
    code += "; time.sleep(60)"
    stubborn, willing = (
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        for program in (code, code.replace("SIG_IGN", "SIG_DFL"))
    )
    for process in (stubborn, willing):
        process.stdout.readline()
    end_all([stubborn, willing])
    assert (stubborn.returncode, willing.returncode) == (-9, -15)
