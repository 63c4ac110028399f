"""Several tuning steps at once, from Python and as `spacy welt tune`."""

import pytest
import spacy
from spacy.training import Example

from welt_spacy.errors import WeltError
from welt_spacy.evaluation.tuning.steps import STEPS, TuningOptions, tune_pipeline

from ..factories import (
    fails_with_one_line,
    make_examples,
    run_command,
    save_docs,
)


def make_dev(nlp, n_copies=10):
    """Return dev data with enough entities for a calibration, half of them removed."""
    dev = []
    for i in range(n_copies):
        for eg in make_examples(nlp):
            entities = [e for j, e in enumerate(eg.reference.ents) if (i + j) % 2]
            eg.reference.set_ents(entities, default="outside")
            dev.append(eg)
    return dev


def count_predicted_docs(pipe):
    counts = []
    predict = pipe.predict

    def counted(docs):
        docs = list(docs)
        counts.append(len(docs))
        return predict(docs)

    pipe.predict = counted
    return counts


@pytest.mark.parametrize("steps", [STEPS, ("label-propagation", "calibration")])
def test_the_model_runs_once_for_all_steps(trained_nlp, steps):
    dev = make_dev(trained_nlp)
    counts = count_predicted_docs(trained_nlp.get_pipe("welt_ner"))
    results = tune_pipeline(trained_nlp, dev, TuningOptions(steps))
    assert sum(counts) == len(dev)
    assert results.calibration is not None and results.label_propagation is not None


def test_only_the_named_steps_run(trained_nlp):
    pipe = trained_nlp.get_pipe("welt_ner")
    dev = make_dev(trained_nlp)
    results = tune_pipeline(trained_nlp, dev, TuningOptions(("calibration",)))
    assert results.decoding is results.threshold is results.label_propagation is None
    assert pipe.calibration == results.calibration.settings
    assert (pipe.o_bias, pipe.threshold) == (0.0, 0.0)


def test_thresholds_of_the_results_are_those_of_the_pipeline(trained_nlp):
    """Check the threshold that decoding has chosen and calibration has moved."""
    trained_nlp.get_pipe("welt_ner").threshold = 0.5
    options = TuningOptions(("decoding", "calibration"), keep_threshold=True)
    results = tune_pipeline(trained_nlp, make_dev(trained_nlp), options)
    pipe = trained_nlp.get_pipe("welt_ner")
    assert results.decoding.best.threshold == pipe.threshold
    assert results.decoding.best in results.decoding.curve
    assert pipe.uncalibrated_threshold != pytest.approx(pipe.threshold, abs=1e-3)


def test_too_few_entities_are_a_warning(trained_nlp):
    dev = make_examples(trained_nlp)
    results = tune_pipeline(trained_nlp, dev, TuningOptions(("calibration",)))
    assert results.calibration is None
    (warning,) = results.warnings
    assert "too few to calibrate" in warning


def test_later_components_are_a_warning(trained_nlp):
    trained_nlp.add_pipe("entity_ruler", name="last")
    dev = make_examples(trained_nlp)
    results = tune_pipeline(trained_nlp, dev, TuningOptions(("threshold",)))
    assert results.warnings == [
        "The scores leave out the changes of last after welt_ner"
    ]


def test_pipelines_and_data_that_cannot_be_tuned(trained_nlp):
    options = TuningOptions(("decoding",))
    examples = make_examples(trained_nlp)
    with pytest.raises(WeltError, match="0 components welt_ner"):
        tune_pipeline(spacy.blank("en"), examples, options)
    species = make_examples(trained_nlp, [("Mice slept.", [(0, 4, "Species")])])
    with pytest.raises(WeltError, match="There is Species in the data, and the pipe"):
        tune_pipeline(trained_nlp, species, options)
    nothing = [Example(eg.predicted, eg.predicted.copy()) for eg in examples]
    with pytest.raises(WeltError, match="no entity"):
        tune_pipeline(trained_nlp, nothing, options)


def test_an_unknown_step():
    with pytest.raises(WeltError, match="Unknown step 'all': use one or several of"):
        TuningOptions(("decoding", "all"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, trained_folder):
    """Save a pipeline, a copy whose bias suppresses all entities, and dev data."""
    folder = tmp_path_factory.mktemp("tune")
    nlp = spacy.load(trained_folder / "model")
    save_docs(folder / "dev.spacy", make_examples(nlp))
    save_docs(folder / "half.spacy", make_dev(nlp))
    nlp.get_pipe("welt_ner").threshold = 0.5
    nlp.to_disk(folder / "good")
    nlp.get_pipe("welt_ner").o_bias = 100.0
    nlp.to_disk(folder / "model")
    return folder


@pytest.fixture
def workplace(folder, tmp_path, monkeypatch):
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_decoding_command(workplace):
    result = run_command("tune", "decoding", "model", "dev.spacy", "--objective", "f2")
    assert result.exit_code == 0, result.stderr
    assert "best" in result.stdout
    before, after = result.stdout.split("Before and after")[1].splitlines()[4:6]
    assert "before" in before and "+100.00" in before and "after" in after
    assert abs(spacy.load("model-tuned").get_pipe("welt_ner").o_bias) <= 4


def test_several_steps_in_one_command(workplace):
    result = run_command(
        *("tune", "calibration,decoding", "good", "half.spacy", "tuned"),
        *("--keep-threshold", "--parameter", "logit_adjustment"),
    )
    assert result.exit_code == 0, result.stderr
    assert "expected calibration error" in result.stdout
    pipe = spacy.load("tuned").get_pipe("welt_ner")
    assert pipe.calibration is not None
    # The table has the threshold that was saved, not the one before the calibration
    best = next(line for line in result.stdout.splitlines() if "best" in line)
    assert f"{pipe.threshold:.3f}" in best
    assert f"{pipe.uncalibrated_threshold:.3f}" not in best


def test_label_propagation_command(workplace):
    result = run_command("tune", "label-propagation", "good", "dev.spacy", "tuned")
    assert result.exit_code == 0, result.stderr
    assert "no setting raises F1" in result.stdout
    assert spacy.load("tuned").get_pipe("welt_ner").label_propagation is None


def test_threshold_command(workplace):
    result = run_command("tune", "threshold", "good", "half.spacy", "tuned")
    assert result.exit_code == 0, result.stderr
    assert "before" in result.stdout and "after" in result.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["decoding", "model", "dev.spacy", "good"], "exists. Use another"),
        (["decoding", "model", "dev.spacy", "-o", "f"], "Unknown objective"),
        (["decoding", "model", "none.spacy"], "is not a file"),
        (["decoding", "model", "model/meta.json"], "not a .spacy"),
        (["decoding", "nothing", "dev.spacy", "deep/x"], "nothing"),
        (["everything", "model", "dev.spacy"], "Unknown step 'everything'"),
        (
            ["calibration", "model", "dev.spacy", "-o", "f2"],
            "--objective has no effect on calibration",
        ),
        (
            ["threshold", "model", "dev.spacy", "-p", "o_bias"],
            "--parameter has no effect on threshold",
        ),
        (
            ["threshold,calibration", "model", "dev.spacy", "--keep-threshold"],
            "--keep-threshold has no effect on threshold,calibration",
        ),
    ],
)
def test_bad_input_gives_one_line_and_no_output(workplace, arguments, message):
    before = sorted(workplace.iterdir())
    fails_with_one_line(run_command("tune", *arguments), message)
    assert sorted(workplace.iterdir()) == before
