"""Fingerprints: everything that decides a result, in a form that can be compared.

A command computes the fingerprint of its settings, input files and package versions and
stores it beside its output. The output is up to date if the fingerprints are equal.
"""

import hashlib
import importlib.util
import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..about import __version__
from ..errors import WeltError, first_line
from .files import is_temporary

if TYPE_CHECKING:
    from thinc.api import Config

# Packages whose version can change a result
PACKAGES = (
    *("spacy", "thinc", "numpy", "torch", "transformers", "tokenizers", "safetensors"),
    *("spacy-transformers", "onnxruntime", "llguidance", "peft"),
)
# Progress is logged there: its file changes with every training and decides nothing
NO_INPUTS = ("training.logger",)
# A file that was changed less than this many nanoseconds ago is not cached, because a
# second change of the same size can leave the time stamp as it is
RECENT = 2 * 10**9
_PACKAGE_NAME = re.compile(r"[a-z]{2,3}[_-][\w-]+")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Everything that decides a result. Fingerprints are equal if their JSON is.

    settings (dict[str, Any]): Settings as JSON data.
    files (dict[str, str]): Role of each input file, folder or model -> its checksum.
    versions (dict[str, str]): Versions of Python and of the packages that compute.
    """

    settings: dict[str, Any]
    files: dict[str, str]
    versions: dict[str, str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        content = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return checksum_bytes(content.encode("ascii"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the parts as JSON data."""
        return {
            "settings": self.settings,
            "files": self.files,
            "versions": self.versions,
        }

    @classmethod
    def from_dict(cls, record: object) -> "Fingerprint | None":
        """Read a stored fingerprint; None if the record is of another form."""
        names = ("settings", "files", "versions")
        if not isinstance(record, dict) or set(record) != set(names):
            return None
        if not all(isinstance(record[name], dict) for name in names):
            return None
        texts = [*record["files"].values(), *record["versions"].values()]
        if not all(isinstance(text, str) for text in texts):
            return None
        try:
            return cls(*(_to_json_data(record[name]) for name in names))
        except WeltError:
            return None

    def differences(self, other: "Fingerprint | None") -> list[str]:
        """Name all values in which two fingerprints differ, such as "settings.steps",
        "files.train" or "versions.torch".
        """
        if other is None:
            return ["fingerprint"]
        a, b = (dict(_leaves(part.to_dict())) for part in (self, other))
        return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))


def fingerprint(
    settings: Mapping[str, Any],
    *,
    files: Mapping[str, str | Path] | None = None,
    config: "Config | None" = None,
    models: Mapping[str, str | Path] | None = None,
    exclude: Sequence[str] = (),
) -> Fingerprint:
    """Compute the fingerprint of a piece of work.

    settings (Mapping[str, Any]): All settings that decide the result: JSON data, paths.
    files (Mapping[str, str | Path] | None): Role -> input file or folder.
    config (Config | None): A training config, interpolated or not. All of it is added to the
        settings, and the files, folders and models that it names to the files.
    models (Mapping[str, str | Path] | None): Role -> folder, installed pipeline or name on the
        hub, as `model_checksum` takes them.
    exclude (Sequence[str]): Dotted keys of the config to leave out, such as "paths.train",
        with the files that they name.
    RETURNS (Fingerprint): The fingerprint.
    RAISES (WeltError): If a file is missing or can't be read.
    """
    all_settings, checksums = dict(settings), {}
    if config is not None:
        from thinc.api import Config  # imports torch

        plain = Config().from_str(config.to_str(interpolate=False), interpolate=False)
        for key in exclude:
            _remove(plain, key.split("."))
        all_settings["config"] = plain
        for role, value in config_files(config, exclude=exclude).items():
            checksums[role] = model_checksum(value)
    for role, path in (files or {}).items():
        if not Path(path).exists():
            raise WeltError(f"{role}: {path} does not exist. Check the path")
        checksums[role] = checksum(path)
    for role, model in (models or {}).items():
        checksums[role] = model_checksum(model)
    return Fingerprint(_to_json_data(all_settings), checksums, dict(get_versions()))


@cache
def get_versions() -> dict[str, str]:
    """Return the versions of Python, welt-spacy and the installed packages that compute."""
    versions = {"python": platform.python_version(), "welt-spacy": __version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def config_files(config: "Config", *, exclude: Sequence[str] = ()) -> dict[str, str]:
    """Find the files, folders, installed pipelines and cached models of the hub that a
    config names, in any block.

    config (Config): The config, interpolated or not.
    exclude (Sequence[str]): Dotted keys whose values are left out wherever they are used.
    RETURNS (dict[str, str]): Dotted key -> the value; of several keys with one value the
        first.
    RAISES (WeltError): If a variable of the config has no value.
    """
    try:
        values = dict(_leaves(config.interpolate(), lists=True))
    except Exception as err:  # confection has several
        raise WeltError(f"The config can't be read: {first_line(err)}") from None
    inputs: dict[str, str] = {}
    skipped = {values.get(key) for key in exclude}
    # The section `paths` first, because other blocks take its values
    for key in sorted(values, key=lambda key: (not key.startswith("paths."), key)):
        value = values[key]
        if (
            isinstance(value, str)
            and value not in skipped
            and not any(f"{key}.".startswith(f"{name}.") for name in NO_INPUTS)
            and (_is_input(value) or _find_package(value) or _find_commit(value))
        ):
            skipped.add(value)
            inputs[key] = value
    return inputs


def _is_input(value: str) -> bool:
    """Check whether a value names a file or folder. The current folder and those that
    hold it are no input of a training, so "." and "/" are other settings.
    """
    try:
        path = Path(value).resolve()
        here = Path.cwd()
        return bool(value) and path.exists() and path not in (here, *here.parents)
    except (OSError, ValueError):  # too long for a name, or has a NUL
        return False


def model_checksum(model: str | Path) -> str:
    """Compute the checksum of a model by its content.

    model (str | Path): A file or folder, the name of an installed pipeline, or a name on the
        hub.
    RETURNS (str): The checksum of the files; for a name on the hub the name, with "@" and the
        commit in the local cache if there is one.
    RAISES (WeltError): If a path does not exist or can't be read.
    """
    path, name = Path(model), str(model)
    if path.exists():
        return checksum(path)
    if folder := _find_package(name):
        return checksum(folder)
    if not _HUB_NAME.fullmatch(name) or name[0] == ".":
        raise WeltError(f"{model}: no such file, folder or installed pipeline")
    commit = _find_commit(name)
    return f"{name}@{commit}" if commit else name


def _find_package(name: str) -> Path | None:
    """Find the folder of an installed pipeline without importing it."""
    if not _PACKAGE_NAME.fullmatch(name):
        return None
    try:
        spec = importlib.util.find_spec(name.replace("-", "_"))
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin:
        return None
    folder = Path(spec.origin).parent
    return folder if (folder / "meta.json").is_file() else None


def _find_commit(name: str) -> str:
    """Return the commit of a model of the hub in the local cache; nothing is fetched."""
    if not _HUB_NAME.fullmatch(name):
        return ""
    try:
        from huggingface_hub import try_to_load_from_cache

        file = try_to_load_from_cache(name, "config.json")
    except Exception:  # not installed, or no valid name
        return ""
    return Path(file).parent.name if isinstance(file, str) else ""


def checksum_bytes(content: bytes) -> str:
    """Compute the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def checksum(path: str | Path) -> str:
    """Compute the SHA-256 of the whole content of a file or folder."""
    path = Path(path)
    try:
        if not path.is_dir():
            return _checksum_file(path)
        members = [
            [file.relative_to(path).as_posix(), _checksum_file(file)]
            for file in sorted(_walk(path, set()))
        ]
    except OSError as err:
        raise WeltError(f"{path}: can't read this: {err.strerror}") from None
    return checksum_bytes(json.dumps(members).encode("ascii"))


def _walk(folder: Path, parents: set[Path]) -> Iterator[Path]:
    real = Path(os.path.realpath(folder))
    if real in parents:
        return  # a link to a folder above
    for path in folder.iterdir():
        if is_temporary(path.name) or path.name == "__pycache__":
            continue
        if path.is_dir():
            yield from _walk(path, {*parents, real})
        elif path.is_file():
            yield path


def _checksum_file(path: Path) -> str:
    stat = path.stat()
    state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < RECENT:
        return _read_checksum(str(path.absolute()))
    return _cached_checksum(str(path.absolute()), *state)


def checksum_stream(file: BinaryIO) -> str:
    """Compute the SHA-256 of all that is left in an open file, in hexadecimal."""
    sha = hashlib.sha256()
    while content := file.read(1 << 20):
        sha.update(content)
    return sha.hexdigest()


def _read_checksum(path: str) -> str:
    with open(path, "rb") as file:
        return checksum_stream(file)


@lru_cache(maxsize=1 << 14)
def _cached_checksum(path: str, *state: int) -> str:
    return _read_checksum(path)


def _to_json_data(value: Any) -> Any:
    """Convert settings to what JSON makes of them, so that stored ones compare equal."""
    try:
        return json.loads(json.dumps(value, default=_convert))
    except (TypeError, ValueError, RecursionError) as err:
        raise WeltError(f"Settings must be JSON data: {first_line(err)}") from None


def _convert(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is none")


def _leaves(
    value: Any, name: str = "", *, lists: bool = False
) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and value of everything that is no mapping."""
    if isinstance(value, Mapping) and value:
        items = [(str(key), member) for key, member in value.items()]
    elif lists and isinstance(value, (list, tuple)):
        items = [(str(i), member) for i, member in enumerate(value)]
    else:
        # As JSON, because 1, 1.0 and true are equal in Python, and NaN is not
        yield name, value if lists else json.dumps(value, sort_keys=True)
        return
    for key, member in items:
        yield from _leaves(member, f"{name}.{key}" if name else key, lists=lists)


def _remove(config: Any, keys: Sequence[str]) -> None:
    for key in keys[:-1]:
        config = config.get(key)
        if not isinstance(config, dict):
            return
    config.pop(keys[-1], None)
