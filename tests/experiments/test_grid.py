"""Experiments as YAML files."""

import pytest

from welt_spacy.errors import WeltError
from welt_spacy.experiments.grid import read_grid
from welt_spacy.experiments.jobs import make_run_config
from welt_spacy.experiments.paper_comparison import read_paper_results

from ..factories.experiments import ENS, VANILLA, make_grid, write_grid


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


def test_the_experiment_of_the_paper(root, monkeypatch):
    monkeypatch.chdir(root)
    grid = read_grid(root / "configs/experiments/paper.yml")
    assert len(grid.runs()) == 280
    cells = {(run.corpus, run.encoder, run.scheme) for run in grid.runs()}
    assert cells == set(read_paper_results())
    run = next(
        run
        for run in grid.runs()
        if (run.corpus, run.encoder) == ("linnaeus", "scibert")
    )
    config = make_run_config(grid, run)
    # Table 12: windows of 256, batches of 16, 13 epochs
    assert config["training"]["max_epochs"] == 13
    assert config["paths"]["encoder"] == "allenai/scibert_scivocab_uncased"


def test_the_small_experiment(root, monkeypatch):
    monkeypatch.chdir(root)
    grid = read_grid(root / "configs/experiments/laptop.yml")
    assert len(grid.runs()) == 2 * 2 * 2 * 2
    assert all(make_run_config(grid, run) for run in grid.runs())


def test_overrides_of_an_encoder_and_a_corpus(tmp_path):
    config = str(make_grid(tmp_path).config)
    narrow = {"components.tok2vec.model.encode.width": 8}
    encoders = {"narrow": {"config": config, "overrides": narrow}}
    path = write_grid(
        tmp_path,
        config=None,
        encoders=encoders,
        per_corpus={"ncbi_disease": {"training.max_steps": 2}},
    )
    grid = read_grid(path)
    config = make_run_config(grid, grid.runs()[-1])
    assert config["training"]["max_steps"] == 2
    assert config["components"]["tok2vec"]["model"]["encode"]["width"] == 8


def test_a_corpus_that_is_not_in_the_paper(tmp_path):
    path = write_grid(
        tmp_path,
        corpora=["mine"],
        encoders={"biobert": None},
        config=None,
        tuned=None,
        overrides=None,
    )
    grid = read_grid(path)
    # Not in the paper's table of hyper-parameters
    assert make_run_config(grid, grid.runs()[0])["training"]["max_epochs"] == 10


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeds": None}, "seeds is missing"),
        ({"seeds": []}, "seeds: it is empty"),
        ({"seeds": ["a"]}, "seeds.0: input should be a valid integer"),
        ({"seeds": [True]}, "seeds.0: input should be a valid integer"),
        ({"seeds": [-1]}, "seeds: -1 is not between 0"),
        ({"seeds": [0, 0]}, "seeds: 0 is there more than once"),
        ({"seed": 1}, "unknown key 'seed'. Known keys are config, corpora"),
        ({"corpora": "bc2gm"}, "corpora: input should be a valid array"),
        ({"corpora": ["../bc3"]}, "corpora: '../bc3' is no valid name"),
        ({"corpora": ["bc2gm", "bc2gm"]}, "corpora: 'bc2gm' is there more than once"),
        ({"corpora": [["bc2gm"]]}, "corpora.0: input should be a valid string"),
        ({"schemes": ["vanilla", "welt"]}, "schemes: input should be an object"),
        ({"schemes": {"welt": {}}, "tuned": None}, "schemes.welt needs a registered function"),
        ({"schemes": {"../../x": VANILLA}, "tuned": None}, "is no valid name"),
        ({"schemes": {"a/b": VANILLA}, "tuned": None}, "is no valid name"),
        ({"schemes": {"x": {"@misc": "nosuch"}}, "tuned": None}, "registered as 'nosuch'"),
        ({"schemes": {"x": {"@misc": None}}, "tuned": None}, "needs a registered function"),
        ({"schemes": {"x": {**ENS, "beta": 2.0}}, "tuned": None}, "beta is 2"),
        ({"tuned": {"welt": ["o_bias"]}}, "tuned: 'welt' is not a scheme"),
        ({"tuned": {"vanilla": ["bias"]}}, "tuned: 'bias' can't be tuned"),
        ({"tuned": {"vanilla": 3}}, "tuned.vanilla: input should be a valid array"),
        ({"tuned": {"vanilla": "o_bias"}}, "tuned.vanilla: input should be a valid array"),
        ({"config": "none.cfg"}, "none.cfg is not a file"),
        ({"config": None}, "config is missing"),
        ({"encoders": {"x": {"config": "none.cfg"}}}, "config is missing"),
        ({"config": None, "encoders": {"x": None}}, "encoders.x needs a config"),
        ({"config": None, "encoders": {"x": {"cfg": 1}}}, "unknown key 'encoders.x.cfg'"),
        ({"config": None, "encoders": {"a/b": None}}, "is no valid name"),
        ({"per_corpus": {"bc2gm": {}}}, "per_corpus: 'bc2gm' is not in corpora"),
        ({"selections": {"x": {"keep": 0.5}}}, "selections.x.strategy is missing"),
        ({"selections": {"x": {"strategy": "none"}}}, "selections.x: "),
        ({"selections": {"x": {"strategy": "superfilter"}}}, "selections.x: superfilter ranks"),
        ({"train_on_dev": True}, "train_on_dev leaves nothing to tune on"),
        ({"keep_models": "no"}, "keep_models: input should be a valid boolean"),
    ],
)  # fmt: skip
def test_an_error_names_the_key(tmp_path, changes, message):
    with pytest.raises(WeltError) as error:
        read_grid(write_grid(tmp_path, **changes))
    assert message in str(error.value) and "grid.yml: " in str(error.value)
    assert "\n" not in str(error.value)


def test_no_yaml(tmp_path):
    with pytest.raises(WeltError, match="is not a file"):
        read_grid(tmp_path / "none.yml")
    (tmp_path / "bad.yml").write_text("{")
    with pytest.raises(WeltError, match="is not YAML"):
        read_grid(tmp_path / "bad.yml")
