"""Make docs/images/entities.png: the entities of a packaged pipeline, shown by displaCy.

    python scripts/picture.py en_welt_bc5cdr

Chromium takes the picture, without a window.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import spacy
import typer
from show import TEXT
from spacy import displacy

COLORS = {"Chemical": "#b8dcf5", "Disease": "#f7c9a9"}
PAGE = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>entities</title>
<style>body {{ margin: 0; padding: 12px 24px; background: #fff; width: 900px }}
mark {{ white-space: nowrap }}</style>
{}</html>"""


def main(name: str, output: Path = Path("docs/images/entities.png")) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("✘ Chromium is needed to take the picture")
    doc = spacy.load(name)(TEXT)
    html = displacy.render(doc, style="ent", options={"colors": COLORS}, jupyter=False)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "entities.html"
        page.write_text(PAGE.format(html), encoding="utf8")
        subprocess.run(
            [
                *(chromium, "--headless", "--no-sandbox", "--hide-scrollbars"),
                *("--force-device-scale-factor=1.5", "--window-size=950,215"),
                *(f"--screenshot={output.resolve()}", page.as_uri()),
            ],
            check=True,
            capture_output=True,
        )
    print(f"✔ {output}")


if __name__ == "__main__":
    typer.run(main)
