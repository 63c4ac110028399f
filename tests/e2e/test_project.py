"""The project from its clone to installed packages, with very short trainings."""

import os
import shutil
import subprocess
import sys
import zipfile
from itertools import cycle
from pathlib import Path

import pytest
import srsly
import yaml
from spacy.vocab import Vocab

from welt_spacy.corpora.docbin import write_docs
from welt_spacy.tokens.annotated_labels import set_annotated_labels
from welt_spacy.tokens.docs import read_docs

from ..factories import make_tiny_bert

PARTS = ("assets/sample", "configs", "scripts", "project.yml")


def run(folder: Path, *command: str, check: bool = True, **variables: str) -> str:
    """Run a Python command in the project; returns all that it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf8", "COLUMNS": "200", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf8",
    )
    assert (done.returncode == 0) == check, done.stdout
    return done.stdout


@pytest.fixture
def project(root, tmp_path):
    """The files of the project that are not the package."""
    folder = tmp_path / "project"
    for part in PARTS:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (root / part).is_dir():
            shutil.copytree(root / part, target)
        else:
            shutil.copy(root / part, target)
    return folder


def short(steps: int) -> str:
    return f"--training.max_steps {steps} --training.eval_frequency {steps // 2}"


def test_demo_on_the_sample_corpus(project, tmp_path):
    site = tmp_path / "site"
    settings = {
        "SPACY_CONFIG_OVERRIDES": short(60),
        "PIP_TARGET": str(site),  # not into the environment of the tests
        "PYTHONPATH": str(site),
    }
    first = run(project, "scripts/demo.py", "--sample", **settings)
    for part in ("scores on test", "Installed packages/en_welt_sample", "confidence"):
        assert part in first
    # the packaged pipeline tells all about itself
    (wheel,) = (project / "packages").glob("*.whl")
    assert wheel.name == "en_welt_sample-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [
            n for n in archive.namelist() if n.endswith("sample-0.1.0/meta.json")
        ]
        meta = srsly.json_loads(archive.read(name).decode("utf8"))
        card = archive.read(name.replace("meta.json", "README.md")).decode("utf8")
    assert meta["name"] == "welt_sample"
    assert meta["labels"]["welt_ner"] == ["Chemical", "Disease"]
    assert any(r.startswith("welt-spacy") for r in meta["requirements"])
    assert meta["class_weights"]["welt_ner"]["weighting"] == "welt(temperature=1)"
    scores = srsly.read_json(project / "training/welt_cpu/sample/metrics.json")
    assert meta["performance"]["ents_f"] == scores["strict"]["f"] > 0.2
    assert meta["sources"][0]["license"]
    assert card.startswith("# en_welt_sample\n")
    told = " | ".join(f"{100 * value:.2f}" for value in scores["strict"].values())
    assert f"| strict | {told} |" in card
    hub_card = wheel.with_name("en_welt_sample-0.1.0.README.md").read_text("utf8")
    assert hub_card.startswith("---\n") and hub_card.endswith(card)
    assert (project / "training/welt_cpu/sample/report.html").is_file()
    # and runs from its package, on raw text, without the project
    code = (
        "import spacy; doc = spacy.load('en_welt_sample')("
        "'Aspirin-induced asthma was treated with salbutamol (2 mg).');"
        "print([(e.text, e.label_, 0 < e._.confidence <= 1) for e in doc.ents])"
    )
    assert "True" in run(tmp_path, "-c", code, **settings)
    # a second run re-does nothing
    again = run(project, "scripts/demo.py", "--sample", **settings)
    for step in ("train", "calibrate", "evaluate", "package"):
        assert f"sample: {step} is up to date" in again


def test_all_for_several_corpora(project, tmp_path, mirror):
    """`spacy project run all` as in the README, with a mirror that has but two."""
    part = tmp_path / "mirror"
    iob = "mtl-bioinformatics-2016/data/NCBI-disease-IOB"
    shutil.copytree(mirror / iob, part / iob)
    documents = part / "aioner/data/pubtator"
    documents.mkdir(parents=True)
    for path in (mirror / "aioner/data/pubtator").glob("NCBIdisease*"):
        shutil.copy(path, documents)
    corpora = "ncbi_disease ncbi_disease_docs"
    command = ("-m", "spacy", "project", "run", "all", ".", "--vars.corpora", corpora)
    settings = {
        "SPACY_CONFIG_OVERRIDES": short(20),
        "WELT_CORPORA_MIRROR": str(part),
        "NO_PROXY": "",
        "https_proxy": "http://127.0.0.1:9",  # no publisher can be reached
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    first = run(project, *command, **settings)
    assert first.count("⚠ Can't get") == 11  # the corpora that the mirror does not have
    assert first.count("⚠ No vectors of word pieces") == 1
    for corpus in corpora.split():
        assert (project / f"packages/en_welt_{corpus}-0.1.0-py3-none-any.whl").is_file()
        assert (project / f"training/welt_cpu/{corpus}/metrics.json").is_file()
    again = run(project, *command, **settings)
    assert again.count("is up to date") == 2 + 2 * 4
    # another scheme is another training, of this corpus alone
    changed = run(
        *(project, "-m", "spacy", "project", "run", "models", "."),
        *("--vars.corpora", "ncbi_disease", "--vars.scheme", "ins"),
        **settings,
    )
    assert "train is up to date" not in changed
    missing = run(
        *(project, "-m", "spacy", "project", "run", "models", "."),
        *("--vars.corpora", "linnaeus"),
        check=False,
        **settings,
    )
    assert "✘ linnaeus: corpus/linnaeus/train.spacy is missing" in missing


def test_distilled(project, tmp_path):
    """Teachers, taught texts, a student, a package; taken up where it was."""
    pytest.importorskip("transformers")
    make_tiny_bert(tmp_path / "bert", max_position=512)
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import demo; demo.prepare_sample()"
    )
    run(project, "-c", code)
    other = project / "corpus/ncbi_disease"
    other.mkdir()
    for split in ("train", "test"):
        shutil.copy(project / "corpus/sample/train.spacy", other / f"{split}.spacy")
    command = (
        *("scripts/distilled.py", "sample", "--encoder", str(tmp_path / "bert")),
        *("--seeds", "0,1", "--steps", "20", "--piece-vectors-path", "null"),
    )
    settings = {"SPACY_CONFIG_OVERRIDES": short(10)}
    first = run(project, *command, **settings)
    for part in ("teacher 0", "teacher 1", "docs with soft labels", "en_welt_sample"):
        assert part in first
    assert (project / "training/distilled/sample/model-calibrated").is_dir()
    assert (project / "packages/en_welt_sample-0.1.0-py3-none-any.whl").is_file()
    card = (project / "packages/en_welt_sample-0.1.0.README.md").read_text("utf8")
    assert "2 larger\npipelines on " in card and "`corpus/ncbi_disease/train" in card
    again = run(project, *command, **settings)
    assert again.count("is up to date") == 2 + 1 + 3
    assert not (project / "assets/encoders").exists()


def test_bio(project):
    """A model for each type that a corpus brings, and one that learns from all."""
    run(project, "-c", "import sys; sys.path.insert(0, 'scripts');"
        "from demo import prepare_sample; prepare_sample()")  # fmt: skip
    sample, bio = project / "corpus/sample", project / "corpus/bio"
    bio.mkdir()
    shutil.copy(sample / "corpus.json", bio)
    # Of every other sentence nobody looked for diseases
    parts = {"biored_chemical": ["Chemical"], "bc5cdr": ["Chemical", "Disease"]}
    for split in ("train", "dev", "test"):
        docs = read_docs(sample / f"{split}.spacy", Vocab())
        for doc, labels in zip(docs, cycle(parts.values())):
            doc.set_ents([ent for ent in doc.ents if ent.label_ in labels])
            set_annotated_labels(doc, labels)
        write_docs(bio / f"{split}.spacy", docs)
    for name in parts:
        shutil.copytree(sample, project / "corpus" / name)
    command = (
        *("scripts/bio.py", "biored_chemical bc5cdr biored_disease"),
        *("--steps", "20", "--piece-vectors", "null"),
    )
    settings = {"SPACY_CONFIG_OVERRIDES": short(10)}
    first = run(project, *command, **settings)
    for part in ("biored_chemical: train", "bc5cdr: train", "en_welt_bio-0.1.0"):
        assert part in first
    # BioRED's diseases bring no type that BC5CDR did not
    assert "biored_disease" not in first
    meta = srsly.read_json(project / "training/welt_bio/bio/model-best/meta.json")
    assert len(meta["distilled"]["teachers"]) == 2
    assert meta["labels"]["welt_ner"] == ["Chemical", "Disease"]
    again = run(project, *command, **settings)
    assert again.count("is up to date") == 2 + 1 + 3


def test_bioselecttune(project):
    """Tiny models are made, select, are tuned, scored and packaged."""
    pytest.importorskip("peft", reason="needs welt-spacy[llm]")
    run(project, "-c", "import sys; sys.path.insert(0, 'scripts');"
        "from demo import prepare_sample; prepare_sample()")  # fmt: skip
    sample = project / "corpus/sample"
    for split in (
        "train",
        "dev",
        "test",
    ):  # answers of a model that has learned nothing
        docs = read_docs(sample / f"{split}.spacy", Vocab())
        write_docs(sample / f"{split}.spacy", docs[: 40 if split == "train" else 6])
    command = ("scripts/bioselecttune.py", "sample", "--demo", "--steps", "4")
    short_time = ("--minutes", "0.05")
    first = run(project, *command, *short_time)
    for part in (
        "NOT how well",
        "docs with entities",
        "Best on dev",
        "Sets of strings",
    ):
        assert part in first
    folder = project / "training/bioselecttune_demo/sample"
    selected = read_docs(folder / "selected.spacy", Vocab())
    assert 0 < len(selected) < len(read_docs(sample / "train.spacy", Vocab()))
    metrics = srsly.read_json(folder / "metrics.json")
    assert metrics["answers"]["issues"]["unsupported name"]["n"] == 0
    [wheel] = (project / "packages").glob("en_welt_sample_demo-0.1.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        card = archive.read(next(n for n in names if n.endswith("README.md"))).decode()
    assert any(
        name.endswith("generative_ner/model/model.safetensors") for name in names
    )
    assert "tuned on" in card and "strong" in card and "welt-spacy[llm]" in card
    again = run(project, *command, *short_time)
    assert again.count("is up to date") == 2 + 1 + 3


def test_document(root, project):
    run(project, "-m", "spacy", "project", "document", "--output", "out.md")
    made = (project / "out.md").read_text(encoding="utf8")
    made = made.replace("(project.yml)", "(../project.yml)")
    assert made == (root / "docs" / "project.md").read_text(encoding="utf8"), (
        "docs/project.md is not up to date: make docs"
    )
    for command in yaml.safe_load((project / "project.yml").read_text())["commands"]:
        assert f"`{command['name']}`" in made
        assert command["help"].strip()


def test_steps_of_one_corpus(project):
    """The commands of project.yml one by one, as `spacy project run corpus` has
    them: on what the sample corpus is converted to."""
    run(project, "-c", "import sys; sys.path.insert(0, 'scripts');"
        "from demo import prepare_sample; prepare_sample()")  # fmt: skip
    arguments = ("--vars.corpus", "sample", "--vars.scheme", "isns")
    arguments += ("--vars.piece_vectors", "null")
    for step in ("train", "calibrate", "evaluate", "package"):
        printed = run(
            *(project, "-m", "spacy", "project", "run", step, ".", *arguments),
            SPACY_CONFIG_OVERRIDES=short(10),
        )
        assert "✘" not in printed
    meta = srsly.read_json(project / "training/welt_cpu/sample/model-best/meta.json")
    assert meta["class_weights"]["welt_ner"]["weighting"] == "isns"
    printed = run(project, "-m", "spacy", "project", "run", "train", ".", *arguments)
    assert "Skipping 'train'" in printed
