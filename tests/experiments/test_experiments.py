"""Experiments: what is run, how, and the tables."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import srsly
from typer.testing import CliRunner

from welt_spacy.cli import app
from welt_spacy.corpora.convert import write_docs
from welt_spacy.errors import WeltError
from welt_spacy.experiments.configuration import make_config
from welt_spacy.experiments.grid import Grid, read_grid
from welt_spacy.experiments.results import read_results, to_markdown
from welt_spacy.experiments.runner import is_done, reason_in, run_all, settings_of
from welt_spacy.files import one_writer

from ..util import make_examples, make_nlp

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
    config.write_text(make_config(encoder="cpu"), encoding="utf8")
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


def test_all_combinations_scheme_by_scheme(tmp_path):
    grid = read_grid(write_grid(tmp_path, corpora=["bc2gm", "linnaeus"], seeds=[1, 2]))
    names = [run.name for run in grid.runs()]
    assert names[:3] == ["bc2gm/vanilla-1", "linnaeus/vanilla-1", "bc2gm/vanilla-2"]
    assert len(names) == len(set(names)) == 8
    assert grid.runs()[0].tuned == ("o_bias",) and grid.runs()[-1].tuned == ()


def test_the_experiment_of_the_project(root, monkeypatch):
    monkeypatch.chdir(root)
    grid = read_grid(root / "configs/experiments/schemes.yml")
    assert len(grid.runs()) == 4 * 7 * 3
    assert next(iter(grid.schemes)) == "vanilla"


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"seeds": None}, "seeds is missing"),
        ({"seeds": ["a"]}, "seeds must be whole numbers"),
        ({"corpora": "bc2gm"}, "corpora must be a list"),
        ({"corpora": ["bc3"]}, "No corpus is called 'bc3'"),
        ({"schemes": {"welt": {}}}, "scheme welt needs a registered function"),
        ({"tuned": {"welt": ["o_bias"]}}, "'welt', which is not a scheme"),
        ({"tuned": {"vanilla": ["bias"]}}, "'bias' can't be tuned"),
        ({"config": "none.cfg"}, "none.cfg is not a file"),
        ({"seed": 1}, "unknown key 'seed'"),
        ({"seeds": [True]}, "seeds must be whole numbers"),
        ({"seeds": [-1]}, "seeds must be whole numbers"),
        ({"seeds": [0, 0]}, "seeds has 0 more than once"),
        ({"corpora": ["bc2gm", "bc2gm"]}, "corpora has 'bc2gm' more than once"),
        ({"corpora": [["bc2gm"]]}, "must be a list of names"),
        ({"tuned": {"vanilla": 3}}, "must be a list"),
        ({"tuned": {"vanilla": "o_bias"}}, "must be a list"),
        ({"schemes": {"../../x": VANILLA}, "tuned": None}, "can't be called"),
        ({"schemes": {"a/b": VANILLA}, "tuned": None}, "can't be called"),
        ({"schemes": {"x": {"@misc": "nosuch"}}, "tuned": None}, "registered as 'nosuch'"),
        ({"schemes": {"x": {"@misc": None}}, "tuned": None}, "needs a registered function"),
        ({"schemes": {"x": {**ENS, "beta": 2.0}}, "tuned": None}, "beta is 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told(tmp_path, changes, part):
    with pytest.raises(WeltError, match=part):
        read_grid(write_grid(tmp_path, **changes))


def test_no_yaml(tmp_path):
    with pytest.raises(WeltError, match="is not a file"):
        read_grid(tmp_path / "none.yml")
    (tmp_path / "bad.yml").write_text("{")
    with pytest.raises(WeltError, match="is not YAML"):
        read_grid(tmp_path / "bad.yml")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    nlp = make_nlp()
    # As often as it takes for 0.3^n to be nothing beside 1
    docs = [eg.reference for eg in make_examples(nlp)] * 30
    for split in ("train", "dev", "test"):
        write_docs(folder / "ncbi_disease" / f"{split}.spacy", docs)
    return folder


def test_run_and_run_again(tmp_path, corpora):
    """The whole way by the command: train, tune, score, and tables; a second time
    nothing is repeated, and a run that fails is told and leaves the others."""
    path = write_grid(tmp_path)
    arguments = ["experiment", path, "--corpora", corpora, "--output", tmp_path / "out"]
    arguments = [str(argument) for argument in [*arguments, "--at-once", 2]]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "2 runs, 0 of them done before" in result.stderr
    assert "| vanilla + o_bias |" in result.stdout and "| ens_0.3 |" in result.stdout
    grid = read_grid(path)
    found = read_results(grid, tmp_path / "out")["ncbi_disease"]
    assert set(found) == {"vanilla", "vanilla + o_bias", "ens_0.3"}
    # ENS with a small beta has the weights of vanilla, so it is the same run
    assert found["ens_0.3"][0].strict == found["vanilla"][0].strict
    models = [tmp_path / f"out/ncbi_disease/{s}-0/model-last" for s in grid.schemes]
    weights = [(m / "welt_ner" / "model").read_bytes() for m in models]
    assert weights[0] == weights[1]
    again = CliRunner().invoke(app, arguments)
    assert "2 of them done before" in again.stderr
    assert again.stdout == result.stdout

    changed = make_grid(tmp_path, overrides={**SMALL, "training.max_steps": 2})
    assert not any(
        is_done(changed, run, corpora, tmp_path / "out") for run in changed.runs()
    )
    broken = make_grid(tmp_path, schemes={"vanilla": VANILLA, "bad": {"@misc": "x"}})
    told = []
    failed = run_all(broken, corpora, tmp_path / "out", report=told.append)
    assert len(failed) == 1 and failed[0].startswith("ncbi_disease/bad-0: ")
    assert "train.log" in failed[0]
    assert any(line.startswith("✘ ncbi_disease/bad-0") for line in told)


def test_missing_corpus_is_told_first(tmp_path):
    with pytest.raises(WeltError, match="spacy welt corpora convert ncbi_disease"):
        run_all(make_grid(tmp_path), tmp_path, tmp_path / "out")


def test_tables_of_known_scores(tmp_path):
    """Two corpora, two seeds; the second scheme has one right prediction more in one
    of two docs and loses none."""
    grid = make_grid(
        tmp_path, corpora=["ncbi_disease", "bc2gm"], seeds=[0, 1], tuned={}
    )
    for run in grid.runs():
        extra = int(run.scheme != "vanilla")
        right = 6 + run.seed + extra
        rows = [[right, 10, 10], [5, 10, 10]]
        f = sum(row[0] for row in rows) / 20
        scores = dict.fromkeys("prf", f)
        folder = tmp_path / "out" / run.name
        folder.mkdir(parents=True)
        (folder / "test.json").write_text(
            json.dumps(
                {"strict": scores, "fair": scores, "by_doc": rows, "decoding": {}}
            )
        )
        (folder / "run.json").write_text("{}")
    told = to_markdown(grid, tmp_path / "out")
    # 55 and 60 against 60 and 65: each run 5 points better
    assert told.count("| vanilla | 57.50 ± 3.54 |") == 2
    assert told.count("| ens_0.3 | 62.50 ± 3.54 |") == 2
    assert "+5.00 ± 0.00" in told
    assert (
        "| ens_0.3 | +5.00 | +5.00 | +5.00 | +5.00 | 4 / 0 / 0 | 4 / 0 / 0 | 0.125 |"
        in told
    )
    assert "| all (pooled) | 3.54 |" in told
    # A run that is missing is left out of its scheme alone
    shutil.rmtree(tmp_path / "out/bc2gm/ens_0.3-1")
    told = to_markdown(grid, tmp_path / "out")
    assert "| +5.00 | 3 / 0 / 0 | 3 / 0 / 0 | 0.250 |" in told


def test_nothing_run(tmp_path):
    with pytest.raises(WeltError, match="There are no runs"):
        to_markdown(make_grid(tmp_path), tmp_path / "out")


def run_folder(tmp_path, corpora, **changes):
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={}, **changes)
    return grid, tmp_path / "out", tmp_path / "out" / grid.runs()[0].name


def test_old_results_are_not_taken_for_new_ones(tmp_path, corpora):
    data = shutil.copytree(corpora, tmp_path / "data")
    grid, output, folder = run_folder(tmp_path, data)
    (run,) = grid.runs()

    def done():
        return is_done(grid, run, data, output)

    assert run_all(grid, data, output, report=str) == [] and done()
    # Another corpus under the same name
    train = data / "ncbi_disease/train.spacy"
    kept = train.read_bytes()
    docs = [eg.reference for eg in make_examples(make_nlp())]
    write_docs(train, docs)
    assert not done()
    train.write_bytes(kept)
    assert done()
    # Results that are damaged or gone, and records that are none
    for name, content in (
        ("test.json", "{}"),
        ("test.json", None),
        ("run.json", "["),
        ("run.json", "[]"),
        ("run.json", '{"settings": 1}'),
    ):
        path = folder / name
        before = path.read_bytes()
        path.unlink() if content is None else path.write_text(content)
        assert not done()
        if name == "test.json":
            with pytest.raises(WeltError, match="test.json: can't read these scores"):
                read_results(grid, output)
        path.write_bytes(before)
        assert done()


def test_another_version_is_another_run(tmp_path, corpora, monkeypatch):
    grid, output, folder = run_folder(tmp_path, corpora)
    (run,) = grid.runs()
    before = settings_of(grid, run, corpora)
    monkeypatch.setattr("welt_spacy.experiments.runner._version", lambda name: "9.9")
    assert settings_of(grid, run, corpora) != before


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path, corpora):
    grid, output, folder = run_folder(tmp_path, corpora)
    (folder / "model-best").mkdir(parents=True)
    (folder / "model-best" / "precious").write_text("x")
    (failed,) = run_all(grid, corpora, output, report=str)
    assert "files that are not those of a run" in failed
    assert (folder / "model-best" / "precious").read_text() == "x"


def test_two_runners_train_each_run_once(tmp_path, corpora):
    grid = make_grid(tmp_path, tuned={}, seeds=[0, 1])
    output = tmp_path / "out"
    told = [[], []]
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(run_all, grid, corpora, output, report=lines.append)
            for lines in told
        ]
        assert [job.result() for job in jobs] == [[], []]
    trained = [line for lines in told for line in lines if re.search(r": \d+ s", line)]
    assert len(trained) == 4
    assert len(read_results(grid, output)["ncbi_disease"]) == 2
    assert not list(output.rglob("*.lock"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_runner_that_is_ended_leaves_no_training(tmp_path, corpora, number):
    """And what it was at is trained again from the beginning, by one process."""
    path = write_grid(
        tmp_path,
        schemes={"vanilla": VANILLA},
        tuned=None,
        overrides={**SMALL, "training.max_steps": 100000},
    )
    command = [sys.executable, "-m", "spacy", "welt", "experiment", str(path)]
    command += ["--corpora", str(corpora), "--output", str(tmp_path / "out")]
    runner = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell in the background has it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    log = tmp_path / "out/ncbi_disease/vanilla-0/train.log"
    limit = time.monotonic() + 60
    try:
        while not (log.is_file() and "0     " in log.read_text()):
            assert time.monotonic() < limit, log.read_text() if log.is_file() else ""
            time.sleep(0.1)
        os.kill(runner.pid, number)  # the runner alone, not its group
        _, errors = runner.communicate(timeout=30)
    finally:
        runner.kill()
    wanted = {signal.SIGTERM: 143, signal.SIGKILL: -9, signal.SIGINT: 130}
    assert runner.returncode == wanted[number]
    assert b"Traceback" not in errors
    limit = time.monotonic() + 15
    while trainings(tmp_path):
        assert time.monotonic() < limit
        time.sleep(0.1)
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={})
    assert run_all(grid, corpora, tmp_path / "out", report=str) == []


def trainings(folder):
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return [
        line for line in found.splitlines() if "step" in line and str(folder) in line
    ]


def test_the_reason_of_a_failure(tmp_path):
    log = tmp_path / "train.log"
    names = ", ".join(f"function_{i}" for i in range(300))
    for text, reason in (
        ("ℹ start\n✘ Config error\nmore\n", "✘ Config error"),
        (f"Traceback\ncatalogue.RegistryError: [E893] no 'x'.\n\nAvailable names: {names}\n",
         "catalogue.RegistryError: [E893] no 'x'."),
        ("Killed\n", "Killed"),
        ("", "no output"),
        (f"ValueError: {names}\n", "..."),
    ):  # fmt: skip
        log.write_text(text, encoding="utf8")
        told = reason_in(log)
        assert reason in told and len(told) <= 200


def test_a_folder_is_cleared_only_when_nobody_writes_there(tmp_path, corpora):
    """The training of a killed runner may still be at its end."""
    grid, output, folder = run_folder(tmp_path, corpora)
    (run,) = grid.runs()
    folder.mkdir(parents=True)
    (folder / "started.json").write_text("{}")
    (folder / "model-last").mkdir()
    told = []
    with ThreadPoolExecutor(1) as pool:
        with one_writer(folder / "step"):
            job = pool.submit(run_all, grid, corpora, output, report=told.append)
            time.sleep(2)
            assert (folder / "model-last").is_dir() and not job.done()
        assert job.result() == []
    assert is_done(grid, run, corpora, output)
