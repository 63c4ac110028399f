"""Torch in a process that was forked."""

import os

import torch

_pid = os.getpid()


def calm_torch() -> None:
    """Let torch use one thread, if this process was forked since it was last asked: its
    threads do not survive a fork (`nlp.pipe(n_process=2)`), and a child that waits for
    them hangs.
    """
    global _pid
    if os.getpid() != _pid:
        _pid = os.getpid()
        torch.set_num_threads(1)
