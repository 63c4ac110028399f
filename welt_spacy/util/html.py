"""Render HTML pages that need no network from the templates of this package."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..about import __version__


def render(template: str, **values: Any) -> str:
    """Render a template of `assets/report`; markup in the values is escaped."""
    environment = Environment(
        loader=PackageLoader("welt_spacy", "assets/report"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(version=__version__, **values)
