"""Training configs."""

import pytest
import spacy
from thinc.api import Config

from welt_spacy.corpora.catalog import CATALOG, encoder_names
from welt_spacy.errors import WeltError
from welt_spacy.training.config import ConfigSettings, make_config


def parse(text):
    return Config().from_str(text, interpolate=False)


@pytest.mark.parametrize(
    "name, settings",
    [
        ("welt", {"paper": False}),
        ("welt_spacy_transformers", {"paper": False, "spacy_transformers": True}),
        ("welt_cpu", {"encoder": "cpu"}),
        ("welt_bio", {"encoder": "cpu", "corpus": "bio", "max_steps": 6000}),
    ],
)
def test_configs_of_the_project_are_up_to_date(root, name, settings):
    path = root / "configs" / f"{name}.cfg"
    assert path.read_text(encoding="utf8") == make_config(ConfigSettings(**settings)), (
        f"configs/{name}.cfg is not up to date: python scripts/make_configs.py"
    )


def test_corpora_of_whole_abstracts_have_the_settings_of_the_project():
    with_paper = parse(
        make_config(ConfigSettings(corpus="bc5cdr_docs", encoder="scibert"))
    )
    without_paper = parse(
        make_config(
            ConfigSettings(corpus="bc5cdr_docs", encoder="scibert", paper=False)
        )
    )
    assert with_paper == without_paper


@pytest.mark.parametrize("encoder", encoder_names())
@pytest.mark.parametrize("corpus", [c.id for c in CATALOG.values() if c.n_sents])
def test_paper_settings(corpus, encoder):
    config = parse(make_config(ConfigSettings(corpus=corpus, encoder=encoder)))
    assert config["paths"]["train"] == f"corpus/{corpus}/train.spacy"
    assert "/" in config["paths"]["encoder"]
    batch = config["training"]["batcher"]
    assert batch["@batchers"] == "spacy.batch_by_sequence.v1"
    epochs = config["training"]["max_epochs"]
    rate = config["training"]["optimizer"]["learn_rate"]
    assert rate["total_steps"] % epochs == 0
    window = config["components"]["welt_ner"]["model"]["tok2vec"]["max_length"]
    assert 128 <= window <= 512


def test_values_of_table_12():
    config = parse(
        make_config(ConfigSettings(corpus="ncbi_disease", encoder="biobert"))
    )
    assert config["training"]["batcher"]["size"] == 5
    assert config["training"]["max_epochs"] == 20
    assert config["training"]["optimizer"]["learn_rate"]["total_steps"] == 20 * 1087
    assert config["components"]["welt_ner"]["model"]["tok2vec"]["max_length"] == 384
    shared = parse(
        make_config(
            ConfigSettings(
                corpus="ncbi_disease", encoder="biobert", spacy_transformers=True
            )
        )
    )
    spans = shared["components"]["transformer"]["model"]["get_spans"]
    assert spans["max_length"] == 384 - 2


@pytest.mark.parametrize(
    "scheme, settings",
    [
        ("vanilla", {}),
        ("ins", {}),
        ("isns", {}),
        ("ens", {"beta": 0.999}),
        ("welt", {"temperature": 0.5}),
        ("power", {"alpha": 0.25}),
    ],
)
def test_every_scheme_gives_a_pipeline(scheme, settings):
    config = parse(
        make_config(
            ConfigSettings(encoder="cpu", scheme=scheme, scheme_settings=settings)
        )
    )
    nlp = spacy.util.load_model_from_config(config, auto_fill=False)
    weighting = nlp.get_pipe("welt_ner").weighting
    assert weighting.name == scheme
    assert weighting.settings == settings


def test_features_without_white_space():
    config = parse(make_config(ConfigSettings(encoder="cpu")))
    attrs = config["components"]["tok2vec"]["model"]["embed"]["attrs"]
    assert not {"SPACY", "IS_SPACE"} & set(attrs)


def test_steps_of_training_on_dev():
    config = parse(make_config(ConfigSettings(corpus="linnaeus", train_on_dev=True)))
    assert config["paths"]["train"].endswith("train_dev.spacy")
    steps = config["training"]["optimizer"]["learn_rate"]["total_steps"]
    assert steps == 10 * -(-(11936 + 4079) // 8)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"scheme": "focal"}, "vanilla"),
        ({"scheme": "explicit"}, "weights"),
        ({"corpus": "genia"}, "bc5cdr"),
        ({"scheme": "ens", "scheme_settings": {"beta": 2.0}}, "beta is 2"),
        ({"scheme": "welt", "scheme_settings": {"beta": 0.5}}, "temperature"),
        ({"scheme": "ins", "scheme_settings": {"beta": 0.5}}, "it has none"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(WeltError, match=message):
        make_config(ConfigSettings(**settings))
