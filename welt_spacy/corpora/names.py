"""Lists of names, as patterns of spaCy's `span_ruler`: JSONL with "label" and "pattern"."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..errors import WeltError, first_line, shorten
from ..tokens.docs import read_docs
from ..util.files import write_atomically

Pattern = dict[str, Any]
EXAMPLE = '{"label": "Chemical", "pattern": "aspirin"}'


def write_names(data: Sequence[Path], output: Path) -> Counter[str]:
    """Write the entities of `.spacy` files as a list of names."""
    vocab = Vocab()
    names = collect_names(doc for path in data for doc in read_docs(path, vocab))
    if not names:
        raise WeltError(f"{', '.join(map(str, data))}: there are no entities")
    lines = (json.dumps(name, ensure_ascii=False) + "\n" for name in names)
    write_atomically(output, "".join(lines))
    return Counter(name["label"] for name in names)


def collect_names(docs: Iterable[Doc]) -> list[Pattern]:
    """Collect the entities of docs as sorted patterns, each name once, whatever its case."""
    names: dict[tuple[str, str], str] = {}
    for doc in docs:
        for ent in doc.ents:
            names.setdefault((ent.label_, ent.text.lower()), ent.text)
    return [{"label": key[0], "pattern": names[key]} for key in sorted(names)]


def read_names(path: str | Path) -> list[Pattern]:
    """Read a list of names. Registered as `welt_spacy.Names.v1` in `@readers`.

    path (str | Path): JSONL with "label" and "pattern", which is a string or a list of
        attributes of tokens.
    RETURNS (list[dict[str, Any]]): The patterns.
    RAISES (WeltError): If the file can't be read or has no names, or a line is not a pattern.
    """
    patterns = []
    try:
        with Path(path).open(encoding="utf8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    patterns.append(_parse_line(line, f"{path}, line {number}"))
    except (OSError, UnicodeDecodeError) as err:
        raise WeltError(f"{path} can't be read: {first_line(err)}") from None
    if not patterns:
        raise WeltError(f"{path} has no names: a line for each is needed, {EXAMPLE}")
    return patterns


def _parse_line(line: str, where: str) -> Pattern:
    try:
        pattern = json.loads(line)
    except ValueError:
        pattern = None
    if not (
        isinstance(pattern, dict)
        and isinstance(pattern.get("label"), str)
        and pattern["label"]
        and isinstance(pattern.get("pattern"), (str, list))
        and pattern["pattern"]
    ):
        raise WeltError(
            f"{where}: {shorten(line.strip(), 60)!r} is not a name with its label, such "
            f"as {EXAMPLE}"
        )
    return pattern
