"""One command of a run, in a process that ends with its parent and tells what it took.

python -m welt_spacy.experiments.step PARENT USAGE train config.cfg ...
"""

import contextlib
import json
import sys
import time
from pathlib import Path

from ..processes import end_with_parent, peak_mb


def main() -> None:
    """Run a command of spaCy; write seconds and memory to the file USAGE."""
    parent, usage, *command = sys.argv[1:]
    end_with_parent(int(parent))
    from spacy.cli import setup_cli

    sys.argv = ["spacy", *command]
    began = time.perf_counter()
    try:
        setup_cli()
    finally:
        told = {"seconds": time.perf_counter() - began, "peak_mb": peak_mb()}
        with contextlib.suppress(OSError):
            Path(usage).write_text(json.dumps(told), encoding="utf8")


if __name__ == "__main__":
    main()
