"""Requirements of a pipeline package: extras of this package."""

from spacy.language import Language
from spacy.util import get_minor_version_range
from thinc.api import Model

from ..about import __version__


def require(nlp: Language, extra: str) -> None:
    """Add an extra of this package, in the current minor version, to the requirements in the
    meta of a pipeline. `spacy package` adds packages by registered names, but no extras.
    """
    package = f"welt-spacy[{extra}]"
    requirements = [
        r for r in nlp.meta.get("requirements", []) if not r.startswith(package)
    ]
    requirements.append(f"{package}{get_minor_version_range(__version__)}")
    nlp.meta["requirements"] = requirements


def note_requirements(nlp: Language) -> None:
    """Add the extras that layers of a pipeline name in their attribute "requires_extras"."""
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        for layer in model.walk() if isinstance(model, Model) else ():
            for extra in layer.attrs.get("requires_extras", ()):
                require(nlp, extra)
