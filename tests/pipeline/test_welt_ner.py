"""The component `welt_ner`, through the interfaces of spaCy."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import spacy
from spacy.attrs import ENT_IOB
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import Config

from welt_spacy.errors import WeltError
from welt_spacy.pipeline.welt_ner import WeltNER

from ..factories import BIO, TRAIN_DATA, ents, make_examples, make_nlp, train

TEXT = TRAIN_DATA[0][0]
EXPECTED = [
    ("Selegiline", "Chemical"),
    ("postural hypotension", "Disease"),
    ("Parkinson's disease", "Disease"),
]


@pytest.fixture(scope="module")
def trained():
    nlp = make_nlp(spans_key="welt_ner")
    losses = train(nlp, make_examples(nlp))
    assert losses["welt_ner"] < 0.01
    return nlp


def reloaded(nlp, tmp_path):
    nlp.to_disk(tmp_path / "model")
    return spacy.load(tmp_path / "model")


def test_entities_of_a_trained_pipeline(trained):
    doc = trained(TEXT)
    assert ents(doc) == EXPECTED
    assert all(token.ent_iob != 0 for token in doc)


def test_scores_of_a_trained_pipeline(trained):
    assert trained.evaluate(make_examples(trained))["ents_f"] == 1.0


def copied_by_bytes(nlp, tmp_path):
    copied = make_nlp(spans_key="welt_ner")
    return copied.from_bytes(nlp.to_bytes())


def copied_by_source(nlp, tmp_path):
    copied = spacy.blank("en", config=BIO)
    copied.add_pipe("welt_ner", source=nlp)
    return copied


@pytest.mark.parametrize(
    "make_copy",
    [
        reloaded,
        copied_by_bytes,
        copied_by_source,
        lambda nlp, tmp_path: pickle.loads(pickle.dumps(nlp)),
        lambda nlp, tmp_path: copy.deepcopy(nlp),
    ],
    ids=["disk", "bytes", "source", "pickle", "deepcopy"],
)
def test_copies_of_a_pipeline(make_copy, trained, tmp_path):
    copied = make_copy(trained, tmp_path)
    component = copied.get_pipe("welt_ner")
    assert ents(copied(TEXT)) == EXPECTED
    assert component.cfg == trained.get_pipe("welt_ner").cfg
    assert component.labels == ("Chemical", "Disease")


def test_pickled_component(trained):
    component = trained.get_pipe("welt_ner")
    pickled = pickle.loads(pickle.dumps(component))
    assert pickled.class_weights == component.class_weights
    doc = trained.make_doc(TEXT)
    pickled.set_annotations([doc], pickled.predict([doc]))
    assert ents(doc) == EXPECTED


def test_loaded_model_has_equal_weights_and_scores(trained, tmp_path):
    other = reloaded(trained, tmp_path)
    doc = trained.make_doc(TEXT)
    (expected,) = trained.get_pipe("welt_ner").predict([doc])
    (probs,) = other.get_pipe("welt_ner").predict([doc])
    np.testing.assert_array_equal(probs, expected)


def test_batches_and_processes_equal_single_documents(trained):
    texts = ["", *(text for text, _ in TRAIN_DATA), "aspirin", "", " "] * 3
    expected = [ents(trained(text)) for text in texts]
    assert [ents(doc) for doc in trained.pipe(texts, batch_size=4)] == expected
    docs = list(trained.pipe(texts, n_process=2, batch_size=4))
    assert [ents(doc) for doc in docs] == expected
    assert all(ent._.confidence is not None for doc in docs for ent in doc.ents)


def test_confidences(trained):
    doc = trained(TEXT)
    scores = doc.spans["welt_ner"].attrs["scores"]
    assert [span.text for span in doc.spans["welt_ner"]] == [
        text for text, _ in EXPECTED
    ]
    assert scores.dtype == "float32"
    for ent, score in zip(doc.ents, scores):
        assert 0.5 < ent._.confidence <= 1.0
        assert ent._.confidence == pytest.approx(score, rel=1e-6)
    other = Doc(trained.vocab).from_bytes(doc.to_bytes())
    np.testing.assert_array_equal(other.spans["welt_ner"].attrs["scores"], scores)
    assert [ent._.confidence for ent in other.ents] == [
        ent._.confidence for ent in doc.ents
    ]
    (binned,) = DocBin(docs=[doc]).get_docs(trained.vocab)
    np.testing.assert_array_equal(binned.spans["welt_ner"].attrs["scores"], scores)


def test_confidence_of_other_spans_is_none(trained):
    assert trained(TEXT)[0:2]._.confidence is None


def test_threshold_drops_entities(trained):
    nlp = copy.deepcopy(trained)
    confidences = [ent._.confidence for ent in nlp(TEXT).ents]
    nlp.get_pipe("welt_ner").threshold = sorted(confidences)[1]
    assert len(nlp(TEXT).ents) == 2


def test_positive_o_bias_removes_entities(trained):
    nlp = copy.deepcopy(trained)
    nlp.get_pipe("welt_ner").o_bias = 50.0
    assert not nlp(TEXT).ents


def test_negative_o_bias_adds_entities(trained):
    nlp = copy.deepcopy(trained)
    nlp.get_pipe("welt_ner").o_bias = -50.0
    assert all(token.ent_type for token in nlp(TEXT))


def test_settings_of_a_copy_are_saved_and_can_be_overridden(trained, tmp_path):
    nlp = copy.deepcopy(trained)
    nlp.get_pipe("welt_ner").o_bias = 1.5
    nlp.get_pipe("welt_ner").decoder = "greedy"
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).get_pipe("welt_ner").o_bias == 1.5
    settings = {"components": {"welt_ner": {"o_bias": -1.0}}}
    component = spacy.load(tmp_path, config=settings).get_pipe("welt_ner")
    assert (component.o_bias, component.decoder) == (-1.0, "greedy")


@pytest.fixture
def tuned(trained, tmp_path):
    """Load a pipeline, change settings of its component, and save it again."""
    nlp = reloaded(trained, tmp_path)
    component = nlp.get_pipe("welt_ner")
    component.threshold, component.o_bias = 0.75, -3.5
    nlp.to_disk(tmp_path / "tuned")
    return nlp


def test_changed_settings_are_in_the_config(tuned):
    assert tuned.config["components"]["welt_ner"]["threshold"] == 0.75


def test_changed_settings_are_in_the_saved_config(tuned, tmp_path):
    block = Config().from_disk(tmp_path / "tuned/config.cfg")["components"]["welt_ner"]
    assert (block["threshold"], block["o_bias"]) == (0.75, -3.5)


def test_changed_settings_are_loaded(tuned, tmp_path):
    component = spacy.load(tmp_path / "tuned").get_pipe("welt_ner")
    assert (component.threshold, component.o_bias) == (0.75, -3.5)


def test_overrides_at_loading_win_over_changed_settings(tuned, tmp_path):
    # 0.0 is also the value of the first config
    config = {"components": {"welt_ner": {"threshold": 0.0}}}
    component = spacy.load(tmp_path / "tuned", config=config).get_pipe("welt_ner")
    assert (component.threshold, component.o_bias) == (0.0, -3.5)


def test_a_sourced_component_keeps_its_settings(trained, tmp_path):
    nlp = spacy.blank("en", config=BIO)
    nlp.add_pipe("welt_ner", source=trained, name="other")
    nlp.get_pipe("other").threshold = 0.25
    try:
        nlp.to_disk(tmp_path)
        assert spacy.load(tmp_path).get_pipe("other").threshold == 0.25
    finally:
        nlp.get_pipe("other").threshold, nlp.get_pipe("other").name = 0.0, "welt_ner"


@pytest.mark.parametrize("name", ["o_bias", "logit_adjustment", "threshold"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, True])
def test_settings_must_be_finite_numbers(trained, name, value):
    component = trained.get_pipe("welt_ner")
    before = getattr(component, name)
    with pytest.raises(WeltError, match=f"{name} is"):
        setattr(component, name, value)
    assert getattr(component, name) == before
    with pytest.raises(WeltError, match=name):
        WeltNER(trained.vocab, component.model, **{name: value})


def test_ranges_and_choices_of_settings(trained):
    component = trained.get_pipe("welt_ner")
    for name, value in (
        ("threshold", -0.1),
        ("threshold", 1.1),
        ("decoder", "beam"),
        ("spans_key", 3),
    ):
        with pytest.raises(WeltError, match=f"{name} is"):
            setattr(component, name, value)


def test_any_finite_bias_decodes(trained):
    component = trained.get_pipe("welt_ner")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            component.o_bias = 1e9
            assert trained(TEXT).ents == ()
            component.o_bias = -1e9
            assert len(trained(TEXT).ents) > 0
    finally:
        component.o_bias = 0.0


def test_a_second_pass_changes_nothing(trained):
    doc = trained(TEXT)
    for annotated in (doc, next(iter(DocBin(docs=[doc]).get_docs(trained.vocab)))):
        again = trained.get_pipe("welt_ner")(annotated)
        assert ents(again) == EXPECTED
        scores = again.spans["welt_ner"].attrs["scores"]
        assert len(again.spans["welt_ner"]) == len(scores) == 3
        assert all(ent._.confidence is not None for ent in again.ents)


def test_a_confidence_is_that_of_its_label(trained):
    nlp = copy.deepcopy(trained)
    ruler = nlp.add_pipe("entity_ruler", config={"overwrite_ents": True})
    ruler.add_patterns([{"label": "DRUG", "pattern": "Selegiline"}])
    first, second, _ = nlp(TEXT).ents
    assert (first.label_, first._.confidence) == ("DRUG", None)
    assert second._.confidence > 0.5
    part = nlp(TEXT)[2:8].as_doc(copy_user_data=True)
    assert part.ents[0]._.confidence == pytest.approx(second._.confidence)
    second._.confidence = 0.25
    assert second._.confidence == 0.25


@pytest.mark.parametrize("scheme, works", [("vanilla", True), ("welt", False)])
def test_initialize_without_data(scheme, works):
    nlp = make_nlp(weighting={"@misc": f"welt_spacy.{scheme}_weights.v1"})
    nlp.get_pipe("welt_ner").add_label("X")
    if works:
        nlp.initialize()
        assert nlp("A text.").has_annotation("ENT_IOB")
    else:
        with pytest.raises(WeltError, match="tag counts"):
            nlp.initialize()


@pytest.mark.parametrize("n_tokens", [0, 1, 10_000])
def test_docs_of_any_length(trained, n_tokens):
    doc = Doc(trained.vocab, words=["Aspirin"] * n_tokens)
    doc = trained(doc)
    assert len(doc) == n_tokens
    assert (doc.to_array(ENT_IOB) != 0).all()


def test_earlier_entities_stay_unless_overwritten(trained):
    nlp = copy.deepcopy(trained)
    component = nlp.get_pipe("welt_ner")
    for overwrite in (False, True):
        component.overwrite = overwrite
        doc = nlp.make_doc(TEXT)
        # "Parkinson" alone, and "Selegiline" may not be an entity.
        doc.set_ents(
            [Span(doc, 6, 7, label="PERSON", kb_id="Q1")],
            blocked=[doc[0:1]],
            default="missing",
        )
        doc = nlp.get_pipe("welt_ner")(doc)
        if overwrite:
            assert ents(doc) == EXPECTED
        else:
            assert ents(doc) == [
                ("postural hypotension", "Disease"),
                ("Parkinson", "PERSON"),
            ]
            assert doc.ents[1].kb_id_ == "Q1"
            assert doc[0].ent_iob_ == "B" and not doc[0].ent_type
            assert doc[1].ent_iob_ == "O"
        scores = doc.spans["welt_ner"].attrs["scores"]
        assert len(doc.spans["welt_ner"]) == len(scores) == (3 if overwrite else 1)


def test_white_space_is_no_entity(trained):
    component = trained.get_pipe("welt_ner")
    component.o_bias = -50.0
    try:
        for ent in trained("  Aspirin  \n and \n").ents:
            assert ent.text.strip() == ent.text != ""
    finally:
        component.o_bias = 0.0


def test_whole_corpus_is_counted_and_recorded(trained, tmp_path):
    component = trained.get_pipe("welt_ner")
    assert component.class_counts == {
        "O": 17,
        "B-Chemical": 3,
        "I-Chemical": 2,
        "B-Disease": 3,
        "I-Disease": 4,
    }
    assert sum(component.class_weights.values()) == pytest.approx(1.0)
    trained.to_disk(tmp_path)
    meta = json.loads((tmp_path / "meta.json").read_text())
    record = meta["class_weights"]["welt_ner"]
    assert record["weighting"] == "welt(temperature=1)"
    assert record["counts"] == component.class_counts
    assert record["weights"] == pytest.approx(component.class_weights)
    analysis = trained.analyze_pipes()
    assert "doc.ents" in analysis["summary"]["welt_ner"]["assigns"]


def test_rare_tags_beyond_the_first_examples_are_counted():
    nlp = make_nlp()
    data = [("The study was blind.", [])] * 150 + TRAIN_DATA
    nlp.initialize(lambda: make_examples(nlp, data))
    counts = nlp.get_pipe("welt_ner").class_counts
    assert counts["B-Chemical"] == 3 and counts["O"] == 17 + 150 * 5


def test_labels_data_stands_in_for_the_corpus(trained):
    data = trained.get_pipe("welt_ner").label_data
    assert json.loads(json.dumps(data)) == data
    nlp = make_nlp()
    one_example = make_examples(nlp)[:1]
    nlp.get_pipe("welt_ner").initialize(lambda: one_example, nlp=nlp, labels=data)
    assert nlp.get_pipe("welt_ner").label_data == data
    assert (
        nlp.get_pipe("welt_ner").class_weights
        == trained.get_pipe("welt_ner").class_weights
    )


def test_label_names_alone_still_count():
    nlp = make_nlp()
    examples = make_examples(nlp)
    component = nlp.get_pipe("welt_ner")
    component.initialize(lambda: examples, labels=["Disease", "Chemical", "Gene"])
    assert component.labels == ("Disease", "Chemical", "Gene")
    assert component.class_counts["B-Gene"] == 0
    with pytest.raises(WeltError, match="Chemical"):
        make_nlp().get_pipe("welt_ner").initialize(lambda: examples, labels=["Disease"])


def test_streamed_corpora_need_counts():
    nlp = make_nlp()
    nlp.config["training"] = {"max_epochs": -1}
    examples = make_examples(nlp)
    with pytest.raises(WeltError, match="spacy init labels"):
        nlp.get_pipe("welt_ner").initialize(lambda: examples, nlp=nlp)
    vanilla = make_nlp(weighting={"@misc": "welt_spacy.vanilla_weights.v1"})
    vanilla.config["training"] = {"max_epochs": -1}
    vanilla.get_pipe("welt_ner").initialize(lambda: examples, nlp=vanilla)


def test_unaligned_mentions_are_reported():
    nlp = make_nlp()
    words = ["Selegiline-induced", "nausea"]
    reference = Doc(
        nlp.vocab,
        words=["Selegiline", "-", "induced", "nausea"],
        spaces=[False, False, True, False],
        ents=["B-Chemical", "O", "O", "B-Disease"],
    )
    example = Example(Doc(nlp.vocab, words=words, spaces=[True, False]), reference)
    with pytest.warns(UserWarning, match="1 of 2 gold mentions.*Selegiline"):
        nlp.initialize(lambda: [example])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlp = make_nlp()
        nlp.initialize(lambda: make_examples(nlp))


@pytest.mark.parametrize("get_examples", [None, list, lambda: [None], "examples"])
def test_bad_examples_are_refused(get_examples):
    with pytest.raises((TypeError, ValueError)):
        make_nlp().get_pipe("welt_ner").initialize(get_examples)


def test_no_labels_no_training():
    nlp = make_nlp()
    with pytest.raises(ValueError, match="E143"):
        nlp.initialize(lambda: make_examples(nlp, [("The study was blind.", [])]))


def test_labels():
    nlp = make_nlp()
    component = nlp.get_pipe("welt_ner")
    with pytest.raises(ValueError, match="E187"):
        component.add_label(3)
    assert component.add_label("Gene") == 1
    assert component.add_label("Gene") == 0
    nlp.initialize(lambda: make_examples(nlp))
    assert component.labels == ("Gene", "Chemical", "Disease")
    assert component.tags[0] == "O" and len(component.tags) == 7
    with pytest.raises(ValueError, match="E922"):
        component.add_label("Species")


def test_width_of_the_output_must_fit():
    nlp = make_nlp(model={"nO": 7})
    with pytest.raises(WeltError, match="need 5 tags"):
        nlp.initialize(lambda: make_examples(nlp))


def test_missing_annotation_gives_no_gradient(trained):
    component = trained.get_pipe("welt_ner")
    words = ["aspirin", "for", "pain"]
    reference = Doc(trained.vocab, words=words, ents=["B-Chemical", "", "O"])
    example = Example(Doc(trained.vocab, words=words), reference)
    scores, _ = component.model.begin_update([example.predicted])
    loss, (d,) = component.get_loss([example], scores)
    assert loss > 0
    assert d[0].any() and not d[1].any() and d[2].any()
    unannotated = Example(
        Doc(trained.vocab, words=words), Doc(trained.vocab, words=words)
    )
    loss, (d,) = component.get_loss([unannotated], scores)
    assert loss == 0 and not d.any()


def test_learns_from_partial_annotation():
    nlp = make_nlp()
    words = ["aspirin", "for", "pain"]
    reference = Doc(nlp.vocab, words=words, ents=["B-Chemical", "", "O"])
    examples = [Example(Doc(nlp.vocab, words=words), reference)]
    train(nlp, examples, steps=30)
    doc = nlp(Doc(nlp.vocab, words=words))
    assert doc[0].ent_type_ == "Chemical" and not doc[2].ent_type_


def test_gradient_is_the_weighted_one(trained):
    component = trained.get_pipe("welt_ner")
    words = ["aspirin", "for", "pain"]
    tags = ["B-Chemical", "O", "B-Disease"]
    example = Example(
        Doc(trained.vocab, words=words), Doc(trained.vocab, words=words, ents=tags)
    )
    (scores,), _ = component.model.begin_update([example.predicted])
    loss, (d,) = component.get_loss([example], [scores])
    names = list(component.tags)
    w = np.array([component.class_weights[tag] for tag in tags])
    y = np.array([names.index(tag) for tag in tags])
    onehot = np.eye(len(names))[y]
    np.testing.assert_allclose(
        d, w[:, None] * (scores - onehot) / w.sum(), rtol=1e-4, atol=1e-6
    )
    assert loss == pytest.approx(
        -(w * np.log(scores[[0, 1, 2], y])).sum() / w.sum(), 1e-4
    )


def test_sum_reduction_gets_weights_of_mean_one():
    nlp = make_nlp(
        loss={"@losses": "welt_spacy.WeightedCrossEntropy.v1", "reduction": "sum"},
        weighting={"@misc": "welt_spacy.ins_weights.v1"},
    )
    seen = []
    component = nlp.get_pipe("welt_ner")
    inner = component.loss
    component.loss = lambda p, y, w: seen.append(w) or inner(p, y, w)
    train(nlp, make_examples(nlp), steps=1)
    counts = np.array(list(component.class_counts.values()))
    assert (counts * seen[0]).sum() / counts.sum() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("decoder", ["greedy", "constrained"])
def test_other_losses_weights_and_architectures(decoder):
    nlp = make_nlp(
        decoder=decoder,
        loss={"@losses": "welt_spacy.WeightedFocalLoss.v1", "gamma": 1.0},
        weighting={
            "@misc": "welt_spacy.explicit_weights.v1",
            "weights": {"Chemical": 2.0},
        },
        # spaCy's own head, which gives logits in prediction if it is let
        model={"@architectures": "spacy.Tagger.v2", "normalize": False},
    )
    train(nlp, make_examples(nlp))
    doc = nlp(TEXT)
    assert ents(doc) == EXPECTED
    assert all(0.5 < ent._.confidence <= 1.0 for ent in doc.ents)
    (probs,) = nlp.get_pipe("welt_ner").predict([nlp.make_doc(TEXT)])
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, rtol=1e-5)


def test_unknown_decoder_is_refused():
    with pytest.raises(Exception, match="decoder"):
        make_nlp(decoder="beam")


def test_training_goes_on_and_rehearses(trained, tmp_path):
    nlp = reloaded(trained, tmp_path)
    examples = make_examples(nlp)
    component = nlp.get_pipe("welt_ner")
    assert component.rehearse(examples) == {"welt_ner": 0.0}
    optimizer = nlp.resume_training()
    before = component.predict([nlp.make_doc(TEXT)])[0]
    nlp.update(examples, sgd=optimizer)
    # Shake the model, then let the rehearsal bring it back.
    weights = component.model.get_ref("output_layer").get_param("W")
    weights += np.random.default_rng(0).normal(scale=0.3, size=weights.shape)
    optimizer.learn_rate = 0.01

    def distance():
        return np.abs(component.predict([nlp.make_doc(TEXT)])[0] - before).mean()

    shaken = distance()
    for _ in range(40):
        losses = nlp.rehearse(examples, sgd=optimizer)
    assert losses["welt_ner"] > 0
    assert distance() < shaken / 2


def test_with_a_shared_tok2vec_and_replaced_listeners(tmp_path):
    nlp = spacy.blank("en", config=BIO)
    nlp.add_pipe("tok2vec", config={"model": {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 32, "depth": 1, "embed_size": 200, "window_size": 1, "maxout_pieces": 2, "subword_features": True}})  # fmt: skip
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
    nlp.add_pipe(
        "welt_ner",
        config={
            "model": {
                "@architectures": "welt_spacy.TokenClassifier.v1",
                "tok2vec": listener,
                "hidden_width": 16,
                "window_size": 1,
            }
        },
    )
    train(nlp, make_examples(nlp))
    assert ents(nlp(TEXT)) == EXPECTED
    assert ents(reloaded(nlp, tmp_path)(TEXT)) == EXPECTED
    nlp.replace_listeners("tok2vec", "welt_ner", ["model.tok2vec"])
    nlp.remove_pipe("tok2vec")
    assert ents(nlp(TEXT)) == EXPECTED


def test_same_seed_same_weights():
    arrays = []
    for _ in range(2):
        spacy.util.fix_random_seed(3)
        nlp = make_nlp()
        train(nlp, make_examples(nlp), steps=5)
        arrays.append(nlp.get_pipe("welt_ner").model.to_bytes())
    assert arrays[0] == arrays[1]


def test_displacy_takes_the_entities(trained):
    html = spacy.displacy.render(trained(TEXT), style="ent", jupyter=False)
    assert "Selegiline" in html and "Chemical" in html
