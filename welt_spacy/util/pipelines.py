"""Load pipelines from disk and save them."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import spacy
import srsly
from spacy.language import Language
from thinc.api import require_gpu

from ..errors import WeltError, first_line
from .output_folder import RECORD, replace_folder

# Names in the folder of a pipeline, besides a folder for each component
PIPELINE_FILES = {"config.cfg", "meta.json", "tokenizer", "vocab", "README.md"}
PIPELINE_FILES |= {"LICENSE", "LICENSES_SOURCES", "lookups", "accuracy.json", RECORD}


def use_gpu(gpu_id: int) -> None:
    """Activate a GPU, as `spacy.require_gpu`; -1 stands for the CPU and changes nothing."""
    if gpu_id < 0:
        return
    try:
        require_gpu(gpu_id)
    except Exception as err:  # thinc, CuPy and torch have one each
        raise WeltError(
            f"GPU {gpu_id} can't be used: {err}. Use --gpu-id -1 for the CPU"
        ) from None


def load_pipeline(model: Path, *, gpu_id: int = -1) -> Language:
    """Load a pipeline from its folder, or by name if it is installed. Whatever goes wrong is
    a `WeltError` of one line.
    """
    use_gpu(gpu_id)
    try:
        return spacy.load(model if model.exists() else str(model))
    except WeltError as err:
        raise WeltError(f"{model}: {err}") from None
    except Exception as err:
        # A damaged file raises the exceptions of srsly, msgpack, Thinc, pydantic or the
        # registry
        if not model.exists() and isinstance(err, OSError):
            raise WeltError(first_line(err)) from None
        raise WeltError(
            f"{model}: can't load this pipeline: {first_line(err)}. Is it complete, and "
            "is every package installed that its meta.json requires?"
        ) from None


@contextlib.contextmanager
def replace_pipeline(
    output: Path, *, force: bool = False, source: Path | None = None
) -> Iterator[Callable[[Language], Path]]:
    """Write a pipeline completely or not at all.

    output (Path): The folder to write; a link is followed.
    force (bool): Whether to replace an existing pipeline. Nothing else is ever replaced.
    source (Path | None): The folder that the pipeline was loaded from, which must
        neither be `output` nor in it.
    YIELDS (Callable[[Language], Path]): Function that saves a pipeline and returns its
        temporary folder; at the end of the `with` block that is moved to `output`.
    RAISES (WeltError): If the folder exists and is not replaced, before any work is done; or
        if it is locked or can't be written.
    """

    def check(path: Path) -> None:
        _check_replaceable(output, path, force, source)

    with replace_folder(output, check) as new:

        def write(nlp: Language) -> Path:
            nlp.to_disk(new)
            return new

        yield write


def _check_replaceable(
    output: Path, folder: Path, force: bool, source: Path | None
) -> None:
    """Raise an error if a pipeline can't replace this folder."""
    if not force:
        raise WeltError(f"{output} exists. Use another name, or --force")
    here = Path.cwd()
    if folder == here or folder in here.parents:
        raise WeltError(
            f"{output} is the current folder or contains it. Use another name"
        )
    if source is not None and source.exists():
        loaded = Path(os.path.realpath(source))
        if folder == loaded or folder in loaded.parents:
            raise WeltError(f"{output} is {source} or contains it. Use another name")
    if not is_pipeline(folder):
        raise WeltError(
            f"{output} is not a pipeline (a folder with config.cfg and meta.json), so it is "
            "not replaced. Use another name"
        )
    names = {path.name for path in folder.iterdir()}
    if others := sorted(names - PIPELINE_FILES - _components(folder)):
        raise WeltError(
            f"{output} contains {', '.join(others[:3])}, which is not part of a pipeline, so "
            "it is not replaced. Move that away, or use another name"
        )


def is_pipeline(path: Path) -> bool:
    """Return whether a folder has the config.cfg and meta.json of a saved pipeline."""
    return all((path / name).is_file() for name in ("config.cfg", "meta.json"))


def _components(path: Path) -> set[str]:
    try:
        meta = srsly.read_json(path / "meta.json")
        return {*meta.get("components", []), *meta.get("pipeline", [])}
    except (ValueError, AttributeError, TypeError):
        return set()
