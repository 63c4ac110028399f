"""Package trained pipelines as wheels with scores, provenance and a model card."""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import srsly

from ..about import __version__
from ..errors import WeltError, first_line
from ..evaluation.records import Evaluation
from ..util.files import write_atomically
from ..util.output_folder import RECORD
from ..util.pipelines import is_pipeline
from .model_card import find_base_models, make_hub_metadata, make_model_card

# The example text on the page of the model hub
EXAMPLE = "Valproic acid was stopped; the hyperammonemic encephalopathy resolved."
UNKNOWN_DATA = {"title": "unpublished data"}
NOTES = (
    "The scores in 'performance' are those on the test split. Those on dev, on which the "
    "pipeline was selected, are in 'dev'."
)


@dataclass(frozen=True)
class Packaged:
    """Result of `package_pipeline`.

    wheel (Path): The wheel, which pip installs and `spacy welt push` uploads.
    card (Path): The model card for a model hub.
    """

    wheel: Path
    card: Path


def package_pipeline(
    model: Path,
    metrics: Path,
    output: Path,
    *,
    corpus: Path | None = None,
    name: str | None = None,
    version: str | None = None,
) -> Packaged:
    """Package a trained pipeline as a wheel. The network is not used.

    model (Path): The folder of the pipeline.
    metrics (Path): Its scores on test data: the JSON of `spacy welt evaluate`.
    output (Path): The folder to write to. A wheel of the same name and version is replaced.
    corpus (Path | None): The `corpus.json` of its data, for source, licence and citation.
    name (str | None): The name of the package without the language; that of the meta if not
        set.
    version (str | None): Its version; that of the meta if not set.
    RETURNS (Packaged): The files written.
    RAISES (WeltError): If a file is missing or of another kind, or the wheel can't be built.
    """
    from spacy.cli.package import package

    if not is_pipeline(model):
        raise WeltError(f"{model}: not the folder of a pipeline. Train one first")
    evaluation = _read_evaluation(metrics)
    about: dict[str, Any] = dict(UNKNOWN_DATA)
    if corpus is not None:
        about = _read_json(corpus, "title", "'spacy welt corpora convert'")
    meta = _read_json(model / "meta.json", "lang", "spaCy")
    changes = {"name": name, "version": version}
    meta.update({key: value for key, value in changes.items() if value is not None})
    meta.update(_describe(model, meta, evaluation, about))
    full_name = f"{meta['lang']}_{meta['name']}-{meta['version']}"
    with tempfile.TemporaryDirectory() as folder:
        staged, built = Path(folder) / "model", Path(folder) / "built"
        # The record of a command has checksums of other files than those of the package
        shutil.copytree(model, staged, ignore=shutil.ignore_patterns(RECORD))
        srsly.write_json(staged / "meta.json", meta)
        card = make_model_card(model, meta, evaluation, about)
        (staged / "README.md").write_text(card, encoding="utf8")
        built.mkdir()
        package(staged, built, create_sdist=False, create_wheel=False, silent=True)
        wheel = _build_wheel(built / full_name)
        written = output / wheel.name
        write_atomically(written, wheel.read_bytes())
    hub_card = output / f"{full_name}.README.md"
    write_atomically(hub_card, f"{make_hub_metadata(meta)}\n{card}")
    return Packaged(written, hub_card)


def _describe(
    model: Path, meta: dict[str, Any], evaluation: Evaluation, about: dict[str, Any]
) -> dict[str, Any]:
    """Return the fields of the meta with provenance and scores."""
    source = {
        "name": about["title"],
        "url": about.get("source", ""),
        "license": about.get("licence", ""),
        "author": about.get("citation", ""),
    }
    strict, fair = evaluation.strict._asdict(), evaluation.fair._asdict()
    per_type = {
        label: part.strict._asdict() for label, part in evaluation.per_type.items()
    }
    return {
        "description": f"Named entities as in {about['title']}: a spaCy pipeline trained "
        "with welt-spacy.",
        "notes": NOTES,
        "author": "welt-spacy",
        "license": "MIT",
        "sources": [source],
        "performance": {
            **{f"ents_{key}": value for key, value in strict.items()},
            "ents_per_type": per_type,
            **{f"fair_{key}": value for key, value in fair.items()},
            "speed": evaluation.speed,
            "dev": meta.get("performance", {}),
        },
        "welt_spacy_version": __version__,
        "evaluation": {
            "name": about["title"],
            "type": about.get("corpus", meta["name"].removeprefix("welt_")),
            "split": "test",
            "revision": about.get("sha256", {}).get("test", ""),
        },
        "base_model": find_base_models(model),
        "example": EXAMPLE,
    }


def _build_wheel(source: Path) -> Path:
    """Build the wheel of a source folder with the installed setuptools, offline."""
    command = [
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
        *("--no-build-isolation", "--no-index", "--disable-pip-version-check"),
        *("--wheel-dir", str(source.parent), str(source)),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(source.parent.glob("*.whl"))
    if done.returncode or not wheels:
        reason = first_line(RuntimeError(done.stderr or done.stdout))
        raise WeltError(f"{source.name}: the wheel can't be built: {reason}")
    return wheels[0]


def _read_evaluation(path: Path) -> Evaluation:
    writer = "'spacy welt evaluate --json'"
    record = _read_json(path, "strict", writer)
    try:
        return Evaluation.from_dict(record)
    except WeltError as err:
        raise WeltError(f"{path}: not a file that {writer} writes: {err}") from None


def _read_json(path: Path, key: str, writer: str) -> dict[str, Any]:
    try:
        record = srsly.read_json(path)
    except OSError as err:
        raise WeltError(f"{path}: can't read this file: {err.strerror}") from None
    except ValueError:
        record = None
    if isinstance(record, dict) and key not in record:
        record = record.get("summary")
    if not isinstance(record, dict) or key not in record:
        raise WeltError(f"{path}: not a file that {writer} writes. Use one of these")
    return record
