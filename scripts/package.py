"""Package a trained pipeline as a wheel, with a meta.json that tells where it
comes from and how it scores.

`spacy package` alone does the same for any pipeline; here the meta is filled
in, and the wheel is built without a network.
"""

import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version as package_version
from pathlib import Path

import srsly
import typer
from spacy.cli.package import package


def main(
    corpus: str, model: Path, metrics: Path, output: Path, version: str = "0.0.0"
) -> None:
    about = srsly.read_json(Path("corpus") / corpus / "corpus.json")
    scores = srsly.read_json(metrics)
    meta = srsly.read_json(model / "meta.json")
    meta.update(
        name=f"welt_{corpus}",
        version=version,
        description=f"Named entities as in {about['title']}: a spaCy pipeline trained "
        "with welt-spacy. The scores under 'performance' are those on the test split; "
        "those on dev, on which the pipeline was chosen, are under 'dev'.",
        author="welt-spacy",
        license="MIT",
        sources=[
            {
                "name": about["title"],
                "url": about["source"],
                "license": about["licence"],
                "author": about["citation"],
            }
        ],
        performance={
            **{key: value for key, value in scores.items() if key.startswith("ents")},
            "speed": scores["speed"],
            "dev": meta["performance"],
        },
    )
    meta["welt_spacy_version"] = package_version("welt-spacy")
    with tempfile.TemporaryDirectory() as folder:
        staged, built = Path(folder) / "model", Path(folder) / "built"
        shutil.copytree(model, staged)
        srsly.write_json(staged / "meta.json", meta)
        built.mkdir()
        package(staged, built, create_sdist=False, create_wheel=False, silent=True)
        source = built / f"en_welt_{corpus}-{version}"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
                *("--no-build-isolation", "--no-index", "--disable-pip-version-check"),
                *("--wheel-dir", str(built), str(source)),
            ],
            check=True,
        )
        wheel = next(built.glob("*.whl"))
        output.mkdir(exist_ok=True)
        partial = output / f".{wheel.name}.partial"
        shutil.copyfile(wheel, partial)
        partial.replace(output / wheel.name)
    print(f"✔ {output / wheel.name}")


if __name__ == "__main__":
    typer.run(main)
