"""One command of a run, in a process that holds the run's folder and ends with its
parent.

    python -m welt_spacy.experiments.step PARENT FOLDER train config.cfg ...

A runner that is killed can't end its trainings, so each looks after itself; until it
has ended, nobody else can write into the folder.
"""

import os
import sys
import threading
import time
from pathlib import Path

from ..errors import WeltError
from ..files import one_writer

# Seconds between two looks at the parent, and for the process of a killed runner to end
INTERVAL = 0.5
WAIT = 20.0
# What is locked in the folder of a run while a command writes there
STEP = "step"


def end_with_parent(parent: int) -> None:
    """End this process soon after its parent has ended, however that ended.

    parent (int): The process id of the parent.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Run a command of spaCy."""
    parent, folder, *command = sys.argv[1:]
    end_with_parent(int(parent))
    from spacy.cli import setup_cli

    sys.argv = ["spacy", *command]
    try:
        with one_writer(Path(folder) / STEP, wait=WAIT):
            setup_cli()
    except WeltError as err:
        sys.exit(f"✘ {err}")


if __name__ == "__main__":
    main()
