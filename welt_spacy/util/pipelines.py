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
from .output_folder import replace_folder

# What a pipeline's folder has besides a folder for each component
PIPELINE_FILES = {"config.cfg", "meta.json", "tokenizer", "vocab", "README.md"}
PIPELINE_FILES |= {"LICENSE", "LICENSES_SOURCES", "lookups", "accuracy.json"}


def use_gpu(gpu_id: int) -> None:
    """Run what comes on a GPU, as `spacy.require_gpu`.

    gpu_id (int): The GPU; -1 for the CPU, which changes nothing.
    RAISES (WeltError): If there is no such GPU.
    """
    if gpu_id < 0:
        return
    try:
        require_gpu(gpu_id)
    except Exception as err:  # thinc, CuPy and torch have one each
        raise WeltError(
            f"GPU {gpu_id} can't be used ({err}): use --gpu-id -1 for the CPU"
        ) from None


def load_pipeline(model: Path, *, gpu_id: int = -1) -> Language:
    """Load a pipeline.

    model (Path): Its folder, or its name if it is installed.
    gpu_id (int): The GPU to run on; -1 for the CPU.
    RETURNS (Language): The pipeline.
    RAISES (WeltError): If it does not exist, is damaged or needs a package that is not
        installed, or there is no such GPU.
    """
    use_gpu(gpu_id)
    try:
        return spacy.load(model if model.exists() else str(model))
    except WeltError as err:
        raise WeltError(f"{model}: {err}") from None
    except Exception as err:
        # A damaged file raises whatever its reader raises: srsly, msgpack, Thinc,
        # pydantic and the registry have exceptions of their own.
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
    """Write a pipeline as a whole or not at all.

    output (Path): The folder to write; a link is followed.
    force (bool): Whether to replace a pipeline that is there. Nothing else is ever
        replaced.
    source (Path | None): The folder that the pipeline was loaded from, which must
        neither be `output` nor in it.
    YIELDS (Callable[[Language], Path]): Saves a pipeline and returns where it is for
        now; at the end of the `with` block the last one saved is moved to `output`.
    RAISES (WeltError): If something is there already, before any work is done; if it
        is not a pipeline, holds other files, the current folder or the source; if
        another process writes there, or the place can't be written to.
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
    """RAISES (WeltError): If a pipeline can't be written to this place."""
    if not force:
        raise WeltError(f"{output} is there already: use another name, or --force")
    here = Path.cwd()
    if folder == here or folder in here.parents:
        raise WeltError(f"{output} is the current folder or holds it: use another name")
    if source is not None and source.exists():
        loaded = Path(os.path.realpath(source))
        if folder == loaded or folder in loaded.parents:
            raise WeltError(f"{output} is {source} or holds it: use another name")
    if not is_pipeline(folder):
        raise WeltError(
            f"{output} is not the folder of a pipeline (with config.cfg and meta.json), "
            "so it is not replaced: use another name"
        )
    names = {path.name for path in folder.iterdir()}
    if others := sorted(names - PIPELINE_FILES - _components(folder)):
        raise WeltError(
            f"{output} holds {', '.join(others[:3])}, which does not belong to a pipeline, so it is "
            "not replaced: move that away, or use another name"
        )


def is_pipeline(path: Path) -> bool:
    """Tell whether a folder is that of a saved pipeline.

    path (Path): The folder.
    RETURNS (bool): Whether it has a config.cfg and a meta.json.
    """
    return all((path / name).is_file() for name in ("config.cfg", "meta.json"))


def _components(path: Path) -> set[str]:
    try:
        meta = srsly.read_json(path / "meta.json")
        return {*meta.get("components", []), *meta.get("pipeline", [])}
    except (ValueError, AttributeError, TypeError):
        return set()
