"""`spacy welt experiment run`: the results of runs, and calls that repeat nothing."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import srsly

from welt_spacy.errors import WeltError
from welt_spacy.experiments.driver import convert_missing, get_status
from welt_spacy.experiments.grid import read_grid
from welt_spacy.experiments.jobs import make_jobs
from welt_spacy.experiments.local import run_local
from welt_spacy.experiments.results import Group, read_results
from welt_spacy.experiments.workspace import Workspace

from ..factories.experiments import (
    BROKEN,
    VANILLA,
    make_corpora,
    make_grid,
    make_one_job,
    run_experiment_command,
    write_grid,
)

GROUP = Group("ncbi_disease")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpora"))


class Finished:
    """An experiment of two runs that was run once: one with a tuned parameter, and one with
    the same weights, because ENS with a small beta has those of vanilla."""

    def __init__(self, folder, corpora):
        self.folder = folder
        self.path = write_grid(folder)
        self.workspace = Workspace(folder / "out", corpora)
        self.plan = run_experiment_command("plan", self.path, self.workspace)
        self.result = self.run()
        self.grid = read_grid(self.path)
        self.jobs = make_jobs(self.grid, self.workspace)
        self.folders = [self.workspace.get_run(job.name).path for job in self.jobs]

    def run(self):
        return run_experiment_command("run", self.path, self.workspace, "--jobs", 2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpora):
    return Finished(tmp_path_factory.mktemp("finished"), corpora)


def test_the_plan_of_an_experiment_that_was_not_run(finished):
    assert "2 runs" in finished.plan.stdout and "not measured" in finished.plan.stdout


def test_run_prints_progress_and_tables(finished):
    assert finished.result.exit_code == 0, finished.result.stderr
    assert "2 runs, 0 of them done before" in finished.result.stderr
    assert "✔ ncbi_disease-vanilla-0: done (" in finished.result.stderr
    assert "| vanilla + o_bias |" in finished.result.stdout
    assert "| ens_0.3 |" in finished.result.stdout


def test_runs_with_the_same_weights_have_the_same_results(finished):
    schemes = read_results(finished.grid, finished.workspace).scores[GROUP]
    assert set(schemes) == {"vanilla", "vanilla + o_bias", "ens_0.3"}
    assert schemes["ens_0.3"][0].strict == schemes["vanilla"][0].strict
    weights = [f / "model-last/welt_ner/model" for f in finished.folders]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_files_of_a_run(finished):
    names = {path.name for path in finished.folders[0].iterdir()}
    steps = ("train", "tune-o_bias", "test", "test-o_bias")
    assert names == {
        *("config.cfg", "metrics.json", "run.json"),
        *("test.json", "test-o_bias.json"),
        *("predictions.spacy", "predictions-o_bias.spacy"),
        *("model-best", "model-last", "model-o_bias"),
        *(f"{step}.log" for step in steps),
        *(f"{step}.usage.json" for step in steps),
    }
    folders = (finished.workspace.output / "runs").iterdir()
    assert sorted(folders) == sorted(finished.folders)


def test_metrics_of_a_run(finished):
    row, tuned = srsly.read_json(finished.folders[0] / "metrics.json")
    assert row["seed"] == 0 and row["tuned"] == "" and tuned["tuned"] == "o_bias"
    assert row["words_s"] > 0 and row["seconds"] > 0 and row["peak_mb"] > 50
    assert set(row["weights"]) >= {"O", "B-Disease", "I-Disease"}


def test_the_second_call_repeats_nothing(finished):
    again = finished.run()
    assert "2 of them done before" in again.stderr
    assert again.stdout == finished.result.stdout


def test_results_prints_the_tables_of_run(finished):
    result = run_experiment_command("results", finished.path, finished.workspace)
    assert result.stdout.strip() == finished.result.stdout.strip()


def test_status_of_a_finished_experiment(finished):
    result = run_experiment_command("status", finished.path, finished.workspace)
    assert "2 of 2 runs are done, 0 running, 0 failed" in result.stdout


def test_the_plan_of_a_finished_experiment(finished):
    result = run_experiment_command("plan", finished.path, finished.workspace)
    assert "0 runs are left" in result.stdout and "runs that are done" in result.stdout


def test_damaged_results_are_made_again(finished, tmp_path):
    output = shutil.copytree(finished.workspace.output, tmp_path / "out")
    workspace = Workspace(output, finished.workspace.corpora)
    for name, job in zip(("test.json", "predictions.spacy"), finished.jobs):
        path = workspace.get_run(job.name).path / name
        path.write_bytes(b"{}")
        assert not job.is_done(workspace)
    assert run_local(finished.grid, workspace, n_jobs=2, report=str) == []
    assert all(job.is_done(workspace) for job in finished.jobs)


def test_a_run_that_fails_stops_no_other(tmp_path, corpora):
    schemes = {"bad": BROKEN, "vanilla": VANILLA}
    grid = make_grid(tmp_path, schemes=schemes, tuned={}, keep_models=False)
    workspace, lines = Workspace(tmp_path / "out", corpora), []
    (failed,) = run_local(grid, workspace, report=lines.append)
    assert failed.startswith("ncbi_disease-bad-0: train: ") and "Nonsense" in failed
    assert f"✘ {failed} (1 of 2)" in lines
    status = get_status(workspace)
    (name,) = status.failed
    error = status.failed[name].rstrip(".")
    assert status.done == 1 and failed.startswith(f"ncbi_disease-bad-0: {error} (see ")
    folder = workspace.get_run(name).path
    assert "Traceback" in (folder / "train.log").read_text()
    assert set(srsly.read_json(folder / "error.json")) == {"message"}


def test_selections_and_encoders(tmp_path, corpora):
    # Data are selected once for both encoders, and selected again if they are damaged;
    # models are not kept
    config = {"config": make_grid(tmp_path).config}
    narrow = {"components.tok2vec.model.encode.width": 8}
    grid = make_grid(
        tmp_path,
        config=None,
        encoders={"small": config, "narrow": {**config, "overrides": narrow}},
        selections={"half": {"strategy": "random", "keep": 0.5}},
        schemes={"vanilla": VANILLA},
        tuned={},
        keep_models=False,
    )
    workspace = Workspace(tmp_path / "out", corpora)
    assert run_local(grid, workspace, n_jobs=2, report=str) == []
    scores = read_results(grid, workspace).scores
    assert set(scores) == {
        Group("ncbi_disease", encoder, "half") for encoder in ("small", "narrow")
    }
    (selected,) = workspace.output.glob("selected/*.spacy")
    assert not list(workspace.output.glob("runs/*/model-*"))
    content = selected.read_bytes()
    selected.write_bytes(content[:100])
    (job, _) = make_jobs(grid, workspace)
    (workspace.get_run(job.name).path / "run.json").unlink()
    assert run_local(grid, workspace, report=str) == []
    assert selected.read_bytes() == content


def test_shards_of_an_experiment(tmp_path, corpora):
    path, workspace = write_grid(tmp_path, tuned=None), Workspace(tmp_path, corpora)
    first = run_experiment_command("run", path, workspace, "--shard", "2/2")
    assert first.exit_code == 0 and "1 runs, 0 of them" in first.stderr
    assert first.stdout == ""
    rest = run_experiment_command("run", path, workspace)
    assert rest.exit_code == 0 and "2 runs, 1 of them done before" in rest.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--shard", "3/2"),
        ("--engine", "dask"),
        ("--engine", "ray", "--shard", "1/2"),
        ("--engine", "ray", "--jobs", "2"),
    ],
)
def test_options_that_are_wrong(tmp_path, corpora, options):
    path, workspace = write_grid(tmp_path), Workspace(tmp_path, corpora)
    result = run_experiment_command("run", path, workspace, *options)
    assert result.exit_code == 1 and re.fullmatch("✘ .+\n", result.stderr)


def test_a_corpus_that_can_not_be_fetched(tmp_path, no_sources, monkeypatch):
    def fail(*_):
        raise WeltError("no network")

    monkeypatch.setattr("welt_spacy.corpora.fetch._from_publisher", fail)
    workspace = Workspace(tmp_path / "out", tmp_path)
    with pytest.raises(WeltError, match="no network"):
        run_local(make_grid(tmp_path), workspace, report=str)


def test_missing_corpora_are_converted_once(tmp_path, mirror):
    grid, lines = make_grid(tmp_path, corpora=["linnaeus"]), []
    workspace = Workspace(tmp_path / "out", tmp_path / "corpus")
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(convert_missing, grid, workspace, report=lines.append)
    assert len(lines) == 1 and "linnaeus is missing" in lines[0]
    assert len(make_jobs(grid, workspace)) == 2
    convert_missing(grid, workspace, report=lines.append)
    assert len(lines) == 1
    assert [path.name for path in workspace.corpora.iterdir()] == ["linnaeus"]


def test_a_corpus_of_ones_own_is_not_fetched(tmp_path, corpora):
    folder = shutil.copytree(corpora, tmp_path / "corpora")
    (folder / "ncbi_disease").rename(folder / "mine")
    grid, workspace = make_grid(tmp_path, corpora=["mine"]), Workspace(tmp_path, folder)
    convert_missing(grid, workspace)
    (folder / "mine/dev.spacy").unlink()
    with pytest.raises(WeltError, match="mine lacks .* is called 'mine'"):
        convert_missing(grid, workspace)


def test_status_needs_a_start(tmp_path, corpora):
    workspace = Workspace(tmp_path / "out", corpora)
    result = run_experiment_command("status", write_grid(tmp_path), workspace)
    assert result.exit_code == 1 and "no experiment was started here" in result.stderr


def test_status_of_a_locked_run(tmp_path, corpora):
    _, workspace, job = make_one_job(tmp_path, corpora)
    workspace.write_plan([job.name])
    assert get_status(workspace).running == []
    with workspace.get_run(job.name).open():
        assert get_status(workspace).running == [job.name]
    assert not workspace.get_run(job.name).path.exists()
