"""Fetch the files of a corpus from mirror, cache or publisher, in this order.

Pooch downloads to a temporary name, verifies the SHA-256 and renames, so a file under its own
name is always complete. Existing files are not fetched again.
"""

import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pooch

from ..errors import WeltError
from ..util.files import write_atomically
from ..util.fingerprint import checksum_bytes
from .catalog import Corpus, CorpusFile

MIRROR_VARIABLE = "WELT_CORPORA_MIRROR"
CACHE_VARIABLE = "WELT_CORPORA_CACHE"
# Checksums of files that have none in the manifest, as first downloaded
TRUST_FILE = "trusted.json"


def default_cache() -> Path:
    """Return the folder of downloaded files: `WELT_CORPORA_CACHE`, or the user's cache."""
    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("welt-spacy"))


def fetch(
    corpus: Corpus,
    *,
    cache: Path | None = None,
    mirror: str | None = None,
    progress: bool = False,
    offline: bool = False,
) -> dict[str, Path]:
    """Fetch the files of a corpus.

    corpus (Corpus): The corpus.
    cache (Path | None): The folder of downloaded files; None for `default_cache()`.
    mirror (str | None): A folder or an address prefix that is tried first; None for the
        environment variable `WELT_CORPORA_MIRROR`.
    progress (bool): Whether to show progress.
    offline (bool): Whether nothing is downloaded from the publisher.
    RETURNS (dict[str, Path]): The verified file of each split.
    RAISES (WeltError): If no source has a file, or a checksum is wrong.
    """
    cache = default_cache() if cache is None else Path(cache)
    mirror = os.environ.get(MIRROR_VARIABLE) if mirror is None else mirror
    trust = _read_trust(cache)
    paths: dict[str, Path] = {}
    for split, file in corpus.files.items():
        expected = file.sha256 or trust.get(file.mirror_path)
        path = cache / file.mirror_path
        failures: list[str] = []
        sources = [
            lambda f=file, e=expected: _from_mirror(f, e, cache, mirror, progress),
            lambda p=path, e=expected: _from_cache(p, e),
        ]
        if not offline:
            sources.append(
                lambda f=file, e=expected: _from_publisher(f, e, cache, progress)
            )
        if not any(_try(source, failures) for source in sources):
            raise WeltError(
                f"Can't get {file.mirror_path} of {corpus.id}. Tried "
                f"{'; '.join(failures)}. Without a network, set {MIRROR_VARIABLE} to a "
                "folder or an address prefix that has this path."
            )
        if expected is None:
            trust[file.mirror_path] = pooch.file_hash(str(path))
            write_atomically(
                cache / TRUST_FILE, json.dumps(trust, indent=2, sort_keys=True) + "\n"
            )
        paths[split] = path
    return paths


class _NotThere(Exception):
    """The source does not have the file; the next one may."""


def _try(source: Callable[[], None], failures: list[str]) -> bool:
    try:
        source()
    except _NotThere as err:
        failures.append(str(err))
        return False
    return True


def _from_mirror(
    file: CorpusFile,
    sha256: str | None,
    cache: Path,
    mirror: str | None,
    progress: bool,
) -> None:
    if not mirror:
        raise _NotThere(f"no mirror ({MIRROR_VARIABLE} is not set)")
    path = cache / file.mirror_path
    if "://" in mirror:
        _retrieve(
            f"{mirror.rstrip('/')}/{file.mirror_path}", path, sha256, "mirror", progress
        )
        return
    original = Path(mirror) / file.mirror_path
    if not original.is_file():
        raise _NotThere(f"mirror {original} (no such file)")
    if not _is_valid(path, sha256):
        _store(original.read_bytes(), path, sha256, str(original))


def _from_cache(path: Path, sha256: str | None) -> None:
    if not _is_valid(path, sha256):
        reason = "wrong checksum" if path.is_file() else "no such file"
        raise _NotThere(f"cache {path} ({reason})")


def _from_publisher(
    file: CorpusFile, sha256: str | None, cache: Path, progress: bool
) -> None:
    path = cache / file.mirror_path
    if file.member is None:
        _retrieve(file.url, path, sha256, "publisher", progress)
        return
    # The manifest has checksums of the members, not of the archive
    archive = cache / "archives" / file.url.rsplit("/", 1)[-1]
    _retrieve(file.url, archive, None, "publisher", progress)
    try:
        with zipfile.ZipFile(archive) as members:
            content = members.read(file.member)
    except (zipfile.BadZipFile, KeyError) as err:
        archive.unlink()
        raise _NotThere(f"publisher {file.url} (not the archive: {err})") from None
    _store(content, path, sha256, file.url)


def _is_valid(path: Path, sha256: str | None) -> bool:
    return path.is_file() and (sha256 is None or pooch.file_hash(str(path)) == sha256)


def _store(content: bytes, path: Path, sha256: str | None, source: str) -> None:
    if sha256 is not None and checksum_bytes(content) != sha256:
        raise _wrong_file(source, sha256)
    write_atomically(path, content)


def _wrong_file(source: str, sha256: str) -> WeltError:
    return WeltError(
        f"{source}: the SHA-256 is not {sha256}, so the file is damaged or of another "
        "version. Replace it."
    )


def _retrieve(
    url: str, path: Path, sha256: str | None, source: str, progress: bool
) -> None:
    show = progress and sys.stderr.isatty()
    downloader = (
        pooch.FTPDownloader(progressbar=show, timeout=30)
        if url.startswith("ftp")
        else pooch.HTTPDownloader(progressbar=show, timeout=30)
    )
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # it logs unknown checksums at length
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}" if sha256 else None,
            fname=path.name,
            path=path.parent,
            downloader=downloader,
        )
    except ValueError as err:
        if sha256 is None or sha256 not in str(err):
            raise _NotThere(f"{source} {url} ({_short(err)})") from None
        raise _wrong_file(url, sha256) from None
    except OSError as err:  # requests' errors are OSErrors too
        if err.errno is not None and err.filename is not None:
            raise WeltError(
                f"{err.filename}: can't write here: {err.strerror}"
            ) from None
        raise _NotThere(f"{source} {url} ({_short(err)})") from None
    finally:
        logger.setLevel(level)


def _short(err: Exception) -> str:
    reason = str(getattr(err, "reason", "") or err)
    for name in ("NameResolutionError", "ConnectTimeout", "Connection refused"):
        if name in reason:
            return {"NameResolutionError": "no such host"}.get(name, name.lower())
    return reason.splitlines()[0][:120] if reason else type(err).__name__


def _read_trust(cache: Path) -> dict[str, str]:
    path = cache / TRUST_FILE
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise WeltError(f"{path}: can't read this file: {err.strerror}") from None
    except ValueError:
        raise WeltError(
            f"{path}:1: not JSON: remove this file to trust the files that are fetched next"
        ) from None
