"""Read YAML files."""

from pathlib import Path
from typing import Any

import srsly

from ..errors import WeltError


def read_yaml(path: Path, what: str) -> Any:
    """Read a YAML file.

    path (Path): The file.
    what (str): What is in it, for the message.
    RETURNS (Any): Its content.
    RAISES (WeltError): If it is missing or is not YAML.
    """
    if not path.is_file():
        raise WeltError(f"{path} is not a file: a YAML file with {what} is needed")
    try:
        return srsly.read_yaml(path)
    except Exception as err:  # ruamel has many
        raise WeltError(
            f"{path} is not YAML: {' '.join(str(err).split())[:200]}"
        ) from None
