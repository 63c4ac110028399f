"""Build the docs site: `make docs-site`.

The pages are those of docs/ and the README; the API pages come from the docstrings, a page
for each subpackage. Everything is built in a folder of its own, so that docs/ stays as it
is.
"""

import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import typer

import welt_spacy

ROOT = Path(__file__).parents[1]
GUIDES = (
    *(
        "component",
        "corpora",
        "user-data",
        "training",
        "distillation",
        "generative",
        "evaluation",
        "annotation",
        "scaling",
        "performance",
    ),
    *("reliability", "results", "results-selection", "project", "architecture"),
)
# Registered functions and the public API first
PACKAGES = (
    *("pipeline", "ml", "tagging", "tokens", "scoring", "evaluation", "training"),
    *("corpora", "formats", "llm", "annotation", "packaging", "serving"),
    *("experiments", "parallel", "util"),
)


def main(output: Path = ROOT / "build" / "site") -> None:
    source = output.parent / "site-source"
    shutil.rmtree(source, ignore_errors=True)
    (source / "docs").mkdir(parents=True)
    (source / "api").mkdir()
    shutil.copyfile(ROOT / "docs/site/conf.py", source / "conf.py")
    conf = (source / "conf.py").read_text(encoding="utf8")
    (source / "conf.py").write_text(
        conf.replace("Path(__file__).parents[2]", f"Path({str(ROOT)!r})"),
        encoding="utf8",
    )
    for path in sorted((ROOT / "docs").glob("*.md")):
        _copy_page(path, source / "docs" / path.name)
    shutil.copytree(ROOT / "docs" / "images", source / "docs" / "images")
    _copy_page(ROOT / "benchmarks" / "README.md", source / "docs" / "benchmarks.md")
    _copy_page(ROOT / "CHANGELOG.md", source / "docs" / "changelog.md")
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    tree = [
        _toctree("Guides", [f"docs/{name}" for name in (*GUIDES, "benchmarks")]),
        _toctree("API", [f"api/{name}" for name in (*PACKAGES, "errors")]),
        _toctree("Project", ["docs/changelog"]),
    ]
    (source / "index.md").write_text(
        "\n\n".join([_links(readme), *tree]) + "\n", encoding="utf8"
    )
    for name in PACKAGES:
        package = f"welt_spacy.{name}"
        path = str(Path(welt_spacy.__path__[0]) / name)
        modules = [m.name for m in pkgutil.walk_packages([path], f"{package}.")]
        modules = [m for m in modules if not m.endswith("._subprocess")]
        _api_page(source / "api" / f"{name}.md", name, [package, *modules])
    _api_page(source / "api" / "errors.md", "Errors", ["welt_spacy.errors"])
    subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q"),
            *(str(source), str(output)),
        ],
        check=True,
    )
    print(f"✔ {output / 'index.html'}")


def _copy_page(path: Path, target: Path) -> None:
    target.write_text(_links(path.read_text(encoding="utf8")), encoding="utf8")


def _links(text: str) -> str:
    """Keep links to pages of the site and turn links to other files into code."""

    def change(match: "re.Match[str]") -> str:
        label, address = match.groups()
        page, _, anchor = address.partition("#")
        if "://" in address or not page:
            return match.group(0)
        name = Path(page).name
        anchor = f"#{anchor}" if anchor else ""
        if page.endswith("benchmarks/README.md"):
            return f"[{label}](/docs/benchmarks.md{anchor})"
        if page.endswith(".md") and (ROOT / "docs" / name).is_file():
            return f"[{label}](/docs/{name}{anchor})"
        if name == "CHANGELOG.md":
            return f"[{label}](/docs/changelog.md)"
        if page.endswith(".png"):
            return f"[{label}](/docs/images/{name})"
        return f"{label} (`{address.removeprefix('../')}`)"

    return re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", change, text)


def _toctree(caption: str, pages: list) -> str:
    lines = "\n".join(pages)
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```"


def _api_page(path: Path, title: str, modules: list) -> None:
    parts = [f"# {title}"]
    for module in modules:
        inside = module.count(".") > 1
        heading = f"## {module}\n\n" if inside or "others" in path.name else ""
        members = ":members:\n:show-inheritance:\n" if heading else ""
        parts.append(
            f"{heading}```{{eval-rst}}\n.. automodule:: {module}\n"
            + "".join(f"   {line}\n" for line in members.splitlines())
            + "```"
        )
    path.write_text("\n\n".join(parts) + "\n", encoding="utf8")


if __name__ == "__main__":
    typer.run(main)
