"""One command of a run, in a process that holds the run's folder and ends with its
parent.

    python -m welt_spacy.experiments.step PARENT FOLDER train config.cfg ...

A runner that is killed can't end its trainings, so each looks after itself; until it
has ended, nobody else can write into the folder.
"""

import sys
from pathlib import Path

from ..errors import WeltError
from ..files import one_writer
from ..processes import end_with_parent

# Seconds for the process of a killed runner to end
WAIT = 20.0
# What is locked in the folder of a run while a command writes there
STEP = "step"


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
