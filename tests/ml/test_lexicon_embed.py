"""Lexicon features."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.vocab import Vocab
from thinc.api import Model

from welt_spacy.corpora.names import collect_names, read_names
from welt_spacy.errors import WeltError
from welt_spacy.ml.lexicon_embed import build_lexicon_embed
from welt_spacy.training.config import ConfigSettings, make_config

from ..factories import copies, ents, make_examples, make_tiny_bert

WIDTH = 3


@spacy.registry.architectures("test.Constant.v1")
def constant(width=WIDTH):
    """Build an embedding with the output 1.0 for every token."""
    return Model("constant", forward_ones, dims={"nO": width})


def forward_ones(model, docs, is_train):
    width = model.get_dim("nO")
    ones = [model.ops.xp.ones((len(doc), width), dtype="f") for doc in docs]
    return ones, lambda d_arrays: []


def make_docs():
    vocab = Vocab()
    docs = [Doc(vocab, words=["a"] * n) for n in (4, 0, 2, 3)]
    docs[0].spans["lexicon"] = [
        Span(docs[0], 0, 2, "X"),
        Span(docs[0], 1, 2, "Y"),
        Span(docs[0], 2, 3, "unknown"),
    ]
    docs[3].spans["lexicon"] = [Span(docs[3], 1, 3, "Y"), Span(docs[3], 1, 2, "Y")]
    return docs


def build(**settings):
    model = build_lexicon_embed(constant(), **{"labels": ["X", "Y"], **settings})
    model.initialize(X=make_docs())
    model.set_param("E", np.arange(4 * WIDTH, dtype="f").reshape(4, WIDTH))
    return model


def test_the_vectors_of_begin_and_inside_are_added():
    model = build()
    E = model.get_param("E")
    begin_x, inside_x, begin_y, inside_y = E
    first, empty, third, last = model.predict(make_docs())
    np.testing.assert_array_equal(
        first, 1 + np.array([begin_x, inside_x + begin_y, 0 * begin_x, 0 * begin_x])
    )
    assert empty.shape == (0, WIDTH)
    np.testing.assert_array_equal(third, np.ones((2, WIDTH)))
    np.testing.assert_array_equal(last, 1 + np.array([0 * begin_x, begin_y, inside_y]))


def test_gradient_equals_finite_differences():
    model, docs = build(dropout=0.0), make_docs()
    rng = np.random.default_rng(0)
    arrays, backprop = model.begin_update(docs)
    weights = [rng.normal(size=array.shape).astype("f") for array in arrays]
    backprop(weights)
    gradient = model.get_grad("E")
    E = model.get_param("E").copy()
    for place in np.ndindex(E.shape):
        values = []
        for step in (0.5, -0.5):  # The layer is linear, so the step may be large
            changed = E.copy()
            changed[place] += step
            model.set_param("E", changed)
            out = model.predict(docs)
            values.append(sum(float((a * w).sum()) for a, w in zip(out, weights)))
        assert gradient[place] == pytest.approx(values[0] - values[1], abs=1e-4)


def test_dropout_leaves_out_names_in_training_only():
    model, docs = build(dropout=0.75), make_docs()
    plain = model.predict(docs)[3]
    seen = []
    np.random.seed(0)
    for _ in range(400):
        arrays, _ = model.begin_update([docs[3]])
        seen.append(bool((arrays[0] != 1).any()))
        np.testing.assert_array_equal(model.predict(docs)[3], plain)
    # Expected share with at least one of two names: 1 - 0.75 ** 2
    assert 0.36 < np.mean(seen) < 0.52


@pytest.mark.parametrize(
    "settings",
    [{"labels": []}, {"labels": ["X", "X"]}, {"dropout": 1.0}, {"dropout": -0.1}],
)
def test_settings_are_checked(settings):
    with pytest.raises(WeltError):
        build(**settings)


def make_pipeline(tok2vec):
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "span_ruler",
        name="lexicon",
        config={"spans_key": "lexicon", "phrase_matcher_attr": "LOWER"},
    )
    embed = {
        "@architectures": "welt_spacy.LexiconEmbed.v1",
        "embed": tok2vec,
        "labels": ["Chemical"],
        "dropout": 0.0,
    }
    model = {"@architectures": "welt_spacy.TokenClassifier.v1", "tok2vec": embed}
    return nlp, nlp.add_pipe("welt_ner", config={"model": model, "threshold": 0.5})


def learn(nlp, steps):
    examples = make_examples(nlp, [("we gave zinc", [(8, 12, "Chemical")])])
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.05
    add(nlp, "zinc")
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer, annotates=["lexicon"])


def add(nlp, name):
    nlp.get_pipe("lexicon").add_patterns([{"label": "Chemical", "pattern": name}])


def test_lexicon_grows_without_training(tmp_path):
    # The embedding of all words is equal, so only the lexicon distinguishes them
    nlp, _ = make_pipeline({"@architectures": "test.Constant.v1", "width": 8})
    learn(nlp, steps=40)
    text = "Zinc and bidu"
    assert ents(nlp(text)) == [("Zinc", "Chemical")]
    add(nlp, "bidu")
    expected = [("Zinc", "Chemical"), ("bidu", "Chemical")]
    assert ents(nlp(text)) == expected
    nlp.to_disk(tmp_path / "model")
    for copied in copies(nlp, tmp_path / "model"):
        assert ents(copied(text)) == expected


def test_lexicon_with_a_transformer(tmp_path):
    pytest.importorskip("transformers", reason="needs welt-spacy[transformers]")
    encoder = {
        "@architectures": "welt_spacy.TransformerEncoder.v1",
        "name": str(make_tiny_bert(tmp_path / "bert")),
    }
    nlp, pipe = make_pipeline(encoder)
    learn(nlp, steps=3)
    layer = next(n for n in pipe.model.walk() if n.name == "lexicon_embed")
    assert np.abs(layer.get_param("E")).sum() > 0
    nlp.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    (expected,) = pipe.predict([nlp("zuvo bado")])
    (probs,) = loaded.get_pipe("welt_ner").predict([loaded("zuvo bado")])
    np.testing.assert_allclose(probs, expected, atol=1e-6)


def test_lists_are_collected_and_read(tmp_path):
    vocab = Vocab()
    docs = [
        Doc(vocab, words=["Zinc", "zinc", "oxide"], ents=["B-C", "B-C", "I-C"]),
        Doc(vocab, words=["ZINC"], ents=["B-D"]),
    ]
    names = collect_names(docs)
    assert names == [
        {"label": "C", "pattern": "Zinc"},
        {"label": "C", "pattern": "zinc oxide"},
        {"label": "D", "pattern": "ZINC"},
    ]
    path = tmp_path / "names.jsonl"
    good = '{"label": "C", "pattern": "zinc", "id": "Q758"}\n\n'
    path.write_text(good + '{"label": "D", "pattern": [{"LOWER": "zinc"}]}\n')
    assert [name["label"] for name in read_names(path)] == ["C", "D"]
    for bad in ("zinc", '["zinc"]', '{"label": "C"}', '{"label": 1, "pattern": "x"}'):
        path.write_text(good + bad)
        with pytest.raises(WeltError, match="line 3: .*is not a name with its label"):
            read_names(path)
    path.write_text("\n")
    with pytest.raises(WeltError, match="has no names"):
        read_names(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(WeltError, match="can't be read"):
        read_names(path)
    with pytest.raises(WeltError, match="can't be read"):
        read_names(tmp_path / "missing")


@pytest.mark.parametrize("encoder", ["cpu", "some/encoder"])
def test_the_config_of_a_list(tmp_path, encoder):
    path = tmp_path / "names.jsonl"
    path.write_text('{"label": "Gene", "pattern": "p53"}\n')
    text = make_config(ConfigSettings(encoder=encoder, lexicon=path))
    config = spacy.util.load_config_from_str(text)
    embed = config["components"]
    embed = (
        embed["tok2vec"]["model"]["embed"]
        if encoder == "cpu"
        else embed["welt_ner"]["model"]["tok2vec"]
    )
    assert embed["@architectures"] == "welt_spacy.LexiconEmbed.v1"
    assert embed["labels"] == ["Gene"] and "@architectures" in embed["embed"]
    assert config["nlp"]["pipeline"][0] == "lexicon"
    annotating = config["training"]["annotating_components"]
    assert annotating == config["nlp"]["pipeline"][: len(annotating)]
    if encoder == "cpu":
        nlp = spacy.util.load_model_from_config(config, auto_fill=True)
        examples = make_examples(nlp)
        nlp.initialize(lambda: examples)
        assert nlp.get_pipe("lexicon").patterns == read_names(path)
        # the list has no say in which pipeline is best
        weights = nlp.config["training"]["score_weights"]
        assert {key for key, value in weights.items() if value} == {"ents_f"}
    with pytest.raises(WeltError, match="spacy-transformers"):
        make_config(
            ConfigSettings(
                encoder="some/encoder", lexicon=path, spacy_transformers=True
            )
        )
