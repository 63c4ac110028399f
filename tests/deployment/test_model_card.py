"""Model cards: what they tell, and that a hub can read them."""

import pytest
from thinc.api import Config

from welt_spacy.deployment.model_card import model_card
from welt_spacy.reporting.evaluation import evaluate

from ..util import make_examples, make_nlp, train

ABOUT = {
    "corpus": "bc5cdr",
    "title": "BC5CDR (chemicals and diseases)",
    "source": "somewhere",
    "licence": "CC-BY-4.0",
    "citation": "Li et al. (2016)",
    "splits": {"train": {"sentences": 4560, "mentions": 9385}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
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
    found = evaluate(nlp, make_examples(nlp), mentions={}, gold_text=True)
    return path, meta, found


def test_card_tells_what_was_run(run):
    path, meta, found = run
    card = model_card(path, meta, found, ABOUT)
    assert card.startswith("# en_welt_bc5cdr\n")
    for part in (
        "Finds chemicals.",
        "Chemical, Disease",
        "ens(beta=0.99)",
        "CC-BY-4.0",
        "Li et al. (2016)",
        "| train | 4,560 | 9,385 |",
        "| strict | 100.00 | 100.00 | 100.00 |",
        "| 95 % interval | 100.00 to 100.00 |",
        "| Disease, fair | 100.00 |",
        "on raw text",
        "unseen in train",
        "seed 7",
        "[components.welt_ner.weighting]",
        "beta = 0.99",
        "[training.optimizer]",
        "no medical device",
        "Mobasher",
    ):
        assert part in card, part
    for tag, n in found["class_weights"]["welt_ner"]["counts"].items():
        assert f"| {tag} | {n} |" in card
    assert "\n\n\n" not in card


def test_card_of_data_that_tell_little(run):
    path, meta, found = run
    about = {key: ABOUT[key] for key in ("title", "source", "licence", "citation")}
    assert "| split |" not in model_card(path, meta, found, about)


def test_hub_reads_the_metadata(run):
    hub = pytest.importorskip("huggingface_hub")
    path, meta, found = run
    content = model_card(path, meta, found, ABOUT, metadata=True)
    card = hub.ModelCard(content)
    assert card.text.strip() == model_card(path, meta, found, ABOUT).strip()
    assert card.data.library_name == "spacy" and card.data.license == "mit"
    assert card.data.model_name == "en_welt_bc5cdr"
    results = {one.metric_name: one for one in card.data.eval_results}
    assert results["NER F Score"].metric_value == found["strict"]["f"]
    assert results["NER Precision"].metric_type == "precision"
    assert results["NER Recall"].dataset_name == ABOUT["title"]
    assert results["NER FairEval F"].dataset_split == "test"


@pytest.mark.parametrize("name", ["welt", "welt_spacy_transformers", "welt_cpu"])
def test_encoder_is_that_of_the_components(run, root, tmp_path, name):
    """Not `paths.encoder`, which may be set and not be used."""
    _, meta, found = run
    config = Config().from_disk(root / "configs" / f"{name}.cfg", interpolate=False)
    config["paths"]["encoder"] = "some/encoder"
    config.to_disk(tmp_path / "config.cfg")
    card = model_card(tmp_path, meta, found, ABOUT)
    assert ("| Encoder | `some/encoder` |" in card) == (name != "welt_cpu")
