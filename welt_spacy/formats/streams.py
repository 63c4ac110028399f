"""Files and addresses as streams of bytes, decompressed."""

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import WeltError, extra_needed, first_line
from .problems import Damaged

PACKED = (".gz", ".zst")
BUFFER = 1 << 20
STEP = 1 << 16
# A compressed file that grows by more than this factor is not text: XML and JSON grow by 5
# to 20. The first bytes may be anything.
MAX_EXPANSION = 300
UNCHECKED_BYTES = 64 << 20


def find_files(inputs: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """Find the files of an input."""
    files: list[str] = []
    for name in inputs:
        if "://" in name:
            members = _remote_files(name)
        elif os.path.isdir(name):
            members = _folder_files(Path(name))
        elif os.path.isfile(name):
            files.append(name)
            continue
        else:
            raise WeltError(f"{name}: there is no such file or folder")
        readable = [file for file in members if suffix_of(file) in suffixes]
        if not readable:
            raise WeltError(
                f"{name} has no file that can be read ({', '.join(suffixes)}, and these "
                f"with {' or '.join(PACKED)})"
            )
        files.extend(readable)
    repeated = sorted({file for file in files if files.count(file) > 1})
    if repeated:
        raise WeltError(f"{repeated[0]} is named twice: leave one out")
    return files


def _folder_files(root: Path) -> list[str]:
    return [
        str(path)
        for path in sorted(root.rglob("*"), key=lambda p: p.parts)
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]


def suffix_of(address: str) -> str:
    """Return the ending of a file name in lower case, without .gz or .zst."""
    name = address.rsplit("/", 1)[-1].lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix


def stem_of(address: str) -> str:
    """Return the name of a file without folders and endings."""
    name = address.replace("\\", "/").rsplit("/", 1)[-1]
    for packed in PACKED:
        if name.lower().endswith(packed):
            name = name[: -len(packed)]
    return Path(name).stem or "file"


def is_packed(address: str) -> bool:
    """Return whether a file is gzip or zstd, by its name."""
    return address.lower().endswith(PACKED)


@contextlib.contextmanager
def open_raw(address: str) -> Iterator[BinaryIO]:
    """Open a file, or an address that fsspec knows, as seekable bytes."""
    try:
        if "://" in address:
            file: Any = _fsspec().open(address, "rb").open()
        else:
            file = open(address, "rb")  # noqa: SIM115
        with file:
            yield file
    except (WeltError, GeneratorExit):
        raise
    except OSError as err:
        reason = err.strerror or first_line(err)
        raise WeltError(f"{address}: can't read this file: {reason}") from None
    except (ValueError, ImportError) as err:
        if "://" not in address:
            raise
        # An unknown protocol, or one whose package is missing
        raise WeltError(f"{address}: can't read this: {first_line(err)}") from None


@contextlib.contextmanager
def open_stream(address: str, offset: int = 0) -> Iterator[Any]:
    """Open a file, decompressed if its name ends in .gz or .zst."""
    with open_raw(address) as raw:
        if not is_packed(address):
            raw.seek(offset)
            yield io.BufferedReader(raw, BUFFER)  # type: ignore[type-var]
            return
        unpacked = _Unpacked(raw, _unpack(raw, address), address)
        stream = io.BufferedReader(unpacked, BUFFER)
        while offset:
            n_skipped = len(stream.read(min(offset, BUFFER)))
            if not n_skipped:
                break
            offset -= n_skipped
        yield stream


class _Unpacked(io.RawIOBase):
    """Decompressed bytes; all damage raises `Damaged`.

    They are decompressed in steps of the same size for every reader, so that `scan` and `read`
    get the same documents of a damaged file.
    """

    def __init__(self, packed: BinaryIO, inner: Any, address: str) -> None:
        super().__init__()
        self.packed, self.inner, self.address = packed, inner, address
        self.n_read = 0
        self.ahead = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.ahead:
            self.ahead = self._step()
        content = self.ahead[: len(buffer)]
        self.ahead = self.ahead[len(content) :]
        buffer[: len(content)] = content
        return len(content)

    def _step(self) -> bytes:
        try:
            content = self.inner.read1(STEP)
        except (EOFError, zlib.error, gzip.BadGzipFile) as err:
            raise self._damaged(first_line(err)) from None
        except OSError:
            raise
        except Exception as err:  # zstd has its own exception
            raise self._damaged(first_line(err)) from None
        self.n_read += len(content)
        if self.n_read > UNCHECKED_BYTES and (
            self.n_read > MAX_EXPANSION * self.packed.tell()
        ):
            raise self._damaged(
                f"it grows to more than {MAX_EXPANSION} times its size, so the rest is "
                "not read"
            )
        return content

    def _damaged(self, reason: str) -> Damaged:
        return Damaged(
            f"{self.address}: can't be unpacked after {self.n_read:,} bytes: {reason}"
        )


def _unpack(raw: BinaryIO, address: str) -> Any:
    if address.lower().endswith(".gz"):
        return gzip.GzipFile(fileobj=raw, mode="rb")
    with extra_needed(f"{address}: zstd", "annotation"):
        from backports import zstd
    return zstd.ZstdFile(raw)


def _fsspec() -> Any:
    with extra_needed("an address", "annotation"):
        import fsspec
    return fsspec


def _remote_files(address: str) -> list[str]:
    fsspec = _fsspec()
    try:
        fs, path = fsspec.core.url_to_fs(address)
        if fs.isfile(path):
            return [address]
        return sorted(fs.unstrip_protocol(file) for file in fs.find(path))
    except Exception as err:  # each file system has its own
        raise WeltError(f"{address}: can't be read: {first_line(err)}") from None
