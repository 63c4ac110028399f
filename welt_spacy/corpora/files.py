"""Writing files so that a file under its own name is always whole."""

import os
import tempfile
from pathlib import Path
from typing import Union

from ..errors import WeltError


def write_atomically(path: Path, content: Union[str, bytes]) -> None:
    """Write a file to a temporary name beside it, then rename.

    path (Path): The file; folders above it are made.
    content (Union[str, bytes]): Its content; text is written as UTF-8.
    RAISES (WeltError): If the place can't be written to.
    """
    data = content.encode("utf8") if isinstance(content, str) else content
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as err:
        raise WeltError(f"{path}: can't write this file: {err.strerror}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
