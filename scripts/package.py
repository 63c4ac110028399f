"""Package a trained pipeline as a wheel, with a meta.json and a model card that tell
where it comes from and how it scores.

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

from welt_spacy.deployment.model_card import (
    base_models,
    hub_metadata,
    model_card,
)
from welt_spacy.files import write_atomically

# For the form on the page of a model hub
EXAMPLE = "Valproic acid was stopped; the hyperammonemic encephalopathy resolved."


def main(
    corpus: str,
    model: Path,
    metrics: Path,
    output: Path,
    version: str = "0.0.0",
    suffix: str = "",
) -> None:
    name = f"welt_{corpus}{suffix}"
    about = srsly.read_json(Path("corpus") / corpus / "corpus.json")
    scores = srsly.read_json(metrics)
    meta = srsly.read_json(model / "meta.json")
    meta.update(
        name=name,
        version=version,
        description=f"Named entities as in {about['title']}: a spaCy pipeline trained "
        "with welt-spacy.",
        notes="The scores under 'performance' are those on the test split; those on "
        "dev, on which the pipeline was chosen, are under 'dev'.",
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
            **{f"ents_{name}": scores["strict"][name] for name in "prf"},
            "ents_per_type": {
                label: part["strict"] for label, part in scores["per_type"].items()
            },
            **{f"fair_{name}": scores["fair"][name] for name in "prf"},
            "speed": scores["speed"],
            "dev": meta.get("performance", {}),
        },
    )
    meta["welt_spacy_version"] = package_version("welt-spacy")
    meta["evaluation"] = {
        "name": about["title"],
        "type": about.get("corpus", corpus),
        "split": "test",
        "revision": about.get("sha256", {}).get("test", ""),
    }
    meta["base_model"] = base_models(model)
    meta["example"] = EXAMPLE
    with tempfile.TemporaryDirectory() as folder:
        staged, built = Path(folder) / "model", Path(folder) / "built"
        shutil.copytree(model, staged)
        srsly.write_json(staged / "meta.json", meta)
        # spaCy puts it into the package
        card = model_card(model, meta, scores, about)
        (staged / "README.md").write_text(card, encoding="utf8")
        built.mkdir()
        package(staged, built, create_sdist=False, create_wheel=False, silent=True)
        source = built / f"en_{name}-{version}"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
                *("--no-build-isolation", "--no-index", "--disable-pip-version-check"),
                *("--wheel-dir", str(built), str(source)),
            ],
            check=True,
        )
        wheel = next(built.glob("*.whl"))
        write_atomically(output / wheel.name, wheel.read_bytes())
    hub_card = output / f"en_{name}-{version}.README.md"
    write_atomically(hub_card, f"{hub_metadata(meta)}\n{card}")
    print(f"✔ {output / wheel.name}\n✔ {hub_card}, the card for a model hub")


if __name__ == "__main__":
    typer.run(main)
