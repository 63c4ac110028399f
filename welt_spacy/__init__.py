"""Cost-sensitive named entity recognition for spaCy."""

from typing import TYPE_CHECKING, Any

from .about import __version__

if TYPE_CHECKING:
    from .annotation.annotator import annotate

__all__ = ["__version__", "annotate"]


def __getattr__(name: str) -> Any:
    # spaCy is imported with it, so only when it is asked for
    if name == "annotate":
        from .annotation.annotator import annotate

        return annotate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "annotate"]
