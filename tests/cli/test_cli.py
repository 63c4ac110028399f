"""The commands as their users see them: output, exit status, files left behind."""

import shutil
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import Config

from ..factories import (
    TRAIN_DATA,
    fails_with_one_line,
    make_examples,
    make_nlp,
    run_command,
    run_python,
    run_spacy,
)

IOB = "Aspirin\tB-Chemical\nhelps\tO\n"


@pytest.fixture
def served(tmp_path, monkeypatch, mirror):
    """Change to an empty folder with an empty cache, and return the real corpora."""
    monkeypatch.setenv("WELT_CORPORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return mirror


IN_A_NEW_PROCESS = """
import sys, welt_spacy.cli
slow = {"scipy", "sklearn", "transformers"} & set(sys.modules)
assert not slow, slow
import spacy.cli
spacy.cli.setup_cli()
"""


@pytest.mark.parametrize(
    "program",
    [
        # spaCy imports our commands at each start, whatever its own command
        pytest.param(("-c", IN_A_NEW_PROCESS, "welt"), id="spacy welt"),
        pytest.param(("-m", "welt_spacy"), id="welt_spacy"),
    ],
)
def test_commands_hang_under_spacy_and_stand_alone(program):
    printed = run_python(*program, "corpora", "list").stdout
    for name in ("bc5cdr_chemical", "linnaeus", "CC-BY-4.0", "11936 / 4079 / 7143"):
        assert name in printed


def test_fetch_convert_and_stats(served, tmp_path):
    assert run_command("corpora", "fetch", "ncbi_disease").exit_code == 0
    first = run_command("corpora", "convert", "ncbi_disease", "--n-sents", 0)
    assert "train 5424, dev 923, test 940 sentences" in first.output
    again = run_command("corpora", "convert", "ncbi_disease", "--n-sents", 0)
    assert "up to date" in again.output
    docs = DocBin().from_disk(tmp_path / "corpus/ncbi_disease/dev.spacy")
    assert len(docs) < 923
    shown = run_command("corpora", "stats", "ncbi_disease").stdout
    for part in ("91.71", "74.44", "5433", "welt(temperature=1)", "docs/corpora.md"):
        assert part in shown


def test_stats_of_several_corpora(served):
    shown = run_command("corpora", "stats", "linnaeus", "bc5cdr_chemical").stdout
    for part in ("linnaeus: sizes", "98.84", "bc5cdr_chemical: classes", "93.99"):
        assert part in shown


def test_corpora_that_can_not_be_fetched(no_sources, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    fails_with_one_line(
        run_command("corpora", "fetch", "bc4chemd", "--offline"),
        "BC4CHEMD/train.tsv",
        "WELT_CORPORA_MIRROR",
    )
    fails_with_one_line(
        run_command("corpora", "convert", "linnaeus", "--offline"), "linnaeus"
    )
    assert not (tmp_path / "corpus").exists()
    result = run_command(
        "corpora", "fetch", "linnaeus", "bc2gm", "--offline", "--skip-unavailable"
    )
    assert result.exit_code == 1
    assert result.stderr.count("⚠") == 2


def test_unavailable_corpora_are_skipped(served):
    result = run_command(
        *("corpora", "fetch", "bc4chemd", "biored_disease"),
        *("--skip-unavailable", "--offline"),
    )
    assert result.exit_code == 0
    assert "⚠" in result.stderr and "✔ biored_disease" in result.stdout


def test_ids_are_checked_before_any_work(served, tmp_path):
    fails_with_one_line(run_command("corpora", "fetch", "linnaeus", "genia"), "genia")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "name, text, arguments, parts",
    [
        ("x.tsv", "a\tO\nb\tQ\n", ["--strict"], ["x.tsv:2: ", "'Q'"]),
        ("x.tsv", "a\tB\n", [], ["x.tsv:1: ", "--label"]),
        ("x.tsv", "a\tO\n", ["-f", "conll"], ["iob, pubtator, bioc, brat"]),
        ("x.tsv", "a\tO\n", ["-n", "-1"], ["n_sents is -1"]),
        ("x.tsv", "", [], ["x.tsv", "no "]),
        ("x.xml", "<a><b></a>", ["-f", "bioc"], ["x.xml:1: not well-formed"]),
        ("x.txt", "1|t|a\n1\t0\n", ["-f", "pubtator", "--strict"], ["x.txt:2: "]),
        ("x.ann", "T1\tX 0 1\ta\n", ["-f", "brat"], ["x.txt is missing"]),
    ],
)
def test_bad_input_gives_one_line_and_no_file(tmp_path, name, text, arguments, parts):
    (tmp_path / name).write_text(text)
    output = tmp_path / "out" / "x.spacy"
    fails_with_one_line(
        run_command("convert", tmp_path / name, output, *arguments), *parts
    )
    assert not output.parent.exists()


def test_missing_and_binary_files(tmp_path):
    output = tmp_path / "x.spacy"
    fails_with_one_line(run_command("convert", tmp_path / "no.tsv", output), "no.tsv")
    (tmp_path / "x.tsv").write_bytes(b"a\tO\n\xff\xfe\tO\n")
    fails_with_one_line(
        run_command("convert", tmp_path / "x.tsv", output), "x.tsv:2: not UTF-8"
    )
    (tmp_path / "x.tsv").write_bytes(IOB.encode("utf8"))
    (tmp_path / "file").write_text("in the way")
    inside = tmp_path / "file" / "x.spacy"
    fails_with_one_line(
        run_command("convert", tmp_path / "x.tsv", inside), "can't write"
    )


def test_own_data_is_converted_and_repairs_are_reported(tmp_path):
    path, output = tmp_path / "own.tsv", tmp_path / "new" / "own.spacy"
    path.write_text(IOB + "\nx\tO\ny\tI-Disease\nz\tO\n")
    result = run_command("convert", path, output, "--type", "Disease=DIS")
    assert result.exit_code == 0, result.output
    assert "2 docs, 2 sentences, 1 mentions, 0 of them unaligned" in result.stdout
    assert "1 x orphan I tag" in result.stderr and "own.tsv:5: " in result.stderr
    docs = list(DocBin().from_disk(output).get_docs(spacy.blank("en").vocab))
    assert [(e.text, e.label_) for doc in docs for e in doc.ents] == [("y", "DIS")]


def test_config(tmp_path):
    shown = run_command("config", "-c", "linnaeus", "-e", "scibert", "-s", "ins")
    assert shown.exit_code == 0
    config = Config().from_str(shown.stdout, interpolate=False)
    assert config["paths"]["train"] == "corpus/linnaeus/train.spacy"
    path = tmp_path / "new" / "x.cfg"
    settings = ("--setting", "beta=0.9999")
    assert (
        run_command("config", path, "-e", "cpu", "-s", "ens", *settings).exit_code == 0
    )
    weighting = Config().from_disk(path)["components"]["welt_ner"]["weighting"]
    assert weighting == {"@misc": "welt_spacy.ens_weights.v1", "beta": 0.9999}
    for arguments, part in (
        (("-s", "focal"), "vanilla, ins"),
        (("-c", "genia"), "linnaeus"),
        (("-s", "ens", "--setting", "beta"), "name=number"),
        (("-s", "ens", "--setting", "beta=1"), "beta is 1"),
        (("-s", "welt", "--setting", "temperature=inf"), "temperature is inf"),
        (("-s", "power", "--setting", "alpha=nan"), "alpha is nan"),
        (("-s", "explicit"), "needs its weights"),
        (("-s", "explicit", "--setting", "default=1"), "needs its weights"),
        (("--data", "${x}"), "begins a variable"),
        (("--data", "a$b"), "begins a variable"),
    ):
        fails_with_one_line(run_command("config", *arguments), part)


@pytest.mark.parametrize("name", ["models\\bert", 'a"b', "x'y", "é #1", "100%"])
def test_config_with_any_path(name):
    shown = run_command("config", "--encoder", name, "--data", name)
    config = Config().from_str(shown.stdout, interpolate=True)
    assert config["paths"]["encoder"] == name
    assert config["paths"]["train"] == f"{name}/bc5cdr/train.spacy"


def test_windows_of_the_paper_overlap_by_a_third():
    shown = run_command("config", "--corpus", "bc2gm", "--encoder", "biobert").stdout
    config = Config().from_str(shown, interpolate=False)
    tok2vec = config["components"]["welt_ner"]["model"]["tok2vec"]
    assert tok2vec["max_length"] == 128 and tok2vec["overlap"] == 42


def test_unknown_types(tmp_path):
    (tmp_path / "x.tsv").write_text(IOB)
    output = tmp_path / "x.spacy"
    fails_with_one_line(
        run_command("convert", tmp_path / "x.tsv", output, "--type", "Nope"),
        "no mention of the type Nope; it has Chemical (1)",
    )
    assert not output.exists()
    types = ("--type", "Nope", "--type", "Chemical")
    result = run_command("convert", tmp_path / "x.tsv", output, *types)
    assert result.exit_code == 0 and "⚠" in result.stderr and output.is_file()


def test_brackets_are_not_markup(workplace):
    nlp = make_nlp()
    for label in ("[drug]", "[/x]", "a[bold]b"):
        doc = nlp.make_doc("Aspirin helps.")
        doc.set_ents([doc.char_span(0, 7, label=label)])
        path = workplace / "[v2]" / "x.spacy"
        path.parent.mkdir(exist_ok=True)
        DocBin(docs=[doc]).to_disk(path)
        shown = run_command("evaluate", path, path)
        assert shown.exit_code == 0, shown.output
        assert f" {label} " in shown.stdout
        assert str(path) in shown.stdout.replace("\n", "")


EVALUATE = """
from welt_spacy.cli import app
for model in ("dev.spacy", "ruler"):
    words = ["evaluate", model, "dev.spacy", "--html", f"{model}.html"]
    app(words, standalone_mode=False)
"""


def test_pipelines_without_welt_ner_are_evaluated(workplace):
    """Use a process that has never created a `welt_ner`."""
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "Chemical", "pattern": "Aspirin"}])
    nlp.to_disk(workplace / "ruler")
    printed = run_python("-c", EVALUATE, cwd=workplace).stdout
    assert printed.count("Chemical") >= 2
    assert (workplace / "dev.spacy.html").is_file()
    assert (workplace / "ruler.html").is_file()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Make a folder with data, a config and a pipeline."""
    folder = tmp_path_factory.mktemp("workplace")
    nlp = make_nlp()
    examples = make_examples(nlp)
    for name in ("train", "dev"):
        DocBin(docs=[eg.reference for eg in examples]).to_disk(folder / f"{name}.spacy")
    nlp.initialize(lambda: examples)
    nlp.to_disk(folder / "model")
    result = run_command("config", folder / "x.cfg", "-e", "cpu")
    assert result.exit_code == 0
    return folder


PATHS = ("--paths.train", "train.spacy", "--paths.dev", "dev.spacy")


def test_spacy_init_labels_and_train_from_them(workplace):
    run_spacy(workplace, "init", "labels", "x.cfg", "labels", *PATHS)
    from_labels = {
        "@readers": "spacy.read_labels.v1",
        "path": "labels/welt_ner.json",
        "require": True,
    }
    config = Config().from_disk(workplace / "x.cfg", interpolate=False)
    config["initialize"]["components"]["welt_ner"] = {"labels": from_labels}
    config.to_disk(workplace / "with_labels.cfg")
    run_spacy(
        workplace,
        *("train", "with_labels.cfg", *PATHS, "--output", "trained"),
        *("--training.max_steps=2", "--training.eval_frequency=1"),
    )
    meta = spacy.load(workplace / "trained/model-best").meta
    n_tokens = sum(len(make_nlp().make_doc(text)) for text, _ in TRAIN_DATA)
    assert sum(meta["class_weights"]["welt_ner"]["counts"].values()) == n_tokens


def test_spacy_init_fill_config_and_debug_config(workplace):
    run_spacy(workplace, "init", "fill-config", "x.cfg", "filled.cfg")
    filled = Config().from_disk(workplace / "filled.cfg", interpolate=False)
    given = Config().from_disk(workplace / "x.cfg", interpolate=False)
    # The config is complete but for the settings of the scheme, so that the
    # scheme can be overridden on the command line.
    assert filled["components"]["welt_ner"]["weighting"].pop("temperature") == 1.0
    assert filled["components"] == given["components"]
    run_spacy(workplace, "debug", "config", "x.cfg", *PATHS)


def test_a_bare_component_is_filled(workplace):
    (workplace / "bare.cfg").write_text(
        '[nlp]\nlang = "en"\npipeline = ["welt_ner"]\n'
        '[components]\n[components.welt_ner]\nfactory = "welt_ner"\n'
    )
    run_spacy(workplace, "init", "fill-config", "bare.cfg", "full.cfg")
    filled = Config().from_disk(workplace / "full.cfg", interpolate=False)
    welt_ner = filled["components"]["welt_ner"]
    assert welt_ner["decoder"] == "constrained"
    assert welt_ner["weighting"]["temperature"] == 1.0


def test_spacy_evaluate_and_benchmark(workplace):
    run_spacy(workplace, "evaluate", "model", "dev.spacy", "-o", "scores.json")
    scores = (workplace / "scores.json").read_text()
    assert '"ents_per_type"' in scores
    run_spacy(workplace, "benchmark", "accuracy", "model", "dev.spacy")
    run_spacy(
        workplace,
        *("benchmark", "speed", "model", "dev.spacy", "--batches", "30"),
        *("--warmup", "1", "--no-shuffle"),
    )


def test_spacy_package(workplace):
    (workplace / "packages").mkdir()
    run_spacy(
        workplace, *("package", "model", "packages", "--name", "x", "--build", "none")
    )
    readme = Path(workplace / "packages/en_x-0.0.0/README.md").read_text()
    assert "`Chemical`, `Disease`" in readme


def test_format_is_detected_by_name(root, tmp_path):
    sample = root / "assets/sample/test.pubtator"
    result = run_command("convert", sample, tmp_path / "x.spacy")
    assert "53 docs" in result.stdout and result.stderr == ""
    brat = tmp_path / "brat"
    brat.mkdir()
    (brat / "a.txt").write_text("Aspirin helps.")
    (brat / "a.ann").write_text("T1\tChemical 0 7\tAspirin\n")
    assert "1 mentions" in run_command("convert", brat, tmp_path / "y.spacy").stdout


def test_distill(tmp_path, monkeypatch, trained_folder):
    """Distill a teacher, then again with the same and with other settings."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained_folder / "model", "teacher")
    gold = [eg.reference for eg in make_examples(make_nlp())]
    for split in ("train", "dev"):
        DocBin(docs=gold[:2]).to_disk(tmp_path / f"{split}.spacy")
    lines = [f"{text} {i}" for i, (text, _) in enumerate(TRAIN_DATA)]
    Path("texts.txt").write_text("\n".join(lines), "utf8")
    DocBin(docs=gold[3:]).to_disk(tmp_path / "test.spacy")
    assert run_command("config", "my.cfg", "--encoder", "cpu").exit_code == 0
    command = ["distill", "teacher", "my.cfg", "texts.txt", "--output", "out"]
    command += ["--exclude", "test.spacy", "--teacher", "teacher"]
    overrides = ["--paths.train", "train.spacy", "--paths.dev", "dev.spacy"]
    overrides += ["--training.max_steps", 4, "--training.eval_frequency", 2]
    first = run_command(*command, *overrides)
    assert first.exit_code == 0, first.output
    message = (
        "5 documents with soft labels; left out: 3 that are in test.spacy, dev.spacy"
    )
    assert message in first.output
    nlp = spacy.load("out/model-best")
    assert nlp.get_pipe("welt_ner").distillation.alpha == 0.5
    assert nlp.meta["distilled"] == {
        "teachers": ["teacher", "teacher"],
        "texts": ["texts.txt"],
        "docs": 5,
    }
    assert nlp("Aspirin helps.") is not None
    again = run_command(*command, *overrides)
    assert again.exit_code == 0 and "is up to date" in again.output
    # other settings of the student: the texts are not annotated again
    before = Path("out/soft_labels/000000.spacy").stat().st_mtime_ns
    other = run_command(*command, "--alpha", "0.9", *overrides)
    assert other.exit_code == 0 and "up to date" not in other.output
    assert Path("out/soft_labels/000000.spacy").stat().st_mtime_ns == before
    assert "alpha = 0.9" in Path("out/config.cfg").read_text()


def test_distill_refuses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_command("config", "my.cfg", "--encoder", "cpu")
    Path("texts.txt").write_text("A text.\n")
    command = ["distill", "nowhere", "my.cfg", "texts.txt", "--output", "out"]
    fails_with_one_line(run_command(*command), "nowhere")
    fails_with_one_line(
        run_command(*command[:3], "no.txt", *command[4:]), "no.txt", "not a file"
    )
    fails_with_one_line(run_command(*command, "--alpha", "2"), "alpha is 2")
    fails_with_one_line(
        run_command("distill", "x", "no.cfg", "texts.txt", "-o", "out"), "no.cfg"
    )
    Path("out/model-best").mkdir(parents=True)
    fails_with_one_line(run_command(*command), "model-best", "did not write this")
