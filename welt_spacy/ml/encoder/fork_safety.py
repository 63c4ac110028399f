"""Torch in forked processes."""

import os

import torch

_pid = os.getpid()


def limit_threads_after_fork() -> None:
    """Let torch use one thread if this process was forked since the last call.

    The threads of torch do not survive a fork, as of `nlp.pipe(n_process=2)`, and a child that
    waits for them hangs.
    """
    global _pid
    if os.getpid() != _pid:
        _pid = os.getpid()
        torch.set_num_threads(1)
