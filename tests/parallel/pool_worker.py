"""A worker for the tests of the pool."""

import os
import signal
import sys
import time
from pathlib import Path

from welt_spacy.errors import WeltError
from welt_spacy.parallel.pool import serve_tasks


def _n_calls(task):
    return len(Path(task["touch"]).read_text())


def run(task, report):
    print("printed by a library")
    if "touch" in task:
        with Path(task["touch"]).open("a") as file:
            file.write("x")
    if "report" in task:
        report(task["report"])
    if "die_below" in task and task["die_below"] > _n_calls(task):
        os.kill(os.getpid(), signal.SIGKILL)
    if "error" in task:
        raise {"ours": WeltError, "other": KeyError, "exit": SystemExit}[task["error"]](
            "no"
        )
    while "until" in task and not Path(task["until"]).exists():
        time.sleep(0.02)
    return {"number": task.get("number"), "pid": os.getpid(), "arguments": sys.argv[2:]}


if __name__ == "__main__":
    serve_tasks(run)
