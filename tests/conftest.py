import functools
import importlib
import logging
import os
import shutil
from pathlib import Path

import pytest
import spacy
from hypothesis import settings
from spacy.util import fix_random_seed

from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.convert import convert_file
from welt_spacy.corpora.fetch import fetch

from .factories import (
    make_examples,
    make_nlp,
    make_tiny_encoder,
    save_docs,
    save_tiny_lm,
    train,
)
from .strict_device import install_strict_ops, move_to_strict_device

ROOT = Path(__file__).parents[1]

# The same examples each time, so that a test passes always or never. New examples are
# drawn by benchmarks/fuzz.py and where WELT_EXAMPLES is set.
settings.register_profile(
    "same", derandomize="WELT_EXAMPLES" not in os.environ, deadline=None
)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def seed():
    """Fix the seed, so that no test depends on those before it."""
    fix_random_seed(0)


@pytest.fixture(autouse=True)
def logger():
    """Enable our logger again: import-linter, which a test runs, disables all loggers."""
    logging.getLogger("welt_spacy").disabled = False


@pytest.fixture
def strict_device(monkeypatch):
    """Return a function that moves a pipeline to a device whose arrays can't be mixed with
    NumPy's."""
    install_strict_ops(monkeypatch)
    return move_to_strict_device


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def mirror():
    """Return the folder with the real corpora. Without it, tests that need it are
    skipped, or fail where WELT_REQUIRE_MIRROR is set."""
    path = os.environ.get("WELT_CORPORA_MIRROR")
    if path and Path(path).is_dir():
        return Path(path)
    message = "needs the real corpora: set WELT_CORPORA_MIRROR"
    if os.environ.get("WELT_REQUIRE_MIRROR"):
        pytest.fail(message)
    pytest.skip(message)


class _Encoders(dict):
    """Paths of tiny encoders by kind."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __missing__(self, kind: str) -> str:
        self[kind] = str(make_tiny_encoder(kind, self.folder / kind))
        return self[kind]


@pytest.fixture(scope="session")
def encoders(tmp_path_factory):
    """Map `ENCODER_KINDS` to folders with tiny encoders, made at first use. Copy one to
    change it."""
    pytest.importorskip("transformers", reason="needs welt-spacy[transformers]")
    return _Encoders(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory):
    """Make a folder with a random language model. Copy it to change it."""
    pytest.importorskip("torch", reason="needs welt-spacy[llm]")
    return save_tiny_lm(tmp_path_factory.mktemp("lm") / "qwen3")


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory):
    """Make a folder with a pipeline, `model`, and the data that it learned by heart,
    `dev.spacy`. Load the pipeline or copy the folder to change it."""
    folder = tmp_path_factory.mktemp("trained")
    fix_random_seed(0)
    nlp = make_nlp()
    examples = make_examples(nlp)
    train(nlp, examples)
    nlp.to_disk(folder / "model")
    save_docs(folder / "dev.spacy", examples)
    return folder


@pytest.fixture
def trained_nlp(trained_folder):
    """Load a trained pipeline that the test may change."""
    return spacy.load(trained_folder / "model")


@pytest.fixture(scope="session")
def real_docs(mirror, tmp_path_factory):
    """Return a function that converts a split of a real corpus, each once in a session.
    Copy the docs to change them."""
    cache = tmp_path_factory.mktemp("corpora")

    @functools.cache
    def convert(corpus_id: str, split: str = "test"):
        corpus = get_corpus(corpus_id)
        path = fetch(corpus, mirror=str(mirror), cache=cache)[split]
        return convert_file(
            path,
            corpus.format,
            types=corpus.types,
            n_sents=corpus.n_sents,
            documents=corpus.documents(split),
        ).docs

    return convert


@pytest.fixture
def no_sources(monkeypatch, tmp_path):
    """Hide the mirror and return an empty cache."""
    monkeypatch.delenv("WELT_CORPORA_MIRROR", raising=False)
    monkeypatch.setenv("WELT_CORPORA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def benchmark(monkeypatch):
    """Return a function that imports a script of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture(scope="session")
def browser():
    """Start the Chromium of the system."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        if os.environ.get("WELT_REQUIRE_CHROMIUM"):
            pytest.fail("needs Chromium")
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory):
    """Start Ray with two nodes of one CPU each on this machine, and connect. The second
    node can be removed, and added again."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    memory = 100 * 1024 * 1024
    caches = tmp_path_factory.mktemp("cache")

    def started(start, **options):
        # Tasks keep nothing in the user's cache
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WELT_CORPORA_CACHE", str(caches))
            return start(**options)

    cluster = started(
        Cluster,
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "object_store_memory": memory,
            # So that a lost node is noticed within seconds, not half a minute
            "_system_config": {
                "health_check_initial_delay_ms": 0,
                "health_check_period_ms": 500,
                "health_check_timeout_ms": 1000,
                "health_check_failure_threshold": 2,
            },
        },
    )
    cluster.second, cluster.caches = None, caches

    def make_second():
        if cluster.second is None:
            cluster.second = started(
                cluster.add_node, num_cpus=1, object_store_memory=memory
            )

    cluster.make_second = make_second
    make_second()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
