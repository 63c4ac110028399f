"""Commands of `spacy welt`, and of `python -m welt_spacy`.

The entry point `spacy_cli` imports this module at the start of every spaCy command, so the
modules here import the rest of the package inside of functions. Commands parse, call and
print.
"""

from spacy.cli._util import app as spacy_app

from ._util import PANELS, app
from .annotate import annotate_cli
from .config import config_cli
from .convert import convert_cli
from .corpora import corpora_app
from .distill import distill_cli
from .evaluate import compare_cli, evaluate_cli
from .experiment import experiment_app
from .finetune import finetune_cli
from .optimize import optimize_cli
from .package import package_cli
from .push import push_cli
from .select import select_cli
from .serve import serve_cli
from .tune import tune_cli
from .vectors import vectors_cli

DATA, TRAINING, EVALUATION, DEPLOYMENT = PANELS
app.add_typer(corpora_app, name="corpora", rich_help_panel=DATA)
app.command("convert", rich_help_panel=DATA)(convert_cli)
app.command("select", rich_help_panel=DATA)(select_cli)
app.command("config", rich_help_panel=TRAINING)(config_cli)
app.command("vectors", rich_help_panel=TRAINING)(vectors_cli)
app.command(
    "distill",
    rich_help_panel=TRAINING,
    context_settings={"ignore_unknown_options": True},
)(distill_cli)
app.command("finetune", rich_help_panel=TRAINING)(finetune_cli)
app.add_typer(experiment_app, name="experiment", rich_help_panel=TRAINING)
app.command("evaluate", rich_help_panel=EVALUATION)(evaluate_cli)
app.command("compare", rich_help_panel=EVALUATION)(compare_cli)
app.command("tune", rich_help_panel=DEPLOYMENT)(tune_cli)
app.command("optimize", rich_help_panel=DEPLOYMENT)(optimize_cli)
app.command("annotate", rich_help_panel=DEPLOYMENT)(annotate_cli)
app.command("serve", rich_help_panel=DEPLOYMENT)(serve_cli)
app.command("package", rich_help_panel=DEPLOYMENT)(package_cli)
app.command("push", rich_help_panel=DEPLOYMENT)(push_cli)
spacy_app.add_typer(app, name="welt")

__all__ = ["app"]
