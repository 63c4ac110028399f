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


def expected(name, doc, pooling):
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, add_prefix_space=True)
    encoder = transformers.AutoModel.from_pretrained(name).eval()
    words = [token.text for token in doc]
    batch = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state[0]
    owners = batch.word_ids()
    rows = [[j for j, o in enumerate(owners) if o == i] for i in range(len(words))]
    if pooling == "first":
        return np.array([hidden[row[0]].numpy() for row in rows])
    return np.array([hidden[row].mean(0).numpy() for row in rows])


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("kind", ENCODER_KINDS)
def test_vectors_are_those_of_the_library(encoders, kind, pooling):
    model = make_model(encoders[kind], pooling=pooling)
    assert model.get_dim("nO") == 32
    docs = make_docs()
    found = model.predict(docs)
    assert [array.shape for array in found] == [(len(doc), 32) for doc in docs]
    for doc, array in zip(docs, found):
        assert array.dtype == "float32"
        if len(doc):
            np.testing.assert_allclose(
                array, expected(encoders[kind], doc, pooling), atol=1e-4
            )
    assert model.predict([docs[1]])[0].shape == (0, 32)


@pytest.mark.parametrize("max_batch_pieces", [1, 40, 4096])
def test_batches_make_no_difference(encoders, max_batch_pieces):
    docs = make_docs(["aspirin " * n for n in (1, 9, 3, 0, 70, 2)])
    plain = make_model(encoders["bert"])
    small = make_model(encoders["bert"], max_batch_pieces=max_batch_pieces)
    for one, other in zip(plain.predict(docs), small.predict(docs)):
        np.testing.assert_allclose(one, other, atol=1e-5)
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
    # words that no encoder takes whole, and words of white space
    odd = Doc(VOCAB, words=["x" * 4000, " ", "\u200b", "a"])
    assert np.isfinite(model.predict([odd])[0]).all()


def with_sentences(n_words):
    """A doc with sentences of so many words."""
    lengths = np.array(n_words)
    words = [f"{'abcdefgh'[i % 8]}{'xyz'[i % 3]}" for i in range(lengths.sum())]
    starts = np.isin(np.arange(len(words)), np.cumsum(lengths) - lengths)
    return Doc(VOCAB, words=words, sent_starts=starts.tolist())


def test_a_sentence_with_its_context(encoders):
    doc, bare = with_sentences([3, 5, 2]), with_sentences([10])
    (lone,) = make_model(encoders["bert"], context=0).predict([doc])
    sentences = [sent.as_doc() for sent in doc.sents]
    plain = make_model(encoders["bert"])
    np.testing.assert_allclose(
        lone, np.concatenate(plain.predict(sentences)), atol=1e-5
    )
    # Words are two pieces: with three of them one word on each side is seen
    (near,) = make_model(encoders["bert"], context=3).predict([doc])
    windows = [(0, 4, 0, 3), (2, 9, 3, 8), (7, 10, 8, 10)]
    for start, end, keep, last in windows:
        (seen,) = plain.predict([doc[start:end].as_doc()])
        np.testing.assert_allclose(
            near[keep:last], seen[keep - start : last - start], atol=1e-5
        )
    # A doc whose sentences nobody has found, and one with room for all of it
    (whole,) = plain.predict([bare])
    for settings, one in (({"context": 0}, bare), ({"context": 40}, doc)):
        (found,) = make_model(encoders["bert"], **settings).predict([one])
        np.testing.assert_allclose(found, whole, atol=1e-5)


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
    encoder = model.shims[0]._model
    weights = encoder.encoder.layer[0].output.dense.weight
    found = weights.grad.clone()
    # The same by finite differences along the gradient
    step = 1e-2 * found / found.norm()

    def value():
        return sum(float((d * a).sum()) for d, a in zip(d_arrays, model.predict(docs)))

    with torch.no_grad():
        weights += step
        above = value()
        weights -= 2 * step
        below = value()
        weights += step
    assert (above - below) / 2e-2 == pytest.approx(float(found.norm()), rel=0.02)


def gradients(model, batches):
    torch.manual_seed(0)
    for docs in batches:
        arrays, backprop = model.begin_update(docs)
        backprop(arrays)
    return {
        name: parameter.grad.clone()
        for name, parameter in model.shims[0]._model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("max_stored_pieces", [1, 60])
def test_what_is_computed_twice_has_the_same_gradient(encoders, max_stored_pieces):
    docs = make_docs(["aspirin mice " * n for n in (1, 9, 3, 0, 70, 2)])
    plain = gradients(make_model(encoders["bert"], max_batch_pieces=40), [docs])
    bounded = make_model(
        encoders["bert"], max_batch_pieces=40, max_stored_pieces=max_stored_pieces
    )  # dropout included
    for name, gradient in gradients(bounded, [docs]).items():
        torch.testing.assert_close(gradient, plain[name], atol=1e-6, rtol=1e-4)


def test_activations_beyond_train_pieces_are_not_kept(encoders):
    """What the graph holds on to grows with the docs only where it may."""

    def kept(n_docs, **settings):
        model = make_model(encoders["bert"], max_batch_pieces=64, **settings)
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.begin_update(make_docs(["aspirin mice " * 20] * n_docs))
        return sum(sizes)

    plain = kept(20) - kept(10)
    assert (
        kept(20, max_stored_pieces=64) - kept(10, max_stored_pieces=64) < 0.05 * plain
    )


def test_gradients_accumulate(encoders):
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = make_model(encoders["bert"], transformer_config=settings)
    one, two = make_docs(["aspirin mice", "we gave"]), make_docs(["to mice"])
    together = gradients(model, [one + two])
    other = make_model(encoders["bert"], transformer_config=settings)
    for name, gradient in gradients(other, [one, two]).items():
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


def test_frozen_layers_get_no_gradient(encoders):
    def trained(n):
        model = make_model(encoders["electra"], frozen_layers=n)
        arrays, backprop = model.begin_update(make_docs())
        backprop(arrays)
        found = {
            name
            for name, p in model.shims[0]._model.named_parameters()
            if p.grad is not None
        }
        model.finish_update(make_adamw())
        return found

    everything = trained(0)
    assert any("embeddings" in name for name in everything)
    one = trained(1)
    assert one < everything
    assert not any("embeddings" in n or "layer.0." in n for n in one)
    assert any("layer.1." in name for name in one)
    assert trained(-1) == set()


@pytest.mark.parametrize("kind", ENCODER_KINDS)
def test_saved_and_loaded_without_the_original(encoders, kind, monkeypatch):
    model = make_model(encoders[kind])
    docs = make_docs()
    data = model.to_bytes()
    assert b"model.safetensors" in data and b"pytorch_model" not in data
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = build_transformer_encoder("no/such-encoder").from_bytes(data)
    assert loaded.get_dim("nO") == 32
    for one, other in zip(model.predict(docs), loaded.predict(docs)):
        np.testing.assert_allclose(one, other, atol=1e-6)
    for copy in (model.copy(), pickle.loads(pickle.dumps(model))):
        for one, other in zip(model.predict(docs), copy.predict(docs)):
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert build_transformer_encoder("x").from_bytes(
        build_transformer_encoder("x").to_bytes()
    )  # before it is initialized


def test_encoders_that_are_none(tmp_path):
    with pytest.raises(WeltError, match="Can't load the encoder .*local folder"):
        make_model(str(tmp_path))


def test_adamw_on_an_encoder_is_that_of_torch(encoders):
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = make_model(encoders["bert"], transformer_config=settings)
    reference = transformers.AutoModel.from_pretrained(encoders["bert"], **settings)
    decays = [p for p in reference.parameters() if p.ndim >= 2]
    rest = [p for p in reference.parameters() if p.ndim < 2]
    theirs = torch.optim.AdamW(
        [
            {"params": decays, "weight_decay": 0.1},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=1e-2,
        eps=1e-4,  # or noise in tiny gradients would count
    )
    ours = make_adamw(1e-2, weight_decay=0.1, eps=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoders["bert"])
    batch = tokenizer(["aspirin"], return_tensors="pt")
    doc = Doc(VOCAB, words=["aspirin"])
    for _ in range(3):
        (array,), backprop = model.begin_update([doc])
        backprop([array])  # the loss is half the squared norm
        model.finish_update(ours)
        hidden = reference(**batch).last_hidden_state[0, 1]
        (0.5 * (hidden**2).sum()).backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        theirs.step()
        theirs.zero_grad()
    found = dict(model.shims[0]._model.named_parameters())
    for name, parameter in reference.named_parameters():
        np.testing.assert_allclose(
            found[name].detach().numpy(), parameter.detach().numpy(), atol=2e-5
        )


def test_layers_below_learn_slower(encoders):
    model = make_model(encoders["electra"], layer_decay=0.1)
    before = {
        n: p.detach().clone() for n, p in model.shims[0]._model.named_parameters()
    }
    arrays, backprop = model.begin_update(make_docs())
    backprop(arrays)
    model.finish_update(make_adamw(1e-3, weight_decay=0.0, eps=1e-15))
    after = dict(model.shims[0]._model.named_parameters())

    def moved(part):
        return max(
            float((after[n].detach() - before[n]).abs().max())
            for n in before
            if part in n
        )

    # Adam's first step is the learning rate, whatever the gradient.
    assert moved("layer.1.") == pytest.approx(1e-3, rel=0.01)
    assert moved("layer.0.") == pytest.approx(1e-4, rel=0.01)
    assert moved("word_embeddings") == pytest.approx(1e-5, rel=0.01)


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


def test_alone_and_shared_by_listeners(encoders, tmp_path):
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


def test_on_gpu_is_false_here():
    assert on_gpu() is False


def test_bytes_with_paths_outside_of_the_folder_are_refused():
    serialization = pytest.importorskip("welt_spacy.ml.encoder.serialization")
    with pytest.raises(WeltError, match="outside of its folder"):
        serialization.decode_encoder(srsly.msgpack_dumps({"../config.json": b"{}"}))
