"""Lists of names, as patterns of spaCy's `span_ruler`: JSONL with "label" and "pattern"."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spacy.tokens import Doc

from ..errors import WeltError, first_line, shorten

Pattern = dict[str, Any]


def collect_names(docs: Iterable[Doc]) -> list[Pattern]:
    """Collect the names of the entities of docs, each once, whatever its case.

    docs (Iterable[Doc]): The docs.
    RETURNS (list[dict[str, str]]): "label" and "pattern", sorted.
    """
    found: dict[tuple, str] = {}
    for doc in docs:
        for ent in doc.ents:
            found.setdefault((ent.label_, ent.text.lower()), ent.text)
    return [{"label": key[0], "pattern": found[key]} for key in sorted(found)]


def read_names(path: str | Path) -> list[Pattern]:
    """Read a list of names. Registered as `welt_spacy.Names.v1` in `@readers`.

    path (str | Path): JSONL with "label" and "pattern", which is a string or a list of
        attributes of tokens.
    RETURNS (list[dict[str, Any]]): The patterns.
    RAISES (WeltError): If the file can't be read, a line is not a pattern, or there are
        none.
    """
    patterns = []
    try:
        with Path(path).open(encoding="utf8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    patterns.append(_read_line(line, f"{path}, line {number}"))
    except (OSError, UnicodeDecodeError) as err:
        raise WeltError(f"{path} can't be read: {first_line(err)}") from None
    if not patterns:
        raise WeltError(f"{path} has no names: a line for each is needed, {EXAMPLE}")
    return patterns


EXAMPLE = '{"label": "Chemical", "pattern": "aspirin"}'


def _read_line(line: str, where: str) -> Pattern:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not (
        isinstance(found, dict)
        and isinstance(found.get("label"), str)
        and found["label"]
        and isinstance(found.get("pattern"), (str, list))
        and found["pattern"]
    ):
        raise WeltError(
            f"{where}: {shorten(line.strip(), 60)!r} is not a name with its label, such "
            f"as {EXAMPLE}"
        )
    return found
