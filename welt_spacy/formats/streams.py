"""Files and addresses as streams of bytes, unpacked on the way."""

import contextlib
import gzip
import hashlib
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
# A packed file that grows by more than so much is not text: XML and JSON grow by 5 to 20.
# The first bytes may be anything.
MOST_EXPANSION = 300
FREE = 64 << 20
# Of a file's beginning and end, to tell whether it is the same one
TOLD_BYTES = 1 << 16


def find_files(inputs: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """Find the files that are meant.

    inputs (Sequence[str]): Files, folders, or addresses that fsspec knows, such as
        "s3://bucket/folder" (needs the extra `annotation`).
    suffixes (Sequence[str]): What names of files in folders end in to be read, without
        .gz or .zst.
    RETURNS (list[str]): The files: inputs in their order, those of a folder sorted.
    RAISES (WeltError): If there is nothing, or a file is there twice.
    """
    found: list[str] = []
    for told in inputs:
        if "://" in told:
            files = _remote_files(told)
        elif os.path.isdir(told):
            root = Path(told)
            files = [
                str(path)
                for path in sorted(root.rglob("*"), key=lambda p: p.parts)
                if path.is_file() and not _is_hidden(path.relative_to(root).parts)
            ]
        elif os.path.isfile(told):
            found.append(told)
            continue
        else:
            raise WeltError(f"{told}: there is no such file or folder")
        some = [file for file in files if suffix_of(file) in suffixes]
        if not some:
            raise WeltError(
                f"{told} has no file that can be read ({', '.join(suffixes)}, and these "
                f"with {' or '.join(PACKED)})"
            )
        found.extend(some)
    twice = sorted({file for file in found if found.count(file) > 1})[:1]
    if twice:
        raise WeltError(f"{twice[0]} is named twice: leave one out")
    return found


def suffix_of(address: str) -> str:
    """RETURNS (str): What a file's name ends in, in lower case, without .gz or .zst.

    address (str): The file, or the address.
    """
    name = address.rsplit("/", 1)[-1].lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix


def stem_of(address: str) -> str:
    """RETURNS (str): The name of a file, without folders and endings.

    address (str): The file, or the address.
    """
    name = address.replace("\\", "/").rsplit("/", 1)[-1]
    for packed in PACKED:
        if name.lower().endswith(packed):
            name = name[: -len(packed)]
    return Path(name).stem or "file"


def is_packed(address: str) -> bool:
    """RETURNS (bool): Whether a file is gzip or zstd, by its name.

    address (str): The file, or the address.
    """
    return address.lower().endswith(PACKED)


def fingerprint(address: str) -> dict[str, Any]:
    """Tell a file from others, and from what it was before it was changed.

    address (str): The file.
    RETURNS (dict[str, Any]): Its size in bytes, and a checksum of its beginning and end.
    RAISES (WeltError): If it can't be read.
    """
    with open_raw(address) as file:
        size = file.seek(0, io.SEEK_END)
        sha = hashlib.sha256()
        for place in sorted({0, max(0, size - TOLD_BYTES)}):
            file.seek(place)
            sha.update(file.read(TOLD_BYTES))
    return {"bytes": size, "ends": sha.hexdigest()}


@contextlib.contextmanager
def open_raw(address: str) -> Iterator[BinaryIO]:
    """Open a file as it is.

    address (str): A path, or an address that fsspec knows.
    YIELDS (BinaryIO): The file; it can be sought in.
    RAISES (WeltError): If it can't be opened, or reading fails.
    """
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
        # A protocol that is not known, or whose package is missing
        raise WeltError(f"{address}: can't read this: {first_line(err)}") from None


@contextlib.contextmanager
def open_stream(address: str, offset: int = 0) -> Iterator[Any]:
    """Open a file for reading from a place on, unpacked if its name says that it is
    packed.

    address (str): The file.
    offset (int): How many bytes, of the unpacked ones, to pass over.
    YIELDS (io.BufferedReader): The bytes. Reading raises `Damaged` where the packed file
        is damaged or grows without measure.
    RAISES (WeltError): As `open_raw`.
    """
    with open_raw(address) as raw:
        if not is_packed(address):
            raw.seek(offset)
            yield io.BufferedReader(raw, BUFFER)  # type: ignore[type-var]
            return
        unpacked = _Unpacked(raw, _unpack(raw, address), address)
        stream = io.BufferedReader(unpacked, BUFFER)
        while offset:
            passed = len(stream.read(min(offset, BUFFER)))
            if not passed:
                break
            offset -= passed
        yield stream


class _Unpacked(io.RawIOBase):
    """Unpacked bytes, with one kind of error for all that can be wrong with them.

    They are unpacked in the same steps whoever reads them, so that a damaged file has the
    same documents for everyone.
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
        except Exception as err:  # zstd has an exception of its own
            raise self._damaged(first_line(err)) from None
        self.n_read += len(content)
        if self.n_read > FREE and self.n_read > MOST_EXPANSION * self.packed.tell():
            raise self._damaged(
                f"it grows to more than {MOST_EXPANSION} times its size, so the rest is "
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


def _is_hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") for part in parts)


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
