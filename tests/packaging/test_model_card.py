"""Model cards, and their metadata for the model hub."""

from dataclasses import replace

import pytest
from thinc.api import Config

from welt_spacy.evaluation.evaluate import evaluate
from welt_spacy.packaging.model_card import make_hub_metadata, make_model_card

from ..factories import make_examples, make_nlp, train

ABOUT = {
    "corpus": "bc5cdr",
    "title": "BC5CDR (chemicals and diseases)",
    "source": "somewhere",
    "licence": "CC-BY-4.0",
    "citation": "Li et al. (2016)",
    "splits": {"train": {"sentences": 4560, "mentions": 9385}},
}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    nlp = make_nlp(weighting={"@misc": "welt_spacy.ens_weights.v1", "beta": 0.99})
    train(nlp, make_examples(nlp))
    nlp.config["system"]["seed"] = 7
    path = tmp_path_factory.mktemp("card") / "model"
    nlp.to_disk(path)
    meta = {
        **nlp.meta,
        "name": "welt_bc5cdr",
        "description": "Finds chemicals.",
        "license": "MIT",
        "welt_spacy_version": "0.1.0",
    }
    evaluation = evaluate(nlp, make_examples(nlp), mentions={}, score_raw_text=True)
    return path, meta, evaluation


@pytest.fixture(scope="module")
def card(evaluated):
    return make_model_card(*evaluated, ABOUT)


@pytest.mark.parametrize(
    "part",
    [
        *("Finds chemicals.", "Chemical, Disease", "CC-BY-4.0", "Li et al. (2016)"),
        *("| train | 4,560 | 9,385 |", "not a medical device", "Mobasher"),
    ],
)
def test_the_card_describes_the_data(card, part):
    assert part in card


@pytest.mark.parametrize(
    "part",
    [
        "| strict | 100.00 | 100.00 | 100.00 |",
        "| 95 % interval | 100.00 to 100.00 |",
        *("| Disease, fair | 100.00 |", "on raw text", "unseen in train"),
    ],
)
def test_the_card_has_scores(card, part):
    assert part in card


@pytest.mark.parametrize(
    "part",
    [
        *("ens(beta=0.99)", "seed 7", "[components.welt_ner.weighting]"),
        *("beta = 0.99", "[training.optimizer]"),
    ],
)
def test_the_card_has_settings(card, part):
    assert part in card


def test_the_card_has_counts_of_tags(card, evaluated):
    _, _, evaluation = evaluated
    for tag, n in evaluation.class_weights["welt_ner"].counts.items():
        assert f"| {tag} | {n} |" in card


def test_the_card_has_no_empty_paragraphs(card):
    assert card.startswith("# en_welt_bc5cdr\n") and "\n\n\n" not in card


def test_markup_in_labels_is_escaped(evaluated):
    path, meta, evaluation = evaluated
    part = evaluation.per_type["Disease"]
    hostile = replace(evaluation, per_type={"a|b <img src=x>\n# c": part})
    card = make_model_card(path, meta, hostile, ABOUT)
    assert "| a\\|b &lt;img src=x> # c, strict |" in card and "<img" not in card


def test_the_card_of_data_without_splits(evaluated):
    path, meta, evaluation = evaluated
    about = {key: ABOUT[key] for key in ("title", "source", "licence", "citation")}
    assert "| split |" not in make_model_card(path, meta, evaluation, about)


SCORED = {
    "license": "MIT",
    "performance": {"ents_p": 0.9, "ents_r": 0.8, "ents_f": 0.85, "fair_f": 0.88},
    "evaluation": {
        **{"name": "BC5CDR", "type": "bc5cdr", "split": "test", "revision": "0f3a"}
    },
    "base_model": ["dmis-lab/biobert-v1.1"],
    "example": "Aspirin helps.",
}


def test_the_hub_reads_the_metadata(evaluated):
    hub = pytest.importorskip("huggingface_hub")
    path, meta, evaluation = evaluated
    text = make_model_card(path, meta, evaluation, ABOUT)
    card = hub.ModelCard(f"{make_hub_metadata({**meta, **SCORED})}\n{text}")
    assert card.text.strip() == text.strip()
    assert card.data.library_name == "spacy" and card.data.license == "mit"
    assert card.data.pipeline_tag == "token-classification"
    assert card.data.base_model == ["dmis-lab/biobert-v1.1"]
    assert card.data.widget == [{"text": "Aspirin helps."}]
    assert card.data.model_name == "en_welt_bc5cdr"
    results = {score.metric_name: score for score in card.data.eval_results}
    f1 = results["NER F1 (strict, entity level)"]
    assert (f1.metric_type, f1.metric_value) == ("f1", 0.85)
    assert (f1.dataset_name, f1.dataset_type) == ("BC5CDR", "bc5cdr")
    assert (f1.dataset_split, f1.dataset_revision) == ("test", "0f3a")
    assert results["NER F1 (FairEval)"].metric_value == 0.88
    assert {score.task_type for score in results.values()} == {"token-classification"}


def test_metadata_of_a_bare_pipeline():
    hub = pytest.importorskip("huggingface_hub")
    meta = {"lang": "en", "name": "x", "license": "CC BY-SA 4.0 (see LICENSE)"}
    card = hub.ModelCard(make_hub_metadata(meta) + "text")
    assert card.data.license == "other" and card.data.eval_results is None
    assert card.data.license_name == "cc-by-sa-4-0-see-license-"
    assert "license" not in make_hub_metadata({"lang": "en", "name": "x"})


@pytest.mark.parametrize("name", ["welt", "welt_spacy_transformers", "welt_cpu"])
def test_the_encoder_is_that_of_the_components(evaluated, root, tmp_path, name):
    """Set `paths.encoder`, which a config need not use."""
    _, meta, evaluation = evaluated
    config = Config().from_disk(root / "configs" / f"{name}.cfg", interpolate=False)
    config["paths"]["encoder"] = "some/encoder"
    config.to_disk(tmp_path / "config.cfg")
    card = make_model_card(tmp_path, meta, evaluation, ABOUT)
    assert ("| Encoder | `some/encoder` |" in card) == (name != "welt_cpu")
