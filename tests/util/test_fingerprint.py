"""Fingerprints cover everything that decides a result."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinc.api import Config

from welt_spacy.errors import WeltError
from welt_spacy.util.fingerprint import (
    Fingerprint,
    checksum,
    checksum_bytes,
    config_files,
    fingerprint,
    get_versions,
    model_checksum,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
CONFIG = """
[paths]
train = "corpus/train.spacy"
encoder = "encoder"
lexicon = null

[training]
max_steps = 100

[training.logger]
@loggers = "spacy.ConsoleLogger.v3"
output_file = "log.jsonl"

[components]

[components.a]
source = "en_tiny_model"

[components.b]
name = ${paths.encoder}

[components.c]
name = "org/large-model"

[components.d]
tables = ["table.json", "missing.json", ".", ""]

[corpora]

[corpora.train]
path = ${paths.train}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Create all inputs of CONFIG, an installed pipeline and a cached model."""
    monkeypatch.chdir(tmp_path)
    for name in ("corpus/train.spacy", "encoder/model.bin", "log.jsonl", "table.json"):
        write(tmp_path / name, name)
    package = tmp_path / "site/en_tiny_model"
    write(package / "__init__.py", "raise ImportError('not to be imported')")
    write(package / "meta.json", '{"version": "1.0.0"}')
    write(package / "en_tiny_model-1.0.0/model", "weights")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    cache = tmp_path / "hub/models--org--large-model"
    write(cache / "refs/main", "c0ffee")
    write(cache / "snapshots/c0ffee/config.json", "{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def read_config():
    return Config().from_str(CONFIG, interpolate=False)


def test_checksum_of_a_file_is_sha256(tmp_path):
    write(tmp_path / "a", "abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert checksum(tmp_path / "a") == checksum_bytes(b"abc") == expected


def test_checksum_of_a_folder_covers_names_and_content(tmp_path):
    write(tmp_path / "a/x", "1")
    write(tmp_path / "a/sub/y", "2")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    before = checksum(tmp_path / "a")
    assert checksum(tmp_path / "b") == before
    os.rename(tmp_path / "b/x", tmp_path / "b/z")
    assert checksum(tmp_path / "b") != before
    os.rename(tmp_path / "b/z", tmp_path / "b/x")
    assert checksum(tmp_path / "b") == before
    write(tmp_path / "b/sub/y", "3")
    assert checksum(tmp_path / "b") != before


@pytest.mark.parametrize(
    "name", [".x.welt-0123456789ab", ".x.welt-new", ".x.lock", "__pycache__/x.pyc"]
)
def test_temporary_files_do_not_change_a_checksum(tmp_path, name):
    write(tmp_path / "x", "1")
    before = checksum(tmp_path)
    write(tmp_path / name, "2")
    assert checksum(tmp_path) == before


def test_links_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "real/x", "1")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert checksum(tmp_path / "link") == checksum(tmp_path / "real")
    (tmp_path / "real/up").symlink_to(tmp_path)
    checksum(tmp_path / "real")


def test_every_byte_counts_even_with_the_same_size_and_time(tmp_path):
    path = tmp_path / "model"
    content = bytearray(3 << 20)
    path.write_bytes(content)
    stat = path.stat()
    before = checksum(path)
    content[3 << 19] = 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert checksum(path) != before


def test_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    write(tmp_path / "x", "1")
    monkeypatch.setattr("welt_spacy.util.fingerprint.RECENT", -(10**18))
    before = checksum(tmp_path / "x")
    reads = []
    monkeypatch.setattr(
        "welt_spacy.util.fingerprint._read_checksum", lambda path: reads.append(path)
    )
    threads = [
        threading.Thread(target=checksum, args=(tmp_path / "x",)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert checksum(tmp_path / "x") == before and not reads


def test_missing_files_are_named_with_their_role(tmp_path):
    with pytest.raises(WeltError, match="dev: .*none.spacy does not exist"):
        fingerprint({}, files={"dev": tmp_path / "none.spacy"})
    with pytest.raises(WeltError, match="No such file"):
        checksum(tmp_path / "none.spacy")


def test_settings_files_and_versions_are_compared(tmp_path):
    write(tmp_path / "x", "1")

    def make(steps):
        settings = {"steps": steps, "lora": {"r": 8}, "output": tmp_path}
        return fingerprint(settings, files={"train": tmp_path / "x"})

    a = make(5)
    assert make(5) == a and make(5).digest == a.digest and hash(make(5)) == hash(a)
    assert a.differences(make(6)) == ["settings.steps"]
    write(tmp_path / "x", "2")
    assert make(5) != a and a.differences(make(5)) == ["files.train"]
    b = Fingerprint(a.settings, a.files, {**a.versions, "torch": "0"})
    assert a != b and a.differences(b) == ["versions.torch"]
    c = Fingerprint({**a.settings, "lora": {"r": 9}, "new": 1}, a.files, a.versions)
    assert a.differences(c) == ["settings.lora.r", "settings.new"]
    assert a.differences(None) == ["fingerprint"]


def test_versions_of_python_and_packages():
    versions = get_versions()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"welt-spacy", "spacy", "thinc", "numpy"} <= set(versions)


@given(settings=st.dictionaries(st.text(), JSON))
def test_a_stored_fingerprint_is_equal(settings):
    before = fingerprint(settings)
    record = json.loads(json.dumps(before.to_dict()))
    after = Fingerprint.from_dict(record)
    assert after == before and after.differences(before) == []


@given(record=JSON)
def test_an_unexpected_record_is_no_fingerprint(record):
    assert Fingerprint.from_dict(record) is None
    parts = {"settings": {}, "files": {}, "versions": {}}
    changed = Fingerprint.from_dict({**parts, "files": {"train": record}})
    assert changed is None or isinstance(record, str)
    assert Fingerprint.from_dict({**parts, "more": record}) is None


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_settings_must_be_json(value):
    with pytest.raises(WeltError, match="must be JSON data"):
        fingerprint({"x": value})


def test_numbers_and_truth_values_differ():
    assert fingerprint({"x": 1}) != fingerprint({"x": True})
    assert fingerprint({"x": 1}).differences(fingerprint({"x": 1.0})) == ["settings.x"]
    nan = float("nan")
    assert fingerprint({"x": nan}) == fingerprint({"x": nan})


def test_all_inputs_of_a_config_are_found(project):
    expected = {
        "paths.encoder": "encoder",
        "paths.train": "corpus/train.spacy",
        "components.a.source": "en_tiny_model",
        "components.c.name": "org/large-model",
        "components.d.tables.0": "table.json",
    }
    assert config_files(read_config()) == expected
    assert set(config_files(read_config().interpolate()).values()) == {
        *expected.values()
    }


@pytest.mark.parametrize(
    "path, role",
    [
        ("corpus/train.spacy", "paths.train"),
        ("encoder/model.bin", "paths.encoder"),
        ("table.json", "components.d.tables.0"),
        ("site/en_tiny_model/en_tiny_model-1.0.0/model", "components.a.source"),
        ("hub/models--org--large-model/refs/main", "components.c.name"),
    ],
)
def test_a_changed_input_changes_the_fingerprint(project, path, role):
    before = fingerprint({}, config=read_config())
    if "refs" in path:
        write(project / "hub/models--org--large-model/snapshots/new/config.json", "{}")
        write(project / path, "new")
    else:
        write(project / path, "retrained at the same version")
    after = fingerprint({}, config=read_config())
    assert before.differences(after) == [f"files.{role}"]


def test_the_log_of_a_training_is_no_input(project):
    before = fingerprint({}, config=read_config())
    write(project / "log.jsonl", "more")
    assert fingerprint({}, config=read_config()) == before


def test_excluded_keys_and_their_files_do_not_count(project):
    config = read_config()
    before = fingerprint({}, config=config, exclude=["paths.train"])
    write(project / "corpus/train.spacy", "2")
    write(project / "elsewhere/train.spacy", "3")
    assert fingerprint({}, config=config, exclude=["paths.train"]) == before
    config["paths"]["train"] = "elsewhere/train.spacy"
    assert fingerprint({}, config=config, exclude=["paths.train"]) == before


def test_a_changed_setting_of_a_config_is_named(project):
    config = read_config()
    before = fingerprint({}, config=config)
    config["training"]["max_steps"] = 200
    after = fingerprint({}, config=config)
    assert before.differences(after) == ["settings.config.training.max_steps"]


def test_a_variable_without_value_is_one_line():
    config = Config().from_str("[a]\nx = ${b.y}\n", interpolate=False)
    with pytest.raises(WeltError, match="config can't be read") as err:
        fingerprint({}, config=config)
    assert "\n" not in str(err.value)


def test_models_are_compared_by_content(project):
    assert model_checksum("encoder") == checksum(project / "encoder")
    assert model_checksum("en_tiny_model") == checksum(project / "site/en_tiny_model")
    assert model_checksum("org/large-model") == "org/large-model@c0ffee"
    assert model_checksum("org/not-cached") == "org/not-cached"
    for path in ("./none", "/none/at/all", "a/b/c"):
        with pytest.raises(WeltError, match="no such file"):
            model_checksum(path)


def test_fingerprints_import_no_models():
    code = (
        "import sys; import welt_spacy.util.fingerprint as f; f.get_versions();"
        "print({'torch', 'transformers', 'spacy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
