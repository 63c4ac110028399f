"""What a package of a pipeline needs to be installed."""

from spacy.language import Language
from spacy.util import get_minor_version_range
from thinc.api import Model

from ..about import __version__


def require(nlp: Language, extra: str) -> None:
    """Note in the meta of a pipeline that it needs an extra of this package, in the
    minor version that made it. `spacy package` finds packages by registered names, but
    not their extras.

    nlp (Language): The pipeline.
    extra (str): The extra, e.g. "transformers".
    """
    package = f"welt-spacy[{extra}]"
    others = [r for r in nlp.meta.get("requirements", []) if not r.startswith(package)]
    needed = f"{package}{get_minor_version_range(__version__)}"
    nlp.meta["requirements"] = [*others, needed]


def note_requirements(nlp: Language) -> None:
    """Note what the layers of a pipeline need: the extras in their attribute
    "requires_extras".

    nlp (Language): The pipeline.
    """
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        for layer in model.walk() if isinstance(model, Model) else ():
            for extra in layer.attrs.get("requires_extras", ()):
                require(nlp, extra)
