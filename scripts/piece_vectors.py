"""Make static vectors of word pieces for the small CPU models from the offline encoder
MiniLM, which is fetched if it is missing.
"""

import subprocess
import sys
from pathlib import Path

import typer

CPU_CONFIGS = ("welt_cpu", "welt_bio")  # a transformer has its own
NONE = "null"  # as in project.yml and in a config
ENCODER = Path("assets/encoders/minilm")


def make(path: Path) -> bool:
    """Make the vectors, unless the file exists, and return whether it exists now. If not, the
    reason has been printed."""
    if path.is_file():
        return True
    steps = [
        ["scripts/fetch_encoder.py", "--output", str(ENCODER)],
        ["-m", "spacy", "welt", "vectors", str(ENCODER), str(path)],
    ]
    return all(
        subprocess.run([sys.executable, *step]).returncode == 0 for step in steps
    )


def main(path: str, config: str = CPU_CONFIGS[0]) -> None:
    if path == NONE or config not in CPU_CONFIGS:
        return
    if not make(Path(path)):
        sys.exit(
            "✘ Without vectors, train with --vars.piece_vectors null: test F1 on BC5CDR "
            "is lower by 1.3"
        )


if __name__ == "__main__":
    typer.run(main)
