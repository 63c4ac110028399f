"""The docs as a site: the pages of docs/, and API pages made from the docstrings."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

# Before autodoc, which sets typing.TYPE_CHECKING, with which FastAPI can't be imported
import fastapi  # noqa: E402, F401

from welt_spacy import __version__  # noqa: E402

project = "welt-spacy"
author = "The welt-spacy founders"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"welt-spacy {version}"
# Readable offline: nothing is fetched, and pages link to files
html_copy_source = False
html_show_sourcelink = False
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# "\|" in tables, and links to files of the repository that are not pages
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have them
autodoc_mock_imports: list[str] = []

_FIELD = re.compile(r"^(RETURNS|YIELDS|RAISES) \(([^)]*(?:\([^)]*\))?[^)]*)\): ?(.*)")
_ARGUMENT = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*)(?: \((.+?)\))?: (\S.*)")


def from_spacy_form(
    app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]
) -> None:
    """Turn spaCy's form of docstrings into fields that Sphinx knows."""
    names = _argument_names(item)
    changed: list[str] = []
    in_field = False
    for line in lines:
        field, argument = _FIELD.match(line), _ARGUMENT.match(line)
        if field:
            kind, type_name, rest = field.groups()
            if not in_field:
                changed.append("")
            if kind == "RAISES":
                changed.append(f":raises {type_name}: {rest}")
            else:
                changed.append(f":returns: ``{type_name}``. {rest}")
            in_field = True
        elif argument and (argument[2] or set(argument[1].split(", ")) <= names):
            joined_names, type_name, rest = argument.groups()
            if not in_field:
                changed.append("")
            *others, last = joined_names.split(", ")
            # Of arguments on one line, the last one has the text
            for one in others:
                changed.append(f":param {one}: see {last}")
            changed.append(
                f":param {last}: " + (f"``{type_name}``. " if type_name else "") + rest
            )
            in_field = True
        elif in_field and line.strip() and _FIELD.match(lines[0]):
            changed.append(f"    {line}")  # a docstring that is one field
        elif in_field and line.strip() and not line.startswith(" "):
            changed += ["", line]
            in_field = False
        else:
            # Examples and formulas are set off by their indent
            if line.startswith("    ") and not in_field and _begins_block(changed):
                changed += ["::", ""]
            changed.append(line)
    # Code in single backticks, which may run over the end of a line
    text = re.sub(r"(?<!`)`([^`]+?)`(?!`)", r"``\1``", "\n".join(changed))
    lines[:] = text.split("\n")


def _argument_names(item: Any) -> set:
    if inspect.isclass(item):
        fields = set(getattr(item, "_fields", ()))
        fields |= set(getattr(item, "__dataclass_fields__", ()))
        return fields | _argument_names(item.__init__)
    try:
        return set(inspect.signature(item).parameters)
    except (TypeError, ValueError):
        return set()


def _begins_block(lines: list[str]) -> bool:
    return bool(lines) and not lines[-1].strip()


def skip_fields(
    app: Any, what: str, name: str, item: Any, skip: bool, options: Any
) -> Any:
    """Skip fields of named tuples, which the docstring of the class describes."""
    return True if type(item).__name__ == "_tuplegetter" else None


def setup(app: Any) -> None:
    """Connect what is above."""
    app.connect("autodoc-process-docstring", from_spacy_form)
    app.connect("autodoc-skip-member", skip_fields)
