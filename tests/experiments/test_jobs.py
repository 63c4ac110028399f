"""Jobs: everything that decides the result of a run."""

import json
import shutil
from dataclasses import replace

import pytest

from welt_spacy.corpora.docbin import write_docs
from welt_spacy.errors import WeltError
from welt_spacy.experiments.grid import SelectionOptions
from welt_spacy.experiments.jobs import Job, cache_encoders, make_jobs
from welt_spacy.experiments.workspace import Workspace

from ..factories import make_examples, make_nlp
from ..factories.experiments import (
    SMALL,
    VANILLA,
    make_corpora,
    make_grid,
    make_one_job,
    put_run,
)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpora"))


def make_name(tmp_path, corpora, **changes):
    _, _, job = make_one_job(tmp_path, corpora, **changes)
    return job.name


def test_a_job_survives_json(tmp_path, corpora):
    options = SelectionOptions(strategy="random", keep=0.5)
    _, _, job = make_one_job(tmp_path, corpora, selections={"half": options})
    job = replace(job, run=replace(job.run, tuned=("o_bias",)))
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_a_missing_corpus(tmp_path):
    workspace = Workspace(tmp_path / "out", tmp_path)
    with pytest.raises(WeltError, match="spacy welt corpora convert ncbi_disease"):
        make_jobs(make_grid(tmp_path), workspace)


def test_settings_decide_the_result(tmp_path, corpora):
    changed = {**SMALL, "training.max_steps": 2}
    names = {
        make_name(tmp_path, corpora),
        make_name(tmp_path, corpora, overrides=changed),
        make_name(tmp_path, corpora, seeds=[1]),
    }
    assert len(names) == 3


def test_files_of_the_config_decide_the_result(tmp_path, corpora):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "soft-labels").mkdir()
    overrides = {
        **SMALL,
        "paths.init_tok2vec": str(tmp_path / "weights.bin"),
        "paths.encoder": str(tmp_path / "encoder"),
        "corpora.train.path": str(tmp_path / "soft-labels"),
    }
    names = []
    for place in ("weights.bin", "encoder/config.json", "soft-labels/1.spacy"):
        for content in "ab":
            (tmp_path / place).write_text(content)
            names.append(make_name(tmp_path, corpora, overrides=overrides))
    # Each file is new once and changed once
    assert len(set(names)) == 6


def test_models_of_a_selection_decide_the_result(tmp_path, corpora):
    names = set()
    tagger = tmp_path / "tagger"
    tagger.mkdir()
    options = SelectionOptions(strategy="tagger_loss", tagger=tagger)
    for content in "ab":
        (tagger / "model").write_text(content)
        names.add(make_name(tmp_path, corpora, selections={"x": options}))
    assert len(names) == 2


@pytest.mark.parametrize("package", ["python", "tokenizers", "safetensors"])
def test_versions_decide_the_result(tmp_path, corpora, monkeypatch, package):
    name = make_name(tmp_path, corpora)
    changed = {**make_one_job(tmp_path, corpora)[2].fingerprint.versions, package: "0"}
    monkeypatch.setattr("welt_spacy.util.fingerprint.get_versions", lambda: changed)
    assert make_name(tmp_path, corpora) != name


def test_the_corpus_decides_the_result(tmp_path, corpora):
    data = shutil.copytree(corpora, tmp_path / "data")
    _, workspace, job = make_one_job(tmp_path, data)
    put_run(workspace, job, [(1, 2, 2)])
    assert job.is_done(workspace)
    # Another corpus of the same name
    train = data / "ncbi_disease/train.spacy"
    content = train.read_bytes()
    write_docs(train, [eg.reference for eg in make_examples(make_nlp())])
    _, _, changed = make_one_job(tmp_path, data)
    assert changed.name != job.name and not changed.is_done(workspace)
    with pytest.raises(WeltError, match=r"files\.train differ"):
        job.check_inputs(workspace)
    train.write_bytes(content)
    assert make_one_job(tmp_path, data)[2].is_done(workspace)
    job.check_inputs(workspace)


@pytest.mark.parametrize(
    "name, content",
    [
        ("metrics.json", "[{}]"),
        ("metrics.json", None),
        ("run.json", "["),
        ("run.json", "[]"),
        ("run.json", '{"fingerprint": 1}'),
        ("run.json", '{"outputs": {}}'),
    ],
)
def test_damaged_results_are_not_done(tmp_path, corpora, name, content):
    _, workspace, job = make_one_job(tmp_path, corpora)
    path = put_run(workspace, job, [(1, 2, 2)]).path / name
    assert job.is_done(workspace)
    path.unlink() if content is None else path.write_text(content)
    assert not job.is_done(workspace)


def test_an_encoder_without_a_known_commit(tmp_path, monkeypatch):
    # Its config is fetched, so that the first run does not change the fingerprint
    hub = pytest.importorskip("huggingface_hub")
    fetched = []

    def fetch(name, file):
        fetched.append((name, file))
        if "nosuch" in name:
            raise OSError("no network")

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: None)
    config = {"config": make_grid(tmp_path).config}
    encoders = {
        name: {**config, "overrides": {**SMALL, "paths.encoder": path}}
        for name, path in (
            *(("here", str(tmp_path)), ("hub", "welt/bert"), ("lost", "welt/nosuch")),
        )
    }
    grid = make_grid(
        tmp_path, config=None, encoders=encoders, schemes={"vanilla": VANILLA}, tuned={}
    )
    assert cache_encoders(grid) == ["welt/nosuch"]
    assert sorted(fetched) == [
        ("welt/bert", "config.json"),
        ("welt/nosuch", "config.json"),
    ]
