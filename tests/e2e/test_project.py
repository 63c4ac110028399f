"""The project from its clone to installed packages, with very short trainings."""

import importlib
import shutil
import zipfile
from itertools import cycle

import pytest
import srsly
import typer
import yaml
from spacy.vocab import Vocab
from typer.testing import CliRunner

from welt_spacy.corpora.docbin import write_docs
from welt_spacy.tokens.annotated_labels import set_annotated_labels
from welt_spacy.tokens.docs import read_docs

from ..factories import make_tiny_bert, run_python, run_spacy

PARTS = ("assets/sample", "configs", "scripts", "project.yml")


def copy_project(root, folder):
    """Copy the files of the project, without the package, to a folder."""
    for part in PARTS:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (root / part).is_dir():
            shutil.copytree(root / part, target)
        else:
            shutil.copy(root / part, target)
    return folder


@pytest.fixture
def project(root, tmp_path, monkeypatch):
    """Copy the project and work in the copy; its scripts can be imported."""
    folder = copy_project(root, tmp_path / "project")
    monkeypatch.syspath_prepend(str(root / "scripts"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PYTHONIOENCODING", "utf8")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def sample(project):
    """Convert the sample corpus and return its folder."""
    importlib.import_module("demo").prepare_sample()
    return project / "corpus/sample"


@pytest.fixture
def run_script(project, capfd):
    """Return a function that runs a script of the project in this process and returns
    its output and that of its processes."""

    def run(name, *arguments):
        script = typer.Typer()
        script.command()(importlib.import_module(name).main)
        capfd.readouterr()
        result = CliRunner().invoke(script, [str(a) for a in arguments])
        printed = result.output + "".join(capfd.readouterr())
        assert result.exit_code == 0, (printed, result.exception)
        return printed

    return run


@pytest.fixture
def run_project(project, capfd):
    """Return a function that runs `spacy project run` in this process and returns its
    output and that of its processes."""

    def run(command, *variables):
        capfd.readouterr()
        printed = run_spacy(project, "project", "run", command, ".", *variables)
        return printed + "".join(capfd.readouterr())

    return run


def limit_steps(steps):
    """Return the overrides for a short training, as SPACY_CONFIG_OVERRIDES has them."""
    return f"--training.max_steps {steps} --training.eval_frequency {steps // 2}"


@pytest.fixture(scope="module")
def demo(root, tmp_path_factory):
    """Run the demo on the sample corpus; its packages are installed into `site`."""
    folder = tmp_path_factory.mktemp("demo")
    project = copy_project(root, folder / "project")
    settings = {
        "SPACY_CONFIG_OVERRIDES": limit_steps(60),
        "PIP_TARGET": str(folder / "site"),  # not into the environment of the tests
        "PYTHONPATH": str(folder / "site"),
        "PYTHONIOENCODING": "utf8",
        "COLUMNS": "200",
    }
    done = run_python("scripts/demo.py", "--sample", cwd=project, **settings)
    return project, settings, done.stdout


@pytest.fixture(scope="module")
def demo_package(demo):
    """Return the metadata, the card of the demo's wheel, and the card for the hub."""
    (wheel,) = (demo[0] / "packages").glob("*.whl")
    assert wheel.name == "en_welt_sample-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (name,) = [name for name in names if name.endswith("sample-0.1.0/meta.json")]
        meta = srsly.json_loads(archive.read(name).decode("utf8"))
        card = archive.read(name.replace("meta.json", "README.md")).decode("utf8")
    hub_card = wheel.with_name("en_welt_sample-0.1.0.README.md").read_text("utf8")
    return meta, card, hub_card


def test_demo_shows_scores_and_entities(demo):
    project, _, printed = demo
    for part in ("scores on test", "Installed packages/en_welt_sample", "confidence"):
        assert part in printed
    assert (project / "training/welt_cpu/sample/report.html").is_file()


def test_package_has_labels_weights_and_scores(demo, demo_package):
    meta, card, hub_card = demo_package
    assert meta["name"] == "welt_sample"
    assert meta["labels"]["welt_ner"] == ["Chemical", "Disease"]
    assert any(r.startswith("welt-spacy") for r in meta["requirements"])
    assert meta["class_weights"]["welt_ner"]["weighting"] == "welt(temperature=1)"
    assert meta["sources"][0]["license"]
    metrics = srsly.read_json(demo[0] / "training/welt_cpu/sample/metrics.json")
    assert meta["performance"]["ents_f"] == metrics["strict"]["f"] > 0.2
    assert card.startswith("# en_welt_sample\n")
    percent = " | ".join(f"{100 * value:.2f}" for value in metrics["strict"].values())
    assert f"| strict | {percent} |" in card
    assert hub_card.startswith("---\n") and hub_card.endswith(card)


def test_package_runs_without_the_project(demo, tmp_path):
    code = (
        "import spacy; doc = spacy.load('en_welt_sample')("
        "'Aspirin-induced asthma was treated with salbutamol (2 mg).');"
        "print([(e.text, e.label_, 0 < e._.confidence <= 1) for e in doc.ents])"
    )
    assert "True" in run_python("-c", code, cwd=tmp_path, **demo[1]).stdout


def test_second_demo_skips_all_steps(demo):
    project, settings, _ = demo
    done = run_python("scripts/demo.py", "--sample", cwd=project, **settings)
    for step in ("train", "calibrate", "evaluate", "package"):
        assert f"sample: {step} is up to date" in done.stdout


def test_all_for_several_corpora(project, run_project, tmp_path, mirror, monkeypatch):
    """Run the workflow `all` with a mirror that has two corpora."""
    part = tmp_path / "mirror"
    iob = "mtl-bioinformatics-2016/data/NCBI-disease-IOB"
    shutil.copytree(mirror / iob, part / iob)
    documents = part / "aioner/data/pubtator"
    documents.mkdir(parents=True)
    for path in (mirror / "aioner/data/pubtator").glob("NCBIdisease*"):
        shutil.copy(path, documents)
    for name, value in {
        "SPACY_CONFIG_OVERRIDES": limit_steps(20),
        "WELT_CORPORA_MIRROR": str(part),
        "NO_PROXY": "",
        "https_proxy": "http://127.0.0.1:9",  # no publisher is available
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    corpora = "ncbi_disease ncbi_disease_docs"
    first = run_project("all", "--vars.corpora", corpora)
    assert first.count("⚠ Can't get") == 11  # the corpora that the mirror does not have
    assert first.count("⚠ No vectors of word pieces") == 1
    for corpus in corpora.split():
        assert (project / f"packages/en_welt_{corpus}-0.1.0-py3-none-any.whl").is_file()
        assert (project / f"training/welt_cpu/{corpus}/metrics.json").is_file()
    again = run_project("all", "--vars.corpora", corpora)
    assert again.count("is up to date") == 2 + 2 * 4
    # Another scheme is another training, of this corpus alone
    changed = run_project(
        *("models", "--vars.corpora", "ncbi_disease", "--vars.scheme", "ins")
    )
    assert "train is up to date" not in changed


def test_models_need_converted_corpora(project):
    done = run_python("scripts/models.py", "linnaeus", cwd=project, check=False)
    assert done.returncode == 1
    assert "✘ linnaeus: corpus/linnaeus/train.spacy is missing" in done.stdout


def test_distilled(project, sample, run_script, tmp_path, monkeypatch):
    """Train teachers, label texts, train a student and package it; then skip all."""
    pytest.importorskip("transformers")
    make_tiny_bert(tmp_path / "bert", max_position=512)
    other = project / "corpus/ncbi_disease"
    other.mkdir()
    for split in ("train", "test"):
        shutil.copy(sample / "train.spacy", other / f"{split}.spacy")
    arguments = (
        *("distilled", "sample", "--encoder", tmp_path / "bert", "--seeds", "0,1"),
        *("--steps", "20", "--piece-vectors-path", "null"),
    )
    monkeypatch.setenv("SPACY_CONFIG_OVERRIDES", limit_steps(10))
    first = run_script(*arguments)
    for part in (
        "teacher 0",
        "teacher 1",
        "documents with soft labels",
        "en_welt_sample",
    ):
        assert part in first
    assert (project / "training/distilled/sample/model-calibrated").is_dir()
    assert (project / "packages/en_welt_sample-0.1.0-py3-none-any.whl").is_file()
    card = (project / "packages/en_welt_sample-0.1.0.README.md").read_text("utf8")
    assert "2 larger\npipelines for " in card and "`corpus/ncbi_disease/train" in card
    again = run_script(*arguments)
    assert again.count("is up to date") == 2 + 1 + 3
    assert not (project / "assets/encoders").exists()


def test_bio(project, sample, run_script, monkeypatch):
    """Train a model for each type that a corpus adds, and one that learns from all."""
    bio = project / "corpus/bio"
    bio.mkdir()
    shutil.copy(sample / "corpus.json", bio)
    # Every other sentence is not annotated for diseases
    parts = {"biored_chemical": ["Chemical"], "bc5cdr": ["Chemical", "Disease"]}
    for split in ("train", "dev", "test"):
        docs = read_docs(sample / f"{split}.spacy", Vocab())
        for doc, labels in zip(docs, cycle(parts.values())):
            doc.set_ents([ent for ent in doc.ents if ent.label_ in labels])
            set_annotated_labels(doc, labels)
        write_docs(bio / f"{split}.spacy", docs)
    for name in parts:
        shutil.copytree(sample, project / "corpus" / name)
    arguments = (
        *("bio", "biored_chemical bc5cdr biored_disease"),
        *("--steps", "20", "--piece-vectors", "null"),
    )
    monkeypatch.setenv("SPACY_CONFIG_OVERRIDES", limit_steps(10))
    first = run_script(*arguments)
    for part in ("biored_chemical: train", "bc5cdr: train", "en_welt_bio-0.1.0"):
        assert part in first
    # BioRED's diseases add no type to those of BC5CDR
    assert "biored_disease" not in first
    meta = srsly.read_json(project / "training/welt_bio/bio/model-best/meta.json")
    assert len(meta["distilled"]["teachers"]) == 2
    assert meta["labels"]["welt_ner"] == ["Chemical", "Disease"]
    again = run_script(*arguments)
    assert again.count("is up to date") == 2 + 1 + 3


def test_bioselecttune(project, sample, run_script):
    """Make tiny models, select, tune, score and package; then skip all."""
    pytest.importorskip("peft", reason="needs welt-spacy[llm]")
    # Few docs, because a model that has learned nothing generates long responses
    for split, n_docs in (("train", 40), ("dev", 6), ("test", 6)):
        docs = read_docs(sample / f"{split}.spacy", Vocab())
        write_docs(sample / f"{split}.spacy", docs[:n_docs])
    arguments = ("bioselecttune", "sample", "--demo", "--steps", 4, "--minutes", 0.05)
    first = run_script(*arguments)
    for part in ("NOT how well", "documents with entities", "Best on dev"):
        assert part in first
    assert "Sets of strings" in first
    folder = project / "training/bioselecttune_demo/sample"
    selected = read_docs(folder / "selected.spacy", Vocab())
    assert 0 < len(selected) < len(read_docs(sample / "train.spacy", Vocab()))
    metrics = srsly.read_json(folder / "metrics.json")
    responses = metrics["llm_responses"]
    assert responses["issues"]["unsupported name"]["n"] == 0
    [wheel] = (project / "packages").glob("en_welt_sample_demo-0.1.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        card = archive.read(next(n for n in names if n.endswith("README.md"))).decode()
    assert any(
        name.endswith("generative_ner/model/model.safetensors") for name in names
    )
    assert "tuned on" in card and "strong" in card and "welt-spacy[llm]" in card
    again = run_script(*arguments)
    assert again.count("is up to date") == 3 + 1 + 3


def test_document(root, project):
    run_spacy(project, "project", "document", "--output", "out.md")
    page = (project / "out.md").read_text(encoding="utf8")
    page = page.replace("(project.yml)", "(../project.yml)")
    assert page == (root / "docs" / "project.md").read_text(encoding="utf8"), (
        "docs/project.md is not up to date: make docs"
    )
    for command in yaml.safe_load((project / "project.yml").read_text())["commands"]:
        assert f"`{command['name']}`" in page
        assert command["help"].strip()


def test_steps_of_one_corpus(project, sample, run_project, monkeypatch):
    """Run the commands of the workflow `corpus` one by one on the sample corpus."""
    monkeypatch.setenv("SPACY_CONFIG_OVERRIDES", limit_steps(10))
    variables = ("--vars.corpus", "sample", "--vars.scheme", "isns")
    variables += ("--vars.piece_vectors", "null")
    for step in ("train", "calibrate", "evaluate", "package"):
        assert "✘" not in run_project(step, *variables)
    meta = srsly.read_json(project / "training/welt_cpu/sample/model-best/meta.json")
    assert meta["class_weights"]["welt_ner"]["weighting"] == "isns"
    assert "Skipping 'train'" in run_project("train", *variables)
