"""`python -m welt_spacy` is `spacy welt`."""

from .cli import app

if __name__ == "__main__":
    app(prog_name="python -m welt_spacy")
