"""The commands of a run, one after another, in a process that ends with its parent.

python -m welt_spacy.experiments._subprocess PARENT FOLDER '{"train": ["train", "config.cfg"]}'

They share the start of Python and spaCy, which takes some seconds. Each has a log and a file
that tells what it took. The first that fails is the last.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from ..parallel.processes import end_with_parent, peak_gpu_mb, peak_mb


def main() -> None:
    """Run commands of spaCy, and end as the last one does."""
    parent, told, commands = sys.argv[1:]
    end_with_parent(int(parent))
    folder = Path(told)
    for name, command in json.loads(commands).items():
        with (folder / f"{name}.log").open("a", encoding="utf8") as log:
            # Of the process, since not all that is printed goes through Python
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        _run(command, folder / f"{name}.usage.json")


def _run(command: list[str], usage: Path) -> None:
    from spacy.cli import setup_cli

    sys.argv = ["spacy", *command]
    began = time.perf_counter()
    try:
        setup_cli()
    except SystemExit as err:
        if err.code:
            raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        record = {
            "seconds": time.perf_counter() - began,
            "peak_mb": peak_mb(),
            "peak_gpu_mb": peak_gpu_mb(),
        }
        with contextlib.suppress(OSError):
            usage.write_text(json.dumps(record), encoding="utf8")


if __name__ == "__main__":
    main()
