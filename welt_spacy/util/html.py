"""HTML pages from the templates of this package: everything in one file."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..about import __version__


def render(template: str, **values: Any) -> str:
    """Write a page.

    template (str): The name of a template in `assets/report`.
    values (Any): What it shows; markup in it is escaped.
    RETURNS (str): HTML that needs no network.
    """
    environment = Environment(
        loader=PackageLoader("welt_spacy", "assets/report"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(version=__version__, **values)
