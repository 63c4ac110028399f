"""Check the rules of style that ruff does not know: names, docstrings and sizes.

Called by `make lint`. Names and docstrings are checked in all Python files, sizes and
signatures in the package. With paths as arguments, only problems in these are printed:

    python scripts/check_style.py welt_spacy/scoring tests/scoring
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDERS = ("welt_spacy", "scripts", "benchmarks", "tests", "docs")
EMPTY_NAMES = {"found", "told", "made", "asked", "kept", "some", "how", "thing"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
QUESTION_WORDS = ("What", "Which", "Who", "How", "Whether")
MAX_MODULE_LINES = 450
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 10
# The imperative verbs that docstrings of functions begin with
VERB_LIST = """
Activate Add Adjust Align Allow Annotate Append Apply Approximate Assert Assign Attach Average
Batch Begin Block Bound Build Calibrate Call Cancel Capture Center Change Check Choose
Clean Clear Clip Close Collect Combine Compare Complete Compress Compute Concatenate
Configure Connect Construct Continue Convert Copy Correct Count Cover Create Cut
Deactivate Decide Declare Decode Define Delete Deliver Derive Describe Deserialize
Detach Detect Determine Disable Discard Display Distill Divide Do Download Draw Drop
Dump Embed Empty Enable Encode End Ensure Enter Estimate Evaluate Execute Exit Expand
Expect Export Express Extend Extract Fail Feed Fetch Fill Filter Find Finish Fit Fix
Flatten Flip Fold Follow Force Format Forward Freeze Gather Generate Get Group Guess
Handle Hash Hide Hold Identify Ignore Import Index Infer Initialize Insert Install
Interpolate Invert Join Keep Kill Label Lay Leave Let Limit Link List Load Locate Lock
Log Look Lower Make Map Mark Mask Match Measure Merge Mock Move Multiply Name Normalize
Note Number Offer Omit Open Optimize Order Override Pack Package Pad Pair Parse Pass
Patch Perform Pick Pickle Place Plan Play Plot Point Pool Predict Prepare Pretend Print
Process Produce Project Propagate Provide Prune Publish Push Quantize Quote Raise Rank
Read Rebuild Receive Recompute Record Recover Reduce Refuse Register Reject Release
Remove Rename Render Repair Repeat Replace Report Request Require Rescale Reset Resize
Resolve Restart Restore Resume Retrieve Retry Return Reuse Reverse Revert Rewrite Round
Run Sample Save Scale Scan Score Search Select Send Separate Serialize Serve Set Shard
Share Shift Shorten Show Shuffle Shut Sign Simulate Skip Slice Sort Spawn Split Spread
Squash Stack Start Stop Store Stream Strip Submit Subtract Sum Summarize Supervise
Supply Support Swap Tabulate Tag Take Terminate Test Time Tokenize Track Trade Train
Transfer Transform Translate Traverse Trim Truncate Try Tune Turn Undo Unfold Unfreeze
Uninstall Unite Unpack Update Use Validate Verify Visit Wait Walk Warn Watch Weigh
Weight Wrap Write Yield
"""
VERBS = set(VERB_LIST.split())


class Function(NamedTuple):
    """A function or method with its place.

    node (ast.FunctionDef): The function.
    owner (ast.ClassDef | None): The class of a method.
    """

    node: ast.FunctionDef | ast.AsyncFunctionDef
    owner: ast.ClassDef | None


def main() -> None:
    """Print each violation as "file:line: problem" and exit with 1 if there is one."""
    root = Path(__file__).parents[1]
    files = [p for name in FOLDERS for p in sorted((root / name).rglob("*.py"))]
    trees = {p: ast.parse(p.read_text(encoding="utf8")) for p in files}
    problems = [
        f"{path.relative_to(root)}:{line}: {problem}"
        for path, tree in trees.items()
        for line, problem in sorted(check_file(path.relative_to(root), tree))
    ]
    package = {p.relative_to(root): t for p, t in trees.items()}
    problems += list(check_signatures(package))
    if paths := tuple(sys.argv[1:]):
        problems = [problem for problem in problems if problem.startswith(paths)]
    print("\n".join(problems) if problems else "Style: no problems")
    sys.exit(1 if problems else 0)


def check_file(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the problem of each violation in a file."""
    yield from check_names(tree)
    yield from check_docstrings(tree)
    if path.parts[0] == "welt_spacy":
        yield from check_sizes(tree)


def check_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield names that do not say what they hold, where they are bound."""
    for node in ast.walk(tree):
        for name in get_bound_names(node):
            if name in EMPTY_NAMES:
                line = getattr(node, "lineno", 1)
                yield line, f"{name!r} says nothing: name it for its content"


def get_bound_names(node: ast.AST) -> list[str]:
    """Return the names that a node of a syntax tree binds."""
    if isinstance(node, ast.Name | ast.Attribute):
        is_bound = isinstance(node.ctx, ast.Store)
        name = node.id if isinstance(node, ast.Name) else node.attr
        return [name] if is_bound else []
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.alias):
        return [node.asname or node.name]
    return []


def check_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield docstrings that begin with a question word, and those of functions that do not
    begin with a verb. Properties may have noun phrases.
    """
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED):
            doc = ast.get_docstring(node)
            if doc and doc.split()[0] in QUESTION_WORDS:
                line = getattr(node, "lineno", 1)
                yield line, "the docstring begins with a question word: say what it is"
    for node, _ in get_functions(tree):
        doc = ast.get_docstring(node)
        is_property = any("property" in ast.unparse(d) for d in node.decorator_list)
        if (
            doc
            and not is_property
            and (first := doc.split()[0].rstrip(".,:")) not in VERBS
        ):
            yield (
                node.lineno,
                f"the docstring of {node.name} begins with {first!r}: "
                "begin with a verb (scripts/check_style.py lists them)",
            )


def check_sizes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield modules and functions that are too long, and long lists of parameters.

    Registered factories, constructors and commands may have more parameters, because a
    config or a user sets them by name.
    """
    end = max((node.end_lineno or 0 for node in tree.body), default=0)
    if end > MAX_MODULE_LINES:
        yield 1, f"{end} lines: at most {MAX_MODULE_LINES}"
    for node, owner in get_functions(tree):
        lines = count_code_lines(node)
        if lines > MAX_FUNCTION_LINES:
            message = f"{node.name} has {lines} lines of code: at most"
            yield node.lineno, f"{message} {MAX_FUNCTION_LINES}"
        arguments = node.args
        n = len(arguments.args) + len(arguments.kwonlyargs) - (owner is not None)
        by_name = node.name == "__init__" or node.name.endswith("_cli")
        if n > MAX_PARAMETERS and not by_name and not is_factory(node):
            yield node.lineno, f"{node.name} has {n} parameters: at most 10"


def is_factory(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function has the name or decorator of a registered one."""
    decorators = " ".join(map(ast.unparse, node.decorator_list))
    registered = ("factory", "registry", ".command", ".get(", ".post(")
    names = ("make_", "build_", "create_", "configure_")
    return node.name.startswith(names) or any(r in decorators for r in registered)


def count_code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body, without its docstring and its parameters."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    if not body:
        return 0
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def get_functions(tree: ast.Module) -> Iterator[Function]:
    """Yield all functions and methods of a module."""
    owners = {
        id(member): node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for member in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(node, owners.get(id(node)))


def check_signatures(trees: dict[Path, ast.Module]) -> Iterator[str]:
    """Yield functions with `dict[str, Any]` in their signature that another package of
    welt_spacy imports.
    """
    untyped = {
        (*path.with_suffix("").parts, node.name): (path, node.lineno)
        for path, tree in trees.items()
        if path.parts[0] == "welt_spacy"
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and has_untyped_dict(node)
    }
    for path, tree in trees.items():
        for key in get_imports(path, tree):
            if key in untyped and key[:2] != path.parts[:2]:
                where, line = untyped.pop(key)
                problem = "has dict[str, Any] in its signature"
                yield f"{where}:{line}: {key[-1]} {problem} and is imported by {path}"


def has_untyped_dict(node: ast.FunctionDef) -> bool:
    """Return whether an argument or the returned value is annotated as an untyped dict."""
    arguments = [*node.args.args, *node.args.kwonlyargs]
    annotations = [node.returns, *(argument.annotation for argument in arguments)]
    return any(
        a is not None and "dict[str, Any]" in ast.unparse(a) for a in annotations
    )


def get_imports(path: Path, tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """Yield the parts of the full name of everything that a module of the package imports
    from it.
    """
    if path.parts[0] != "welt_spacy":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parts[: len(path.parts) - node.level]
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                yield (*base, *module, alias.name)


if __name__ == "__main__":
    main()
