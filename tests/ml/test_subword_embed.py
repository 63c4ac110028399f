"""The embedding of affixes and static vectors of word pieces."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import spacy
import srsly
from spacy.strings import get_string_id
from spacy.tokens import Doc
from thinc.api import Model, set_dropout_rate

from welt_spacy.errors import WeltError
from welt_spacy.ml.piece_vectors import (
    PieceVectors,
    build_piece_vectors,
    read_vectors,
    write_vectors,
)
from welt_spacy.ml.subword_embed import (
    AffixTable,
    build_subword_embed,
    with_unique_words,
)

from ..factories import copies, ents, make_examples, make_nlp, train

NLP = spacy.blank("en")
SMALL = {"rows": [50, 50, 50, 50], "subword_rows": 60, "subword_width": 8}


def make_docs():
    texts = ["aspirin and Aspirin", "", "valproic acid aspirin", "a"]
    return [Doc(NLP.vocab, words=text.split()) for text in texts]


@pytest.fixture
def vectors(tmp_path):
    """Write vectors of the pieces "as", "##pirin", "acid", "and" and the unknown piece."""
    tokenizers = pytest.importorskip("tokenizers")
    pieces = ["[UNK]", "as", "##pirin", "acid", "and"]
    model = tokenizers.models.WordPiece(
        {piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    table = np.arange(15, dtype="float16").reshape(5, 3)
    path = tmp_path / "x.vectors"
    piece_vectors = PieceVectors(table, tokenizer.to_str())
    path.write_bytes(write_vectors(piece_vectors, {"encoder": "x"}))
    return path


def test_hashes_of_affixes():
    table = AffixTable((2, 5), (3,))
    words = ["Aspirin", "ab", ""]
    orths = np.array([NLP.vocab.strings.add(word) for word in words], dtype="uint64")
    affixes = [["as", "aspir", "rin"], ["ab", "ab", "ab"], ["", "", ""]]
    expected = [[get_string_id(affix) for affix in row] for row in affixes]
    for copied in (table, copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        assert copied(orths, NLP.vocab.strings).tolist() == expected


def test_vectors_are_means_over_pieces(vectors):
    loaded = read_vectors(vectors)
    words = ["aspirin", "acid", "zzz", " "]
    orths = np.array([NLP.vocab.strings.add(word) for word in words], dtype="uint64")
    expected = [[4.5, 5.5, 6.5], [9, 10, 11], [0, 1, 2], [0, 0, 0]]
    for copied in (loaded, pickle.loads(pickle.dumps(loaded))):
        assert copied(orths, NLP.vocab.strings).tolist() == expected
        assert copied(orths[::-1], NLP.vocab.strings).tolist() == expected[::-1]
        assert copied(orths[:0], NLP.vocab.strings).shape == (0, 3)


def test_equal_words_are_computed_once():
    seen = []

    def forward(model, words, is_train):
        seen.append([NLP.vocab.strings[orth] for orth in words.orths])
        n = len(words.orths)
        values = np.arange(n * 2, dtype="float32").reshape(n, 2)
        return values, lambda d_words: seen.append(d_words)

    model = with_unique_words(Model("inner", forward), [], 2)
    model.initialize()
    docs = make_docs()
    arrays, backprop = model.begin_update(docs)
    assert sorted(seen[0]) == sorted(
        {"aspirin", "and", "Aspirin", "valproic", "acid", "a"}
    )
    assert [len(array) for array in arrays] == [3, 0, 3, 1]
    np.testing.assert_array_equal(arrays[0][0], arrays[2][2])
    backprop([np.ones_like(array) for array in arrays])
    assert seen[1][seen[0].index("aspirin")].tolist() == [2, 2]
    assert seen[1][seen[0].index("acid")].tolist() == [1, 1]
    assert model.predict([docs[1]])[0].shape == (0, 2)


def test_words_with_different_norms_are_different():
    model = build_subword_embed(16, **SMALL)
    doc = Doc(NLP.vocab, words=["x", "x"])
    doc[1].norm_ = "another"
    model.initialize(X=[doc])
    (array,) = model.predict([doc])
    assert not np.allclose(array[0], array[1])


@pytest.mark.parametrize("with_vectors", [False, True])
def test_gradient_equals_finite_differences(vectors, with_vectors):
    extra = build_piece_vectors(str(vectors), width=8) if with_vectors else None
    model = build_subword_embed(16, vectors=extra, **SMALL)
    docs = make_docs()
    model.initialize(X=docs)
    set_dropout_rate(model, 0.0)
    rng = np.random.default_rng(0)
    arrays, backprop = model.begin_update(docs)
    weights = [rng.normal(size=a.shape).astype("float32") for a in arrays]
    backprop(weights)
    linear = next(n for n in model.walk() if n.name == "maxout")
    gradient = linear.get_grad("b")
    b = linear.get_param("b").copy()
    for place in [(0, 0), (3, 1), (7, 2)]:
        values = []
        for step in (1e-2, -1e-2):
            changed = b.copy()
            changed[place] += step
            linear.set_param("b", changed)
            values.append(
                sum(float((a * w).sum()) for a, w in zip(model.predict(docs), weights))
            )
        difference = (values[0] - values[1]) / 2e-2
        assert gradient[place] == pytest.approx(difference, rel=0.05, abs=0.02)


@pytest.mark.parametrize("with_vectors", [False, True])
def test_a_pipeline_learns_and_is_saved_whole(vectors, with_vectors, tmp_path):
    embed = {"@architectures": "welt_spacy.SubwordEmbed.v1", "width": 32, **SMALL}
    if with_vectors:
        embed["vectors"] = {
            **{"@architectures": "welt_spacy.PieceVectors.v1", "path": str(vectors)},
            "width": 16,
        }
    encode = {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        **{"width": 32, "depth": 1, "window_size": 1, "maxout_pieces": 2},
    }
    tok2vec = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}
    nlp = make_nlp(model={"tok2vec": tok2vec})
    examples = make_examples(nlp)
    train(nlp, examples)
    expected = [ents(eg.reference) for eg in examples]
    texts = [eg.reference.text for eg in examples]
    assert [ents(doc) for doc in nlp.pipe(texts)] == expected
    nlp.to_disk(tmp_path / "model")
    vectors.unlink()  # The vectors are saved with the pipeline
    for copied in copies(nlp, tmp_path / "model"):
        assert [ents(doc) for doc in copied.pipe(texts)] == expected
        with ThreadPoolExecutor(4) as pool:
            assert (
                list(pool.map(lambda text, nlp=copied: ents(nlp(text)), texts * 5))
                == expected * 5
            )
    assert [ents(d) for d in nlp.pipe(texts, n_process=2, batch_size=2)] == expected
    needed = any("vectors" in r for r in nlp.meta.get("requirements", []))
    assert needed == with_vectors


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 0},
        {"rows": [5]},
        {"attrs": ["NOSUCH", "NORM", "SHAPE", "SUFFIX"]},
        {"prefixes": [0]},
        {"subword_rows": 0},
        {"attrs": [], "rows": [], "prefixes": [], "suffixes": []},
    ],
)
def test_bad_settings(settings):
    with pytest.raises(WeltError):
        build_subword_embed(**{"width": 16, **SMALL, **settings})


def test_bad_files_of_vectors(tmp_path):
    pytest.importorskip("tokenizers")
    assert build_piece_vectors(None) is None
    good = {"table": np.zeros((2, 3), "float16"), "tokenizer": "{}"}
    for name, content in (
        ("text", b"text"),
        ("list", srsly.msgpack_dumps([1])),
        ("tokenizer", srsly.msgpack_dumps(good)),
        ("nan", srsly.msgpack_dumps({**good, "table": np.full((2, 3), np.nan)})),
    ):
        (tmp_path / name).write_bytes(content)
    for name in ("text", "list", "tokenizer", "nan", "none", "."):
        with pytest.raises(WeltError) as err:
            read_vectors(tmp_path / name)
        assert "\n" not in str(err.value)
