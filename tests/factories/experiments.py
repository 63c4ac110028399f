"""Small experiments."""

import json
import subprocess

import srsly

from welt_spacy.corpora.convert import write_docs
from welt_spacy.experiments.grid import Grid
from welt_spacy.experiments.jobs import jobs_of
from welt_spacy.training.config import ConfigSettings, make_config

from .commands import run_command
from .pipelines import make_examples, make_nlp

VANILLA = {"@misc": "welt_spacy.vanilla_weights.v1"}
ENS = {"@misc": "welt_spacy.ens_weights.v1", "beta": 0.3}
SMALL = {
    "components.tok2vec.model.encode.width": 16,
    "components.tok2vec.model.encode.depth": 1,
    "components.tok2vec.model.embed.rows": [100, 100, 100, 100],
    "training.max_steps": 4,
    "training.eval_frequency": 2,
}


def make_grid(folder, **changes):
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
    grid = make_grid(folder)
    found = {**vars(grid), "config": str(grid.config), **changes}
    path = folder / "grid.yml"
    srsly.write_yaml(path, {k: v for k, v in found.items() if v is not None})
    return path


def make_corpora(folder):
    nlp = make_nlp()
    # As often as it takes for 0.3^n to be nothing beside 1
    docs = [eg.reference for eg in make_examples(nlp)] * 30
    for split in ("train", "dev", "test"):
        write_docs(folder / "ncbi_disease" / f"{split}.spacy", docs)
    return folder


def invoke(command, experiment, corpora, output, *options):
    arguments = ["experiment", command, experiment, "--output", output, *options]
    if corpora is not None:
        arguments += ["--corpora", corpora]
    return run_command(*arguments)


def one_run(tmp_path, corpora, **changes):
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={}, **changes)
    (job,) = jobs_of(grid, corpora)
    return grid, tmp_path / "out", job


def trainings(folder):
    found = subprocess.run(
        ["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True
    ).stdout
    return [
        line for line in found.splitlines() if "step" in line and str(folder) in line
    ]


def put_run(output, run, rows, f=None, knob=""):
    """A run with known scores."""
    f = sum(row[0] for row in rows) / sum(row[1] for row in rows) if f is None else f
    folder = output / "runs" / f"{run.name}-0123456789abcdef"
    folder.mkdir(parents=True)
    row = {
        **{k: getattr(run, k) for k in ("corpus", "encoder", "selection", "scheme", "seed")},
        **{"tuned": knob, "by_doc": rows, "docs": len(rows), "per_type": {"X": f}},
        **{f"{way}_{key}": f for way in ("strict", "fair") for key in "prf"},
        **{"weights": {"O": 1.0}, "versions": {"spacy": "3"}, "revision": "", "words_s": 9.0},
        **{"seconds": 2.0, "train_seconds": 1.0, "peak_mb": 100, "checksum": "0"},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps([row]))
    (folder / "run.json").write_text("{}")
    return folder
