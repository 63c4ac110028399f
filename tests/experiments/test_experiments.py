"""Experiments: what is run, how, and the tables."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import srsly

from welt_spacy.corpora.convert import write_docs
from welt_spacy.errors import WeltError
from welt_spacy.experiments.grid import read_grid
from welt_spacy.experiments.jobs import failures, is_done, job_of, jobs_of
from welt_spacy.experiments.local import convert_missing, run_all, status
from welt_spacy.experiments.results import read_results, to_markdown
from welt_spacy.experiments.runs import reason_in
from welt_spacy.experiments.tables import (
    beside_markdown,
    beside_paper,
    layout_csv,
    layout_html,
    layout_latex,
    layout_markdown,
    paper_results,
    rows_of,
)

from ..factories import make_examples, make_nlp
from ..factories.experiments import (
    ENS,
    SMALL,
    VANILLA,
    invoke,
    make_corpora,
    make_grid,
    one_run,
    put_run,
    write_grid,
)


def test_all_combinations_scheme_by_scheme(tmp_path):
    grid = read_grid(write_grid(tmp_path, corpora=["bc2gm", "linnaeus"], seeds=[1, 2]))
    names = [run.name for run in grid.runs()]
    assert names[:3] == ["bc2gm-vanilla-1", "linnaeus-vanilla-1", "bc2gm-vanilla-2"]
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
        ({"corpora": ["../bc3"]}, "a corpus can't be called"),
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
    return make_corpora(tmp_path_factory.mktemp("corpora"))


def test_run_and_run_again(tmp_path, corpora):
    """The whole way by the command: train, tune, score, and tables; a second time
    nothing is repeated, and a run that fails is told and leaves the others."""
    path, output = write_grid(tmp_path), tmp_path / "out"
    told = invoke("plan", path, corpora, output)
    assert "2 runs" in told.stdout and "not measured" in told.stdout
    options = ("--at-once", 2)
    result = invoke("run", path, corpora, output, *options)
    assert result.exit_code == 0, result.stderr
    assert "2 runs, 0 of them done before" in result.stderr
    assert "| vanilla + o_bias |" in result.stdout and "| ens_0.3 |" in result.stdout
    grid = read_grid(path)
    found = read_results(grid, output)[("ncbi_disease", "", "")]
    assert set(found) == {"vanilla", "vanilla + o_bias", "ens_0.3"}
    # ENS with a small beta has the weights of vanilla, so it is the same run
    assert found["ens_0.3"][0].strict == found["vanilla"][0].strict
    jobs = jobs_of(grid, corpora)
    folders = [output / "runs" / job.name for job in jobs]
    weights = [(f / "model-last/welt_ner/model").read_bytes() for f in folders]
    assert weights[0] == weights[1]
    for name in ("config.cfg", "train.log", "predictions.spacy", "metrics.json"):
        assert (folders[0] / name).is_file()
    assert sorted(p.name for p in (output / "runs").iterdir()) == sorted(
        f.name for f in folders
    )
    (row, tuned) = srsly.read_json(folders[0] / "metrics.json")
    assert row["seed"] == 0 and row["tuned"] == "" and tuned["tuned"] == "o_bias"
    assert row["words_s"] > 0 and row["seconds"] > 0 and row["peak_mb"] > 50
    assert set(row["weights"]) >= {"O", "B-Disease", "I-Disease"}

    again = invoke("run", path, corpora, output, *options)
    assert "2 of them done before" in again.stderr
    assert again.stdout == result.stdout
    assert invoke("results", path, None, output).stdout.strip() == result.stdout.strip()
    told = invoke("status", path, None, output).stdout
    assert "2 of 2 runs are done, 0 running, 0 failed" in told
    told = invoke("plan", path, corpora, output).stdout
    assert "0 runs are left" in told and "runs that are done" in told

    changed = make_grid(tmp_path, overrides={**SMALL, "training.max_steps": 2})
    assert not any(is_done(job, output) for job in jobs_of(changed, corpora))
    broken = make_grid(tmp_path, schemes={"vanilla": VANILLA, "bad": {"@misc": "x"}})
    lines = []
    failed = run_all(broken, corpora, output, report=lines.append)
    assert len(failed) == 1 and failed[0].startswith("ncbi_disease-bad-0: train: ")
    assert any(line.startswith("✘ ncbi_disease-bad-0") for line in lines)
    (name,) = failures(output)
    assert (output / "failed" / name / "train.log").is_file()
    assert list(status(output).failed) == [name]


def test_missing_corpus_is_told_first(tmp_path, monkeypatch):
    with pytest.raises(WeltError, match="spacy welt corpora convert ncbi_disease"):
        jobs_of(make_grid(tmp_path), tmp_path)
    monkeypatch.setenv("WELT_CORPORA_MIRROR", str(tmp_path / "none"))
    monkeypatch.setenv("WELT_CORPORA_CACHE", str(tmp_path / "cache"))

    def no_network(*_):
        raise WeltError("no network")

    monkeypatch.setattr("welt_spacy.corpora.fetch._from_publisher", no_network)
    with pytest.raises(WeltError, match="no network"):
        run_all(make_grid(tmp_path), tmp_path, tmp_path / "out", report=str)


def test_missing_corpora_are_converted_once(tmp_path, mirror):
    """By whoever comes first; what is there is left alone."""
    grid, told = make_grid(tmp_path, corpora=["linnaeus"]), []
    with ThreadPoolExecutor(2) as pool:
        for job in [
            pool.submit(convert_missing, grid, tmp_path / "corpus", report=told.append)
            for _ in range(2)
        ]:
            job.result()
    assert len(told) == 1 and "linnaeus is missing" in told[0]
    assert len(jobs_of(grid, tmp_path / "corpus")) == 2
    convert_missing(grid, tmp_path / "corpus", report=told.append)
    assert len(told) == 1
    assert sorted(path.name for path in (tmp_path / "corpus").iterdir()) == ["linnaeus"]


def test_a_corpus_of_ones_own(tmp_path, corpora):
    folder = shutil.copytree(corpora, tmp_path / "corpora")
    (folder / "ncbi_disease").rename(folder / "mine")
    path = write_grid(
        tmp_path,
        corpora=["mine"],
        encoders={"biobert": None},
        config=None,
        tuned=None,
        overrides=None,
    )
    grid = read_grid(path)
    convert_missing(grid, folder)
    (job, _) = jobs_of(grid, folder)
    # Not in the paper's table of hyper-parameters
    assert job.config["training"]["max_epochs"] == 10
    (folder / "mine/dev.spacy").unlink()
    with pytest.raises(WeltError, match="mine lacks .* is called 'mine'"):
        convert_missing(grid, folder)


def test_status_needs_a_start(tmp_path):
    found = invoke("status", write_grid(tmp_path), None, tmp_path / "out")
    assert found.exit_code == 1 and "no experiment was started here" in found.stderr


def test_files_of_the_config_decide_the_result(tmp_path, corpora):
    """An encoder, vectors, anything in [paths]: with other content it is another run."""
    found = set()
    (tmp_path / "encoder").mkdir()
    paths = {
        "paths.init_tok2vec": str(tmp_path / "weights.bin"),
        "paths.encoder": str(tmp_path / "encoder"),
    }
    for content in "ab":
        for place in ("weights.bin", "encoder/config.json"):
            (tmp_path / place).write_text(content)
            _, _, job = one_run(tmp_path, corpora, overrides={**SMALL, **paths})
            found.add(job.name)
    assert len(found) == 4


def test_tables_of_known_scores(tmp_path):
    """Two corpora, two seeds; the second scheme has one right prediction more in one
    of two docs and loses none."""
    grid = make_grid(
        tmp_path, corpora=["ncbi_disease", "bc2gm"], seeds=[0, 1], tuned={}
    )
    for run in grid.runs():
        right = 6 + run.seed + int(run.scheme != "vanilla")
        put_run(tmp_path / "out", run, [[right, 10, 10], [5, 10, 10]])
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
    shutil.rmtree(tmp_path / "out/runs/bc2gm-ens_0.3-1-0123456789abcdef")
    told = to_markdown(grid, tmp_path / "out")
    assert "| +5.00 | 3 / 0 / 0 | 3 / 0 / 0 | 0.250 |" in told


def test_nothing_run(tmp_path):
    with pytest.raises(WeltError, match="There are no runs"):
        to_markdown(make_grid(tmp_path), tmp_path / "out")


def test_old_results_are_not_taken_for_new_ones(tmp_path, corpora):
    data = shutil.copytree(corpora, tmp_path / "data")
    grid, output, job = one_run(tmp_path, data)

    def done():
        return is_done(jobs_of(grid, data)[0], output)

    assert run_all(grid, data, output, report=str) == [] and done()
    # Another corpus under the same name
    train = data / "ncbi_disease/train.spacy"
    kept = train.read_bytes()
    docs = [eg.reference for eg in make_examples(make_nlp())]
    write_docs(train, docs)
    assert not done() and jobs_of(grid, data)[0].name != job.name
    train.write_bytes(kept)
    assert done()
    # Results that are damaged or gone, and records that are none
    folder = output / "runs" / job.name
    for name, content in (
        ("test.json", "{}"),
        ("test.json", None),
        ("metrics.json", "[{}]"),
        ("run.json", "["),
        ("run.json", "[]"),
        ("run.json", '{"settings": 1}'),
        ("run.json", '{"results": {}}'),
        ("predictions.spacy", ""),
    ):
        path = folder / name
        before = path.read_bytes()
        path.unlink() if content is None else path.write_text(content)
        assert not done()
        if name == "metrics.json":
            with pytest.raises(
                WeltError, match="metrics.json: can't read these scores"
            ):
                read_results(grid, output)
        path.write_bytes(before)
        assert done()
    # A damaged result is made anew
    (folder / "test.json").write_text("{}")
    assert run_all(grid, data, output, report=str) == [] and done()


def test_another_version_is_another_run(tmp_path, corpora, monkeypatch):
    grid, output, job = one_run(tmp_path, corpora)
    monkeypatch.setattr("welt_spacy.experiments.jobs._version", lambda name: "9.9")
    other = job_of(grid, job.run, corpora)
    assert other.settings != job.settings and other.name != job.name


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


def test_encoders_settings_by_corpus_and_selections(tmp_path, corpora):
    narrow = {"components.tok2vec.model.encode.width": 8}
    config = str(make_grid(tmp_path).config)
    path = write_grid(
        tmp_path,
        config=None,
        encoders={
            "small": {"config": config},
            "narrow": {"config": config, "overrides": narrow},
        },
        per_corpus={"ncbi_disease": {"training.max_steps": 2}},
        selections={"all": None, "half": {"strategy": "random", "keep": 0.5}},
        schemes={"vanilla": VANILLA},
        tuned=None,
        keep_models=False,
    )
    grid, output = read_grid(path), tmp_path / "out"
    assert len(grid.runs()) == 4
    config = grid.config_of(grid.runs()[-1])
    assert config["training"]["max_steps"] == 2
    assert config["components"]["tok2vec"]["model"]["encode"]["width"] == 8
    result = invoke("run", path, corpora, output)
    assert result.exit_code == 0, result.stderr
    assert set(read_results(grid, output)) == {
        ("ncbi_disease", encoder, selection)
        for encoder in ("small", "narrow")
        for selection in ("all", "half")
    }
    # Selected once for both encoders; models are not kept
    assert len(list((output / "selected").glob("*.spacy"))) == 1
    assert not list(output.glob("runs/*/model-*"))
    assert "### ncbi_disease, narrow, half" in result.stdout


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"encoders": {"x": {"config": "none.cfg"}}}, "config is missing"),
        ({"config": None, "encoders": {"x": None}}, "encoder x needs a config"),
        ({"config": None, "encoders": {"x": {"cfg": 1}}}, "and nothing else"),
        ({"config": None, "encoders": {"a/b": None}}, "can't be called"),
        ({"per_corpus": {"bc2gm": {}}}, "'bc2gm', which is not run"),
        ({"selections": {"x": {"keep": 0.5}}}, "needs a strategy"),
        ({"train_on_dev": True}, "nothing to tune on"),
        ({"keep_models": "no"}, "keep_models must be a bool"),
    ],
)
def test_what_is_wrong_with_the_new_keys(tmp_path, changes, part):
    with pytest.raises(WeltError, match=part):
        read_grid(write_grid(tmp_path, **changes))


def test_the_paper_and_the_laptop(root, monkeypatch):
    monkeypatch.chdir(root)
    grid = read_grid(root / "configs/experiments/paper.yml")
    assert len(grid.runs()) == 280
    cells = {(run.corpus, run.encoder, run.scheme) for run in grid.runs()}
    assert cells == set(paper_results())
    run = next(
        r for r in grid.runs() if (r.corpus, r.encoder) == ("linnaeus", "scibert")
    )
    config = grid.config_of(run)
    # Table 12: windows of 256, batches of 16, 13 epochs
    assert config["training"]["max_epochs"] == 13
    assert config["paths"]["encoder"] == "allenai/scibert_scivocab_uncased"
    laptop = read_grid(root / "configs/experiments/laptop.yml")
    assert len(laptop.runs()) == 2 * 2 * 2 * 2
    assert all(laptop.config_of(run) for run in laptop.runs())


def test_layouts_of_known_scores(tmp_path):
    """Best bold, second underlined, in every form."""
    encoders = {"a_b": {"config": str(make_grid(tmp_path).config)}}
    schemes = {"vanilla": VANILLA, "welt": VANILLA, "ens_0.3": ENS}
    path = write_grid(
        tmp_path,
        config=None,
        encoders=encoders,
        schemes=schemes,
        seeds=[0, 1],
        tuned=None,
    )
    grid, output = read_grid(path), tmp_path / "out"
    f = {"vanilla": (0.5, 0.6), "welt": (0.7, 0.9), "ens_0.3": (0.4, 0.5)}
    for run in grid.runs():
        put_run(output, run, [[1, 2, 2]], f[run.scheme][run.seed])
    rows = rows_of(read_results(grid, output))
    assert [row.score for row in rows] == ["P", "R", "F1"]
    assert "| **80.00 ± 14.14** |" in layout_markdown(rows)
    assert "| <u>55.00 ± 7.07</u> |" in layout_markdown(rows)
    latex = layout_latex(rows)
    assert "\\textbf{80.00 $\\pm$ 14.14}" in latex and "a\\_b" in latex
    assert "ncbi_disease,a_b,,welt,F1,80.0000,14.1421,2" in layout_csv(rows)
    page = layout_html(rows, "<b>")
    assert '<td class="best" title="2 seeds">80.00 ± 14.14</td>' in page
    assert "<title>&lt;b&gt;</title>" in page
    for form in ("markdown", "csv", "latex", "html"):
        to = tmp_path / f"table.{form}"
        assert (
            invoke("results", path, None, output, "-f", form, "--to", to).exit_code == 0
        )
        assert to.stat().st_size > 100
    parquet = pytest.importorskip("pyarrow.parquet")
    found = invoke("results", path, None, output, "--form", "parquet")
    assert found.exit_code == 0
    table = parquet.read_table(output / "results")
    assert table.num_rows == 6 and len(list((output / "results").iterdir())) == 6
    assert set(table["scheme"].to_pylist()) == set(schemes)
    wrong = invoke("compare-paper", path, None, output)
    assert wrong.exit_code == 1 and "no run is of a cell of the paper" in wrong.stderr


def test_beside_the_paper(tmp_path, root, monkeypatch):
    monkeypatch.chdir(root)
    text = (
        (root / "configs/experiments/paper.yml").read_text().replace("[0]", "[0, 1, 2]")
    )
    path = tmp_path / "paper.yml"
    path.write_text(text)
    grid, output = read_grid(path), tmp_path / "out"
    told = paper_results()["ncbi_disease", "biobert", "welt"]["f1"]
    for run in grid.runs():
        if (run.corpus, run.encoder) == ("ncbi_disease", "biobert"):
            near = told / 100 + 0.01 * (run.seed - 1)
            if run.scheme == "welt":
                put_run(output, run, [[1, 2, 2]], near)
            elif run.scheme == "vanilla":
                put_run(output, run, [[1, 2, 2]], 0.2 + 0.001 * run.seed)
            elif run.scheme == "ins" and run.seed == 0:
                put_run(output, run, [[1, 2, 2]], 0.5)
    cells = {cell.scheme: cell for cell in beside_paper(read_results(grid, output))}
    welt = cells["welt"]
    assert welt.within and abs(welt.ours - told) < 1e-6 and welt.seeds == 3
    # t(0.975, 2) = 4.303; sd 1; sqrt(1 + 1/3)
    assert abs((welt.high - welt.ours) - 4.3027 * 1.0 * (4 / 3) ** 0.5) < 1e-3
    assert cells["vanilla"].within is False
    assert cells["ins"].within is None and cells["ins"].sd is None
    told = beside_markdown(list(cells.values()))
    assert "within our interval in 1 of 2 cells" in told
    result = invoke("compare-paper", path, None, output)
    assert result.exit_code == 0 and "**outside**" in result.stdout


def test_parts_of_a_grid(tmp_path, corpora):
    path, output = write_grid(tmp_path, tuned=None), tmp_path / "out"
    first = invoke("run", path, corpora, output, "--shard", "2/2")
    assert first.exit_code == 0 and "1 runs, 0 of them" in first.stderr
    rest = invoke("run", path, corpora, output, "--claim")
    assert rest.exit_code == 0 and "2 runs, 1 of them done before" in rest.stderr
    for wrong in (
        ("--shard", "3/2"),
        ("--engine", "dask"),
        ("--engine", "ray", "--shard", "1/2"),
    ):
        found = invoke("run", path, corpora, output, *wrong)
        assert found.exit_code == 1 and "Traceback" not in found.output
