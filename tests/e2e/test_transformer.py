"""The transformer configs from training to a package, with a tiny random encoder."""

import shutil
from random import Random

import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin

from ..factories import make_tiny_bert, run_python, run_spacy

pytest.importorskip("torch", reason="needs welt-spacy[transformers]")
pytest.importorskip("transformers", reason="needs welt-spacy[transformers]")

MAX_POSITION = 64


def write_corpus(path):
    """Write sentences of five words, of which one is an entity. Some are long, so that the
    model is trained on all positions of its window."""
    docs = []
    vocab = spacy.blank("en").vocab
    random = Random(0)
    for i in range(60):
        length = MAX_POSITION if i % 6 == 0 else 3 + i % 10
        words = random.choices(["we", "gave", "aspirin", "to", "mice"], k=length)
        words[i % length] = "aspirin"
        tags = ["B-Chemical" if word == "aspirin" else "O" for word in words]
        docs.append(Doc(vocab, words=words, ents=tags))
    DocBin(docs=docs).to_disk(path)


WINDOWS = {
    "welt": "components.welt_ner.model.tok2vec.max_length",
    "welt_spacy_transformers": "components.transformer.model.get_spans.max_length",
}


@pytest.fixture(scope="module", params=WINDOWS)
def trained(root, tmp_path_factory, request):
    """Train a pipeline on aspirin in a folder, and delete its encoder."""
    if request.param == "welt_spacy_transformers":
        pytest.importorskip("spacy_transformers")
    folder = tmp_path_factory.mktemp("transformer")
    encoder = make_tiny_bert(folder / "encoder", MAX_POSITION)
    for name in ("train", "dev"):
        write_corpus(folder / f"{name}.spacy")
    run_spacy(
        *(folder, "train", root / "configs" / f"{request.param}.cfg"),
        *("--output", "out"),
        *("--paths.train", "train.spacy", "--paths.dev", "dev.spacy"),
        *("--paths.encoder", "encoder"),
        *(f"--{WINDOWS[request.param]}", MAX_POSITION - 2),
        *("--training.max_steps", 100, "--training.max_epochs", 0),
        *("--training.eval_frequency", 20),
        *("--training.optimizer.learn_rate.initial_rate", 0.003),
        *("--training.optimizer.learn_rate.warmup_steps", 1),
    )
    shutil.rmtree(encoder)
    return folder


def test_learns(trained):
    nlp = spacy.load(trained / "out/model-best")
    assert nlp.meta["performance"]["ents_f"] > 0.99
    counts = nlp.get_pipe("welt_ner").class_counts
    assert counts["B-Chemical"] > 60 and counts["I-Chemical"] == 0


@pytest.mark.parametrize("at", [0, 40, 900, 999])
def test_entities_beyond_the_window_of_the_encoder_are_predicted(trained, at):
    nlp = spacy.load(trained / "out/model-best")
    words = ["mice"] * 1000
    words[at] = "aspirin"
    doc = nlp(" ".join(words))
    assert [(ent.start, ent.text) for ent in doc.ents] == [(at, "aspirin")]


def test_words_longer_than_the_window(trained):
    nlp = spacy.load(trained / "out/model-best")
    doc = nlp("we gave aspirin to " + "x" * 4000 + " mice")
    assert "aspirin" in [ent.text for ent in doc.ents]


def test_batches_and_empty_docs(trained):
    nlp = spacy.load(trained / "out/model-best")
    texts = ["we gave aspirin to mice", "", " ", "mice", "aspirin " * 200]
    one_by_one = [[ent.text for ent in nlp(text).ents] for text in texts]
    together = [[ent.text for ent in doc.ents] for doc in nlp.pipe(texts, batch_size=3)]
    assert one_by_one == together
    assert together[0] == ["aspirin"]


PROCESSES = """
import spacy
if __name__ == "__main__":
    nlp = spacy.load("out/model-best")
    texts = ["we gave aspirin to mice", "mice"] * 16
    found = [[[e.text for e in doc.ents] for doc in nlp.pipe(texts, n_process=n)]
             for n in (1, 2)]
    assert found[0] == found[1], found
    print("the same", found[0][0])
"""


def test_several_processes_after_use_in_the_parent(trained):
    """Use torch in the parent before the fork, which its threads do not survive."""
    if "transformer" in spacy.load(trained / "out/model-best").pipe_names:
        pytest.skip("hangs with spacy-transformers, see docs/component.md")
    (trained / "processes.py").write_text(PROCESSES)
    printed = run_python("processes.py", cwd=trained, OMP_NUM_THREADS="2").stdout
    assert "the same ['aspirin']" in printed


NO_NETWORK = """
import socket, sys
def refuse(*args, **kwargs):
    raise OSError("the network is off")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import spacy
doc = spacy.load("en_x")("we gave aspirin to mice")
print([(ent.text, ent.label_, round(ent._.confidence, 1)) for ent in doc.ents])
"""


def test_package_loads_with_the_network_off(trained, tmp_path):
    run_spacy(
        *(tmp_path, "package", trained / "out/model-best", tmp_path),
        *("--name", "x", "--build", "none"),
    )
    (package,) = tmp_path.glob("en_x-*")
    meta = srsly.read_json(package / "meta.json")
    needed = {r.split(">")[0] for r in meta["requirements"]}
    assert needed & {"welt-spacy[transformers]", "spacy-transformers"}
    run_python(
        *("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--no-index", "--target", "site", package),
        cwd=tmp_path,
    )
    (tmp_path / "use.py").write_text(NO_NETWORK)
    printed = run_python(
        "use.py", cwd=tmp_path, PYTHONPATH=str(tmp_path / "site")
    ).stdout
    assert "('aspirin', 'Chemical', 1.0)" in printed
