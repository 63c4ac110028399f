"""Small experiments."""

import subprocess

import srsly

from welt_spacy.corpora.docbin import write_docs
from welt_spacy.experiments.grid import Grid
from welt_spacy.experiments.jobs import make_jobs
from welt_spacy.experiments.layout import METRICS, to_json
from welt_spacy.experiments.workspace import Workspace
from welt_spacy.training.config import ConfigSettings, make_config

from .commands import run_command
from .pipelines import make_examples, make_nlp

VANILLA = {"@misc": "welt_spacy.vanilla_weights.v1"}
ENS = {"@misc": "welt_spacy.ens_weights.v1", "beta": 0.3}
# Registered, but training fails: the corpus has no such label
BROKEN = {"@misc": "welt_spacy.explicit_weights.v1", "weights": {"Nonsense": 2.0}}
SMALL = {
    "components.tok2vec.model.encode.width": 16,
    "components.tok2vec.model.encode.depth": 1,
    "components.tok2vec.model.embed.rows": [100, 100, 100, 100],
    "training.max_steps": 4,
    "training.eval_frequency": 2,
}
LONG = {**SMALL, "training.max_steps": 100000}


def make_grid(folder, **changes):
    """Make an experiment with two schemes, of which the first is tuned."""
    config = folder / "welt_cpu.cfg"
    config.write_text(make_config(ConfigSettings(encoder="cpu")), encoding="utf8")
    settings = {
        "config": config,
        "corpora": ["ncbi_disease"],
        "schemes": {"vanilla": VANILLA, "ens_0.3": ENS},
        "seeds": [0],
        "overrides": SMALL,
        "tuned": {"vanilla": ["o_bias"]},
    }
    return Grid(**{**settings, **changes})


def write_grid(folder, **changes):
    """Write the YAML file of `make_grid`; a change to None removes a key."""
    record = {**make_grid(folder).model_dump(mode="json"), **changes}
    path = folder / "grid.yml"
    srsly.write_yaml(path, {k: v for k, v in record.items() if v is not None})
    return path


def make_corpora(folder):
    """Make a folder with a small corpus."""
    nlp = make_nlp()
    # Repeated, so that 0.3^n is nothing beside 1
    docs = [eg.reference for eg in make_examples(nlp)] * 30
    for split in ("train", "dev", "test"):
        write_docs(folder / "ncbi_disease" / f"{split}.spacy", docs)
    return folder


def run_experiment_command(command, experiment, workspace, *options):
    """Run `spacy welt experiment COMMAND`."""
    arguments = ["experiment", command, experiment, "--output", workspace.output]
    if command != "status":
        arguments += ["--corpora", workspace.corpora]
    return run_command(*arguments, *options)


def make_one_job(tmp_path, corpora, **changes):
    """Make an experiment of one run: its grid, workspace and job."""
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={}, **changes)
    workspace = Workspace(tmp_path / "out", corpora)
    (job,) = make_jobs(grid, workspace)
    return grid, workspace, job


def find_workers(folder):
    """Return the process ids of workers that write below a folder."""
    lines = subprocess.run(
        ["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True
    ).stdout.splitlines()
    return [
        int(line.split()[0])
        for line in lines
        if "experiments.worker" in line and str(folder) in line
    ]


def put_run(workspace, job, by_doc, f=None, tuned=""):
    """Write a finished run with known scores: F1 from documents, or as given."""
    if f is None:
        f = sum(row[0] for row in by_doc) / sum(row[1] for row in by_doc)
    names = ("corpus", "encoder", "selection", "scheme", "seed")
    row = {
        **{name: getattr(job.run, name) for name in names},
        **{"tuned": tuned, "by_doc": by_doc, "docs": len(by_doc), "per_type": {"X": f}},
        **{f"{way}_{key}": f for way in ("strict", "fair") for key in "prf"},
        **{"weights": {"O": 1.0}, "versions": {"spacy": "3"}, "words_s": 9.0},
        **{"seconds": 2.0, "train_seconds": 1.0, "peak_mb": 100, "checksum": "0"},
    }
    folder = workspace.get_run(job.name)
    with folder.open() as output:
        output.start(job.fingerprint)
        output.add(METRICS, to_json([row]))
        output.finish()
    return folder
