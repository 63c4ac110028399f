"""Results of an experiment: the runs that count, and the tables."""

from dataclasses import replace

import pytest

from welt_spacy.errors import WeltError
from welt_spacy.experiments import paper_tables
from welt_spacy.experiments.grid import read_grid
from welt_spacy.experiments.jobs import iterate_jobs
from welt_spacy.experiments.paper_comparison import (
    compare_with_paper,
    read_paper_results,
    render_comparisons,
)
from welt_spacy.experiments.results import Group, read_results, write_parquet
from welt_spacy.experiments.significance_tables import render_tests
from welt_spacy.experiments.workspace import Workspace

from ..factories.experiments import (
    ENS,
    SMALL,
    VANILLA,
    make_corpora,
    make_grid,
    put_run,
    run_experiment_command,
    write_grid,
)


@pytest.fixture
def workspace(tmp_path):
    # Without corpora: then their checksums are not compared
    return Workspace(tmp_path / "out", tmp_path / "corpora")


def put_all(workspace, grid, f=0.5):
    jobs = list(iterate_jobs(grid, workspace))
    for job in jobs:
        put_run(workspace, job, [(1, 2, 2)], f)
    return jobs


def get_f(results):
    (schemes,) = results.scores.values()
    return {scheme: runs[0].strict["f"] for scheme, runs in schemes.items()}


def test_only_runs_with_the_settings_of_the_file_count(tmp_path, workspace):
    # A half-finished change mixes nothing, and going back shows the old figures
    old = make_grid(tmp_path, tuned={})
    new = make_grid(tmp_path, tuned={}, overrides={**SMALL, "training.max_steps": 2})
    put_all(workspace, old, 0.5)
    put_run(workspace, next(iterate_jobs(new, workspace)), [(1, 2, 2)], 0.9)
    results = read_results(new, workspace)
    assert get_f(results) == {"vanilla": 90.0}
    assert results.missing == ["ncbi_disease-ens_0.3-0"]
    assert len(results.outdated) == 2
    assert {"settings.config.training.max_steps"} == {
        name for names in results.outdated.values() for name in names
    }
    assert get_f(read_results(old, workspace)) == {"vanilla": 50.0, "ens_0.3": 50.0}


def test_only_runs_with_the_data_count(tmp_path, workspace):
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={})
    make_corpora(workspace.corpora)
    put_all(workspace, grid)
    assert get_f(read_results(grid, workspace)) == {"vanilla": 50.0}
    (workspace.corpora / "ncbi_disease/test.spacy").write_bytes(b"changed")
    with pytest.raises(WeltError, match=r"1 runs are out of date .* \(files.test\)"):
        read_results(grid, workspace)


def test_results_can_be_read_without_the_corpora(tmp_path, workspace):
    grid = make_grid(tmp_path, tuned={})
    corpora = make_corpora(tmp_path / "elsewhere")
    put_all(replace(workspace, corpora=corpora), grid)
    assert len(read_results(grid, workspace).metrics) == 2


def test_only_runs_with_the_versions_of_the_last_call_count(tmp_path, workspace):
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={})
    (job,) = iterate_jobs(grid, workspace)
    versions = {**job.fingerprint.versions, "torch": "0.1"}
    fingerprint = replace(job.fingerprint, versions=versions)
    put_run(workspace, replace(job, fingerprint=fingerprint), [(1, 2, 2)], 0.1)
    with pytest.raises(WeltError, match=r"\(versions.torch\)"):
        read_results(grid, workspace)
    put_run(workspace, job, [(1, 2, 2)], 0.2)
    assert get_f(read_results(grid, workspace)) == {"vanilla": 20.0}


def test_the_command_names_what_is_left_out(tmp_path, workspace):
    path = write_grid(tmp_path, tuned=None)
    old = make_grid(tmp_path, tuned={}, overrides={})
    put_all(workspace, old)
    put_run(workspace, next(iterate_jobs(read_grid(path), workspace)), [(1, 2, 2)], 0.9)
    result = run_experiment_command("results", path, workspace)
    assert result.exit_code == 0 and "| vanilla | 90.00 |" in result.stdout
    lines = result.stderr.splitlines()
    assert lines[0].startswith("⚠ 2 runs are out of date and not shown: ncbi_disease-")
    assert lines[1] == "⚠ 1 runs are not done: ncbi_disease-ens_0.3-0"


def test_runs_that_are_not_finished_do_not_count(tmp_path, workspace):
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={})
    (job,) = iterate_jobs(grid, workspace)
    with workspace.get_run(job.name).open() as output:
        output.start(job.fingerprint, ["metrics.json"])
    with pytest.raises(WeltError, match="no run of this experiment is done"):
        read_results(grid, workspace)


def test_damaged_metrics(tmp_path, workspace):
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={})
    (job,) = put_all(workspace, grid)
    (workspace.get_run(job.name).path / "metrics.json").write_text("[{}]")
    with pytest.raises(WeltError, match="metrics.json: can't read these scores"):
        read_results(grid, workspace)


def test_nothing_run(tmp_path, workspace):
    with pytest.raises(WeltError, match="no run of this experiment is done"):
        read_results(make_grid(tmp_path), workspace)


@pytest.fixture
def two_corpora(tmp_path, workspace):
    """Write runs of two corpora and two seeds; the second scheme has one right prediction more
    in one of two documents and loses none."""
    grid = make_grid(
        tmp_path, corpora=["ncbi_disease", "bc2gm"], seeds=[0, 1], tuned={}
    )
    for job in iterate_jobs(grid, workspace):
        right = 6 + job.run.seed + int(job.run.scheme != "vanilla")
        put_run(workspace, job, [(right, 10, 10), (5, 10, 10)])
    return grid


def test_tests_of_known_scores(two_corpora, workspace):
    text = render_tests(read_results(two_corpora, workspace), "vanilla")
    # 55 and 60 against 60 and 65: each run 5 points better
    assert text.count("| vanilla | 57.50 ± 3.54 |") == 2
    assert text.count("| ens_0.3 | 62.50 ± 3.54 |") == 2
    assert "+5.00 ± 0.00" in text
    gains = "| +5.00 | +5.00 | +5.00 | +5.00 |"
    assert f"| ens_0.3 {gains} 4 / 0 / 0 | 4 / 0 / 0 | 0.125 |" in text
    assert "| all (pooled) | 3.54 |" in text


def test_a_missing_run_is_left_out_of_its_scheme_alone(two_corpora, workspace):
    (folder,) = workspace.output.glob("runs/bc2gm-ens_0.3-1-*")
    (folder / "run.json").unlink()
    text = render_tests(read_results(two_corpora, workspace), "vanilla")
    assert "| +5.00 | 3 / 0 / 0 | 3 / 0 / 0 | 0.250 |" in text


@pytest.fixture
def three_schemes(tmp_path, workspace):
    """Write the runs of three schemes, two seeds, and an encoder "a_b"; return its file."""
    path = write_grid(
        tmp_path,
        config=None,
        encoders={"a_b": {"config": str(make_grid(tmp_path).config)}},
        schemes={"vanilla": VANILLA, "welt": VANILLA, "ens_0.3": ENS},
        seeds=[0, 1],
        tuned=None,
    )
    f = {"vanilla": (0.5, 0.6), "welt": (0.7, 0.9), "ens_0.3": (0.4, 0.5)}
    for job in iterate_jobs(read_grid(path), workspace):
        put_run(workspace, job, [(1, 2, 2)], f[job.run.scheme][job.run.seed])
    return path


@pytest.fixture
def rows(three_schemes, workspace):
    return paper_tables.make_rows(read_results(read_grid(three_schemes), workspace))


def test_a_row_for_each_score(rows):
    assert [row.score for row in rows] == ["P", "R", "F1"]
    assert {row.encoder for row in rows} == {"a_b"}


def test_markdown_marks_the_best_two(rows):
    text = paper_tables.to_markdown(rows)
    assert "| **80.00 ± 14.14** |" in text and "| <u>55.00 ± 7.07</u> |" in text


def test_latex_marks_the_best_and_escapes_names(rows):
    text = paper_tables.to_latex(rows)
    assert "\\textbf{80.00 $\\pm$ 14.14}" in text and "a\\_b" in text
    assert text.count("\\hline") == 3 and "\\begin{tabular}{lllrrr}" in text


def test_csv_has_a_line_for_each_score(rows):
    text = paper_tables.to_csv(rows)
    assert "ncbi_disease,a_b,,welt,F1,80.0000,14.1421,2" in text
    assert len(text.splitlines()) == 1 + 3 * 3


def test_the_page_marks_the_best_and_escapes_the_title(rows):
    page = paper_tables.to_html(rows, "<b>")
    assert '<td class="best" title="2 seeds">80.00 ± 14.14</td>' in page
    assert "<title>&lt;b&gt;</title>" in page


@pytest.mark.parametrize("format_", ["markdown", "csv", "latex", "html"])
def test_the_command_writes_tables(three_schemes, workspace, tmp_path, format_):
    to = tmp_path / f"table.{format_}"
    options = ("--format", format_, "--to", to)
    result = run_experiment_command("results", three_schemes, workspace, *options)
    assert result.exit_code == 0 and to.stat().st_size > 100


def test_parquet_has_a_file_for_each_run(three_schemes, workspace):
    parquet = pytest.importorskip("pyarrow.parquet")
    stale = workspace.results / "gone-0123456789abcdef.parquet"
    stale.parent.mkdir(parents=True)
    stale.touch()
    options = ("--format", "parquet")
    result = run_experiment_command("results", three_schemes, workspace, *options)
    assert result.exit_code == 0
    assert not stale.exists()
    table = parquet.read_table(workspace.results)
    assert table.num_rows == 6 and len(list(workspace.results.iterdir())) == 6
    assert set(table["scheme"].to_pylist()) == {"vanilla", "welt", "ens_0.3"}


def test_files_of_others_stay_in_the_parquet_folder(three_schemes, workspace):
    pytest.importorskip("pyarrow")
    workspace.results.mkdir(parents=True)
    (workspace.results / "mine.parquet").touch()
    write_parquet(read_results(read_grid(three_schemes), workspace), workspace.results)
    assert (workspace.results / "mine.parquet").exists()


def test_a_tuned_parameter_is_a_scheme_of_its_own(tmp_path, workspace):
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA})
    (job,) = iterate_jobs(grid, workspace)
    put_run(workspace, job, [(1, 2, 2)], tuned="o_bias")
    scores = read_results(grid, workspace).scores
    assert set(scores[Group("ncbi_disease")]) == {"vanilla + o_bias"}


def test_no_cell_of_the_paper(three_schemes, workspace):
    result = run_experiment_command("compare-paper", three_schemes, workspace)
    assert result.exit_code == 1 and "no run is of a cell of the paper" in result.stderr


@pytest.fixture
def paper_experiment(tmp_path, root, workspace, monkeypatch):
    """Write three seeds of BioBERT on one corpus: one scheme near the paper's figure, one far from
    it, and one seed of a third."""
    monkeypatch.chdir(root)
    text = (root / "configs/experiments/paper.yml").read_text()
    text = text.replace("[0]", "[0, 1, 2]")
    corpora, _, rest = text.partition("encoders:")
    start = corpora.partition("corpora:")[0]
    path = tmp_path / "paper.yml"
    path.write_text(
        f"{start}corpora: [ncbi_disease]\nencoders:\n  biobert:\n# {rest.partition('#')[2]}"
    )
    f1 = read_paper_results()["ncbi_disease", "biobert", "welt"].f1
    for job in iterate_jobs(read_grid(path), workspace):
        run = job.run
        if run.scheme == "welt":
            put_run(workspace, job, [(1, 2, 2)], f1 / 100 + 0.01 * (run.seed - 1))
        elif run.scheme == "vanilla":
            put_run(workspace, job, [(1, 2, 2)], 0.2 + 0.001 * run.seed)
        elif run.scheme == "ins" and run.seed == 0:
            put_run(workspace, job, [(1, 2, 2)], 0.5)
    return path


def test_where_a_further_run_is_expected(paper_experiment, workspace):
    results = read_results(read_grid(paper_experiment), workspace)
    cells = {cell.scheme: cell for cell in compare_with_paper(results)}
    welt = cells["welt"]
    assert welt.is_within and abs(welt.f1 - welt.paper) < 1e-6 and welt.seeds == 3
    # t(0.975, 2) = 4.303; sd 1; sqrt(1 + 1/3)
    assert abs((welt.high - welt.f1) - 4.3027 * 1.0 * (4 / 3) ** 0.5) < 1e-3
    assert cells["vanilla"].is_within is False
    assert cells["ins"].is_within is None and cells["ins"].sd is None
    text = render_comparisons(list(cells.values()))
    assert "within our interval in 1 of 2 cells" in text


def test_the_command_compares_with_the_paper(paper_experiment, workspace):
    result = run_experiment_command("compare-paper", paper_experiment, workspace)
    assert result.exit_code == 0 and "**outside**" in result.stdout


def test_a_job_is_a_run_of_its_name_alone(tmp_path, workspace):
    # A scheme whose name begins with that of another one is not taken for it
    schemes = {"ens": ENS, "ens-2": ENS}
    grid = make_grid(tmp_path, schemes=schemes, tuned={}, seeds=[2])
    for job, f in zip(iterate_jobs(grid, workspace), (0.1, 0.2)):
        put_run(workspace, job, [(1, 2, 2)], f)
    (schemes,) = read_results(grid, workspace).scores.values()
    assert {name: runs[2].strict["f"] for name, runs in schemes.items()} == {
        "ens": 10.0,
        "ens-2": 20.0,
    }
