"""Public functions, methods and classes are documented in spaCy's form: a line for each
argument, RETURNS or YIELDS with the type, RAISES where an error is raised."""

import importlib
import inspect
import pkgutil
import re

import pytest

import welt_spacy

# The commands: typer makes their help from the declarations of the options
EXCLUDED = ("welt_spacy.cli.", "welt_spacy.__main__", "welt_spacy.experiments.steps")
NOT_TOLD = {"self", "cls", "args", "kwargs"}


def modules():
    for info in pkgutil.walk_packages(welt_spacy.__path__, "welt_spacy."):
        if not info.name.startswith(EXCLUDED):
            yield info.name


def public(module):
    for name, item in vars(module).items():
        if name.startswith("_") or getattr(item, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(item):
            yield name, item, item.__doc__ or ""
        elif inspect.isclass(item):
            doc = item.__doc__ or ""
            if issubclass(item, tuple):
                yield name, None, doc
                missing = [f for f in item._fields if not re.search(rf"\b{f}\b", doc)]
                assert missing == [], f"{name}: fields {missing}"
            for method, function in vars(item).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    told = f"{function.__doc__ or ''}"
                    yield f"{name}.{method}", function, told


@pytest.mark.parametrize("name", list(modules()))
def test_public_names_are_documented(name):
    if name.endswith(("forward", "shim", "serialization", "onnx_export", "pretrained")):
        pytest.importorskip("torch")
    problems = []
    for where, function, doc in public(importlib.import_module(name)):
        if not doc.strip():
            problems.append(f"{where}: no docstring")
        if function is None or re.search(r"\b([Ss]ee|described) ", doc):
            continue  # another docstring tells
        signature = inspect.signature(function)
        for argument in signature.parameters:
            if argument not in NOT_TOLD and not re.search(rf"\b{argument}\b", doc):
                problems.append(f"{where}: {argument} is not told")
        returns = signature.return_annotation
        nothing = (None, "None", inspect.Signature.empty)
        told = re.search(r"RETURNS|YIELDS|Registered as", doc) is not None
        if returns not in nothing and not told and "\n" in doc.strip():
            problems.append(f"{where}: what it returns is not told")
        raised = set(re.findall(r"raise (\w+)\(", inspect.getsource(function)))
        if raised - {"KeyError", "StopIteration"} and "RAISES" not in doc:
            problems.append(f"{where}: what it raises is not told")
    assert problems == []
