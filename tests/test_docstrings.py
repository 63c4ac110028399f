"""Docstrings: every public name has one, and what users call has a full one in spaCy's form:
each argument, RETURNS or YIELDS, and RAISES where an error is raised."""

import importlib
import inspect
import pkgutil
import re
from importlib.metadata import distribution

import pytest

import welt_spacy

# typer makes the help of commands from the declarations of their options
EXCLUDED = (
    "welt_spacy.cli.",
    "welt_spacy.__main__",
    "welt_spacy.experiments._subprocess",
)
NO_ARGUMENTS = {"self", "cls", "args", "kwargs"}
NEED_TORCH = ("forward", "shim", "serialization", "onnx_export", "pretrained")


def list_modules():
    for info in pkgutil.walk_packages(welt_spacy.__path__, "welt_spacy."):
        if not info.name.startswith(EXCLUDED):
            yield info.name


def list_public_objects():
    """Yield the names and values of registered objects and of the public API."""
    for entry in distribution("welt-spacy").entry_points:
        if entry.group != "spacy_cli":
            yield entry.name, entry.load()
    for name in welt_spacy.__all__:
        if not name.startswith("__"):
            yield name, getattr(welt_spacy, name)


def documented(module):
    """Yield the public functions, classes and methods that a module defines."""
    for name, item in vars(module).items():
        if name.startswith("_") or getattr(item, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(item):
            yield name, item
        elif inspect.isclass(item):
            yield name, item
            for method, function in vars(item).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", function


def find_gaps(function):
    """Return what the docstring of a function leaves out."""
    doc = function.__doc__ or ""
    if re.search(r"\b([Ss]ee|described) ", doc):
        return []  # the arguments are in another docstring
    signature = inspect.signature(function)
    gaps = [
        argument
        for argument in signature.parameters
        if argument not in NO_ARGUMENTS and not re.search(rf"\b{argument}\b", doc)
    ]
    returns = signature.return_annotation
    if (
        returns not in (None, "None", inspect.Signature.empty)
        and not re.search(r"RETURNS|YIELDS|Registered as", doc)
        and "\n" in doc.strip()
    ):
        gaps.append("RETURNS")
    raised = set(re.findall(r"raise (\w+)\(", inspect.getsource(function)))
    if raised - {"KeyError", "StopIteration"} and "RAISES" not in doc:
        gaps.append("RAISES")
    return gaps


@pytest.mark.parametrize("name", list(list_modules()))
def test_public_names_have_docstrings(name):
    if name.endswith(NEED_TORCH):
        pytest.importorskip("torch")
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip()
    undocumented = [
        name for name, item in documented(module) if not (item.__doc__ or "").strip()
    ]
    assert undocumented == []


@pytest.mark.parametrize(
    "item", [pytest.param(item, id=name) for name, item in list_public_objects()]
)
def test_what_users_call_is_documented_in_full(item):
    functions = [item]
    if inspect.isclass(item):
        functions = [
            function
            for name, function in vars(item).items()
            if inspect.isfunction(function) and not name.startswith("_")
        ]
    gaps = {f.__name__: missing for f in functions if (missing := find_gaps(f))}
    assert gaps == {}


def test_a_gap_is_noticed():
    def function(first, second) -> int:
        """Return something.

        first (int): A number.
        """
        raise ValueError("no")

    assert find_gaps(function) == ["second", "RETURNS", "RAISES"]
