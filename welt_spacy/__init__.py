"""Cost-sensitive named entity recognition for spaCy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .about import __version__

if TYPE_CHECKING:
    from .annotation.annotator import annotate
    from .evaluation.evaluate import compare, evaluate
    from .llm.generative_ner import GenerativeNER
    from .pipeline.welt_ner import WeltNER
    from .tokens.docs import pair_docs, read_docs, read_examples

# The public API; all other modules are internal
__all__ = [
    "GenerativeNER",
    "WeltNER",
    "__version__",
    "annotate",
    "compare",
    "evaluate",
    "pair_docs",
    "read_docs",
    "read_examples",
]

# Imported on first use, because spaCy takes seconds to import
_MODULES = {
    "GenerativeNER": "llm.generative_ner",
    "WeltNER": "pipeline.welt_ner",
    "annotate": "annotation.annotator",
    "compare": "evaluation.evaluate",
    "evaluate": "evaluation.evaluate",
    "pair_docs": "tokens.docs",
    "read_docs": "tokens.docs",
    "read_examples": "tokens.docs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
