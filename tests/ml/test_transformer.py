"""`welt_spacy.TransformerEncoder.v1` against the transformers library itself."""

import pickle

import numpy as np
import pytest
import spacy
import srsly
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

from welt_spacy.errors import WeltError
from welt_spacy.ml.adamw import make_adamw
from welt_spacy.ml.encoder.transformer import build_transformer_encoder, on_gpu

from ..factories import ENCODER_KINDS, ents, make_examples, train
from ..factories.encoders import VOCAB, make_docs, make_model

torch = pytest.importorskip("torch", reason="needs welt-spacy[transformers]")
transformers = pytest.importorskip("transformers")


def compute_vectors(name, doc, pooling):
    """Compute the vectors of a document with the transformers library."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, add_prefix_space=True)
    encoder = transformers.AutoModel.from_pretrained(name).eval()
    words = [token.text for token in doc]
    batch = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state[0]
    word_ids = batch.word_ids()
    rows = [[j for j, o in enumerate(word_ids) if o == i] for i in range(len(words))]
    if pooling == "first":
        return np.array([hidden[row[0]].numpy() for row in rows])
    return np.array([hidden[row].mean(0).numpy() for row in rows])


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("kind", ENCODER_KINDS)
def test_vectors_are_those_of_the_library(encoders, kind, pooling):
    model = make_model(encoders[kind], pooling=pooling)
    assert model.get_dim("nO") == 32
    docs = make_docs()
    arrays = model.predict(docs)
    assert [array.shape for array in arrays] == [(len(doc), 32) for doc in docs]
    for doc, array in zip(docs, arrays):
        assert array.dtype == "float32"
        if len(doc):
            np.testing.assert_allclose(
                array, compute_vectors(encoders[kind], doc, pooling), atol=1e-4
            )
    assert model.predict([docs[1]])[0].shape == (0, 32)


@pytest.mark.parametrize("max_batch_pieces", [1, 40, 4096])
def test_vectors_do_not_depend_on_batches(encoders, max_batch_pieces):
    docs = make_docs(["aspirin " * n for n in (1, 9, 3, 0, 70, 2)])
    plain = make_model(encoders["bert"])
    small = make_model(encoders["bert"], max_batch_pieces=max_batch_pieces)
    for a, b in zip(plain.predict(docs), small.predict(docs)):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for doc, array in zip(docs, plain.predict(docs)):
        np.testing.assert_allclose(plain.predict([doc])[0], array, atol=1e-5)


def test_long_docs_are_read_in_windows(encoders):
    model = make_model(encoders["bert"], overlap=16)
    words = ["lice"] * 1000
    plain = model.predict([Doc(VOCAB, words=words)])[0]
    words[900] = "rats"  # as many pieces
    changed = model.predict([Doc(VOCAB, words=words)])[0]
    assert plain.shape == changed.shape == (1000, 32)
    differs = np.flatnonzero(np.abs(plain - changed).max(axis=1) > 1e-5)
    assert 900 in differs and abs(differs - 900).max() <= 62


def test_long_words_and_white_space_have_vectors(encoders):
    model = make_model(encoders["bert"])
    doc = Doc(VOCAB, words=["x" * 4000, " ", "\u200b", "a"])
    assert np.isfinite(model.predict([doc])[0]).all()


def with_sentences(n_words):
    """Make a document with sentences of so many words."""
    lengths = np.array(n_words)
    words = [f"{'abcdefgh'[i % 8]}{'xyz'[i % 3]}" for i in range(lengths.sum())]
    starts = np.isin(np.arange(len(words)), np.cumsum(lengths) - lengths)
    return Doc(VOCAB, words=words, sent_starts=starts.tolist())


def test_sentences_without_context(encoders):
    doc = with_sentences([3, 5, 2])
    (vectors,) = make_model(encoders["bert"], context=0).predict([doc])
    sentences = [sent.as_doc() for sent in doc.sents]
    plain = make_model(encoders["bert"]).predict(sentences)
    np.testing.assert_allclose(vectors, np.concatenate(plain), atol=1e-5)


def test_sentences_with_context(encoders):
    doc = with_sentences([3, 5, 2])
    # A word has two pieces, so three pieces are one word on each side
    (vectors,) = make_model(encoders["bert"], context=3).predict([doc])
    plain = make_model(encoders["bert"])
    windows = [(0, 4, 0, 3), (2, 9, 3, 8), (7, 10, 8, 10)]
    for start, end, keep, last in windows:
        (window,) = plain.predict([doc[start:end].as_doc()])
        np.testing.assert_allclose(
            vectors[keep:last], window[keep - start : last - start], atol=1e-5
        )


@pytest.mark.parametrize("context, sentences", [(0, [10]), (40, [3, 5, 2])])
def test_one_window_if_there_is_one_sentence_or_room_for_all(
    encoders, context, sentences
):
    (expected,) = make_model(encoders["bert"]).predict([with_sentences([10])])
    model = make_model(encoders["bert"], context=context)
    (vectors,) = model.predict([with_sentences(sentences)])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_gradient_is_that_of_torch(encoders, pooling):
    model = make_model(
        encoders["bert"],
        pooling=pooling,
        transformer_config={
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
    )
    docs = make_docs()
    arrays, backprop = model.begin_update(docs)
    rng = np.random.default_rng(0)
    d_arrays = [rng.normal(size=a.shape).astype("float32") for a in arrays]
    backprop(d_arrays)
    encoder = model.shims[0].encoder
    weights = encoder.encoder.layer[0].output.dense.weight
    gradient = weights.grad.clone()
    # Finite differences along the gradient
    step = 1e-2 * gradient / gradient.norm()

    def value():
        return sum(float((d * a).sum()) for d, a in zip(d_arrays, model.predict(docs)))

    with torch.no_grad():
        weights += step
        above = value()
        weights -= 2 * step
        below = value()
        weights += step
    assert (above - below) / 2e-2 == pytest.approx(float(gradient.norm()), rel=0.02)


def gradients(model, batches):
    torch.manual_seed(0)
    for docs in batches:
        arrays, backprop = model.begin_update(docs)
        backprop(arrays)
    return {
        name: parameter.grad.clone()
        for name, parameter in model.shims[0].encoder.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("max_stored_pieces", [1, 60])
def test_activations_that_are_computed_twice_have_the_same_gradient(
    encoders, max_stored_pieces
):
    docs = make_docs(["aspirin mice " * n for n in (1, 9, 3, 0, 70, 2)])
    plain = gradients(make_model(encoders["bert"], max_batch_pieces=40), [docs])
    bounded = make_model(
        encoders["bert"], max_batch_pieces=40, max_stored_pieces=max_stored_pieces
    )  # dropout included
    for name, gradient in gradients(bounded, [docs]).items():
        torch.testing.assert_close(gradient, plain[name], atol=1e-6, rtol=1e-4)


def test_activations_beyond_max_stored_pieces_are_not_stored(encoders):
    def count_stored(n_docs, **settings):
        model = make_model(encoders["bert"], max_batch_pieces=64, **settings)
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.begin_update(make_docs(["aspirin mice " * 20] * n_docs))
        return sum(sizes)

    def growth(**settings):
        return count_stored(20, **settings) - count_stored(10, **settings)

    assert growth(max_stored_pieces=64) < 0.05 * growth()


def test_gradients_accumulate(encoders):
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = make_model(encoders["bert"], transformer_config=settings)
    first, second = make_docs(["aspirin mice", "we gave"]), make_docs(["to mice"])
    together = gradients(model, [first + second])
    other = make_model(encoders["bert"], transformer_config=settings)
    for name, gradient in gradients(other, [first, second]).items():
        torch.testing.assert_close(gradient, together[name], atol=1e-6, rtol=1e-4)


def test_pieces_are_counted_for_batches(encoders):
    count = registry.resolve(
        {"f": {"@misc": "welt_spacy.piece_counter.v1", "name": encoders["bert"]}}
    )["f"]
    doc = make_docs(["aspirin rats"])[0]
    # r ##a ##t ##s, and [CLS] and [SEP]
    assert count(doc) == count(Example(doc, doc)) == 1 + 4 + 2
    with pytest.raises(WeltError, match="Can't load the encoder"):
        registry.resolve(
            {"f": {"@misc": "welt_spacy.piece_counter.v1", "name": "no/such/one"}}
        )


def trained_parameters(encoder, n_frozen):
    """Return the names of the parameters with a gradient after an update."""
    model = make_model(encoder, frozen_layers=n_frozen)
    names = set(gradients(model, [make_docs()]))
    model.finish_update(make_adamw())
    return names


def test_frozen_layers_get_no_gradient(encoders):
    all_names = trained_parameters(encoders["electra"], 0)
    assert any("embeddings" in name for name in all_names)
    names = trained_parameters(encoders["electra"], 1)
    assert names < all_names
    assert not any("embeddings" in name or "layer.0." in name for name in names)
    assert any("layer.1." in name for name in names)


@pytest.mark.parametrize("n_frozen", [-1, 1, 12])
def test_an_encoder_with_all_layers_frozen_is_not_trained(encoders, n_frozen):
    # This BERT has one layer, and a pooler above that does not contribute
    assert trained_parameters(encoders["bert"], n_frozen) == set()


@pytest.mark.parametrize("kind", ENCODER_KINDS)
def test_saved_and_loaded_without_the_original(encoders, kind, monkeypatch):
    model = make_model(encoders[kind])
    docs = make_docs()
    data = model.to_bytes()
    assert b"model.safetensors" in data and b"pytorch_model" not in data
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = build_transformer_encoder("no/such-encoder").from_bytes(data)
    assert loaded.get_dim("nO") == 32
    for a, b in zip(model.predict(docs), loaded.predict(docs)):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    "copy",
    [lambda model: model.copy(), lambda model: pickle.loads(pickle.dumps(model))],
)
def test_copies_predict_the_same(encoders, copy):
    model, docs = make_model(encoders["bert"]), make_docs()
    for a, b in zip(model.predict(docs), copy(model).predict(docs)):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_an_encoder_that_is_not_initialized_is_saved_and_loaded():
    data = build_transformer_encoder("x").to_bytes()
    assert build_transformer_encoder("x").from_bytes(data).shims[0].encoder is None


def test_folders_without_encoder(tmp_path):
    with pytest.raises(WeltError, match="Can't load the encoder .*local folder"):
        make_model(str(tmp_path))


def test_adamw_on_an_encoder_is_that_of_torch(encoders):
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = make_model(encoders["bert"], transformer_config=settings)
    reference = transformers.AutoModel.from_pretrained(encoders["bert"], **settings)
    decays = [p for p in reference.parameters() if p.ndim >= 2]
    rest = [p for p in reference.parameters() if p.ndim < 2]
    torch_optimizer = torch.optim.AdamW(
        [
            {"params": decays, "weight_decay": 0.1},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=1e-2,
        eps=1e-4,  # because tiny gradients are noise
    )
    optimizer = make_adamw(1e-2, weight_decay=0.1, eps=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoders["bert"])
    batch = tokenizer(["aspirin"], return_tensors="pt")
    doc = Doc(VOCAB, words=["aspirin"])
    for _ in range(3):
        (array,), backprop = model.begin_update([doc])
        backprop([array])  # the loss is half the squared norm
        model.finish_update(optimizer)
        hidden = reference(**batch).last_hidden_state[0, 1]
        (0.5 * (hidden**2).sum()).backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        torch_optimizer.step()
        torch_optimizer.zero_grad()
    parameters = dict(model.shims[0].encoder.named_parameters())
    for name, parameter in reference.named_parameters():
        np.testing.assert_allclose(
            parameters[name].detach().numpy(), parameter.detach().numpy(), atol=2e-5
        )


def test_layers_below_learn_slower(encoders):
    model = make_model(encoders["electra"], layer_decay=0.1)
    before = {
        n: p.detach().clone() for n, p in model.shims[0].encoder.named_parameters()
    }
    arrays, backprop = model.begin_update(make_docs())
    backprop(arrays)
    model.finish_update(make_adamw(1e-3, weight_decay=0.0, eps=1e-15))
    after = dict(model.shims[0].encoder.named_parameters())

    def max_change(part):
        return max(
            float((after[n].detach() - before[n]).abs().max())
            for n in before
            if part in n
        )

    # The first step of Adam is the learning rate, whatever the gradient
    assert max_change("layer.1.") == pytest.approx(1e-3, rel=0.01)
    assert max_change("layer.0.") == pytest.approx(1e-4, rel=0.01)
    assert max_change("word_embeddings") == pytest.approx(1e-5, rel=0.01)


def test_other_optimizers_of_thinc_work(encoders):
    from thinc.api import Adam

    model = make_model(encoders["bert"])
    optimizer = Adam(0.001, use_averages=True)
    docs = make_docs()
    arrays, backprop = model.begin_update(docs)
    backprop(arrays)
    before = model.predict(docs)[0].copy()
    model.finish_update(optimizer)
    after = model.predict(docs)[0].copy()
    assert np.abs(after - before).max() > 1e-5
    with model.use_params(optimizer.averages):
        model.predict(docs)
    np.testing.assert_allclose(model.predict(docs)[0], after, atol=1e-6)


def test_an_encoder_alone_and_one_shared_by_listeners(encoders, tmp_path):
    encoder = {
        "@architectures": "welt_spacy.TransformerEncoder.v1",
        "name": encoders["bert"],
    }
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
    head = {"@architectures": "welt_spacy.TokenClassifier.v1"}
    alone, shared = spacy.blank("en"), spacy.blank("en")
    alone.add_pipe("welt_ner", config={"model": {**head, "tok2vec": encoder}})
    shared.add_pipe("tok2vec", config={"model": encoder})
    shared.add_pipe("welt_ner", config={"model": {**head, "tok2vec": listener}})
    shared.add_pipe("tagger", config={"model": {"tok2vec": listener}})
    for nlp in (alone, shared):
        examples = make_examples(nlp)
        for eg in examples:
            for token in eg.reference:
                token.tag_ = "X" if token.is_alpha else "Y"
        train(nlp, examples, steps=60, learn_rate=0.005)
        texts = [eg.reference.text for eg in examples]
        expected = [ents(eg.reference) for eg in examples]
        assert [ents(nlp(text)) for text in texts] == expected
        nlp.to_disk(tmp_path / "model")
        loaded = spacy.load(tmp_path / "model")
        assert [ents(doc) for doc in loaded.pipe(texts)] == expected
        assert "welt-spacy[transformers]>=0.1.0,<0.2.0" in loaded.meta["requirements"]
    shared.replace_listeners("tok2vec", "welt_ner", ["model.tok2vec"])
    assert [ents(doc) for doc in shared.pipe(texts)] == expected


def test_on_gpu_is_false_on_a_cpu():
    assert on_gpu() is False


def test_bytes_with_paths_outside_of_the_folder_are_refused():
    serialization = pytest.importorskip("welt_spacy.ml.encoder.serialization")
    with pytest.raises(WeltError, match="outside of its folder"):
        serialization.decode_encoder(srsly.msgpack_dumps({"../config.json": b"{}"}))
