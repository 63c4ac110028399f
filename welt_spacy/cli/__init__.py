"""The commands under `spacy welt`; `python -m welt_spacy` is the same program.

Importing this module hangs them under spaCy's own program (entry point
`spacy_cli`). Commands are thin: parse, call, print.
"""

from spacy.cli._util import app as spacy_app

from ._util import app
from .config import config_cli
from .convert import convert_cli
from .corpora import corpora_app
from .evaluate import compare_cli, evaluate_cli
from .experiment import experiment_cli
from .optimize import optimize_cli
from .tune import tune_cli

app.add_typer(corpora_app, name="corpora")
app.command("convert")(convert_cli)
app.command("config")(config_cli)
app.command("evaluate")(evaluate_cli)
app.command("compare")(compare_cli)
app.command("experiment")(experiment_cli)
app.command("optimize")(optimize_cli)
app.command("tune")(tune_cli)
spacy_app.add_typer(app, name="welt")

__all__ = ["app"]
