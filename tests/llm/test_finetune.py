"""Fine-tuned language models: training data, resumed training, merged adapters, output folder."""

import json
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import spacy
import srsly
from spacy.tokens import DocBin

from welt_spacy.corpora.convert import convert_file
from welt_spacy.errors import WeltError
from welt_spacy.llm.finetune import finetune, get_fingerprint
from welt_spacy.llm.finetune_config import (
    FinetuneConfig,
    LoraConfig,
    read_finetune_config,
)
from welt_spacy.llm.finetune_data import IGNORED, make_training_rows
from welt_spacy.llm.responses import make_response
from welt_spacy.llm.trainer import find_checkpoint, train_pipeline

from ..factories import (
    ents,
    fails_with_one_line,
    make_byte_tokenizer,
    make_examples,
    make_merging_tokenizer,
    make_nlp,
    run_command,
    save_tiny_lm,
    wait_until,
)

torch = pytest.importorskip("torch", reason="needs welt-spacy[llm]")
pytest.importorskip("peft")

LORA = LoraConfig(r=4, alpha=8, dropout=0.1)


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    path = save_tiny_lm(tmp_path_factory.mktemp("lm") / "tiny")
    make_learner().save_pretrained(path)
    return path


def make_learner(vocab=257, seed=0):
    """Return a model that is wide enough to learn, with usual initial weights."""
    import transformers

    config = transformers.Qwen3Config(
        vocab_size=vocab,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=24,
        max_position_embeddings=1024,
        eos_token_id=0,
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.spacy"
    DocBin(docs=make_gold()).to_disk(path)
    return path


def make_gold():
    return [eg.reference for eg in make_examples(make_nlp())]


def make_config(lm, data, output, **changes):
    values = {
        "model": str(lm),
        "train": data,
        "dev": data,
        "output": output,
        "instruction": "{types}",
        "n_sents": 0,
        "max_response_tokens": 200,
        "lora": None,
        "steps": 3,
        "learning_rate": 5e-3,
        "batch_size": 4,
        "accumulate": 1,
        "gradient_checkpointing": False,
        "eval_every": 0,
        "save_every": 1000,
        **changes,
    }
    return FinetuneConfig(**values)


def get_model(nlp):
    return nlp.get_pipe("generative_ner").backend.lm.model


def get_weights(nlp):
    return {name: value.clone() for name, value in get_model(nlp).state_dict().items()}


def are_equal(a, b):
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


# Training data


def make_rows(lm, data, output, labels, **changes):
    config = make_config(lm, data, output, **changes)
    return make_training_rows(make_gold(), config, make_byte_tokenizer(1024), labels)


def test_the_loss_is_on_the_response_and_its_end(lm, data, tmp_path):
    tokenizer = make_byte_tokenizer(1024)
    result = make_rows(lm, data, tmp_path, ["Chemical", "Disease"])
    assert (len(result.rows), result.n_too_long, result.n_negatives) == (4, 0, 1)
    for row, doc in zip(result.rows, make_gold()):
        response = [token for token in row["labels"] if token != IGNORED]
        assert row["input_ids"][-len(response) :] == response
        assert response[-1] == tokenizer.eos_token_id
        entities = json.loads(tokenizer.decode(response[:-1]))
        assert [entity["name"] for entity in entities] == [e.text for e in doc.ents]


def test_long_and_empty_documents_are_left_out(lm, data, tmp_path):
    result = make_rows(
        *(lm, data, tmp_path, ["Disease"]), max_length=200, keep_negatives=0.0
    )
    assert result.n_negatives == 0 and result.n_too_long + len(result.rows) == 3


def test_no_document_is_left(lm, data, tmp_path):
    with pytest.raises(WeltError, match="max_length"):
        make_rows(lm, data, tmp_path, ["Disease"], max_length=3)


# Training


@pytest.fixture(scope="module")
def learned(root, tmp_path_factory):
    """Return sixteen documents and the result of training on them."""
    folder = tmp_path_factory.mktemp("learned")
    docs = convert_file(root / "assets/sample/train.pubtator", "pubtator").docs
    docs = [doc for doc in docs if len(doc.ents) > 1][:14] + [
        doc for doc in docs if not doc.ents
    ][:2]
    DocBin(docs=docs).to_disk(folder / "train.spacy")
    texts = [doc[:].text for doc in docs]
    tokenizer = make_merging_tokenizer([*texts, *map(make_response, docs)] * 3)
    tokenizer.save_pretrained(folder / "lm")
    make_learner(len(tokenizer)).save_pretrained(folder / "lm")
    config = make_config(
        *(folder / "lm", folder / "train.spacy", folder / "output"),
        **{"steps": 240, "eval_every": 80, "eval_docs": 0, "batch_size": 16},
        max_length=1024,
    )
    return docs, finetune(config)


def test_documents_are_learned_by_heart(learned):
    docs, result = learned
    assert result.ents_f == 1.0
    nlp = spacy.load(result.model)
    expected = [ents(doc) for doc in docs]
    texts = [doc[:].text for doc in docs]
    assert [ents(doc) for doc in nlp.pipe(texts)] == expected
    nlp.get_pipe("generative_ner").constrained = False
    assert [ents(doc) for doc in nlp.pipe(texts)] == expected


def test_the_meta_has_counts_of_the_training_data(learned):
    _, result = learned
    meta = spacy.load(result.model).meta["finetuned"]
    assert (meta["docs"], meta["without_entities"], meta["too_long"]) == (16, 2, 0)
    assert (meta["step"], meta["ents_f"]) == (result.step, 1.0)


@pytest.mark.parametrize("lora", [None, LORA])
def test_resumed_training_has_the_same_weights(lm, data, tmp_path, lora):
    config = make_config(
        lm, data, tmp_path, lora=lora, steps=4, save_every=2, batch_size=2
    )
    complete = train_pipeline(config, tmp_path / "complete")
    # As if it had been killed while it wrote the last checkpoint
    shutil.copytree(tmp_path / "complete", tmp_path / "killed")
    (tmp_path / "killed" / "checkpoint-4" / "complete.json").unlink()
    resumed = train_pipeline(config, tmp_path / "killed")
    assert are_equal(get_weights(resumed.nlp), get_weights(complete.nlp))


def test_the_last_complete_checkpoint_is_used(tmp_path):
    assert find_checkpoint(tmp_path / "missing") is None
    for step in (2, 4, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-4" / "complete.json").write_text("{}")
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")
    assert not (tmp_path / "checkpoint-10").exists()


def test_a_merged_adapter_equals_the_adapter(lm, data, tmp_path):
    ids = torch.arange(1, 40)[None]
    lora = LoraConfig(r=4, alpha=8, dropout=0.0)
    logits = {}
    for name, changes in {
        "adapter": {"learning_rate": 0.05},
        "model": {"learning_rate": 0.05, "merge": True},
        "untrained": {"learning_rate": 1e-12, "merge": True},
    }.items():
        config = make_config(lm, data, tmp_path / name, lora=lora, **changes)
        nlp = spacy.load(finetune(config).model)
        with torch.no_grad():
            logits[name] = get_model(nlp)(ids).logits
    for name in ("adapter", "model"):
        folder = tmp_path / name / "model-best" / "generative_ner"
        assert [path.name for path in folder.iterdir()] == [name]
    assert torch.allclose(logits["adapter"], logits["model"], atol=1e-4)
    assert not torch.allclose(logits["adapter"], logits["untrained"], atol=1e-2)


def test_the_state_of_the_process_is_restored(lm, data, tmp_path):
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    environment = {k: v for k, v in os.environ.items() if "ACCELERATE" in k}
    expected = random.getstate(), np.random.get_state()[1].tolist()
    torch_state = torch.get_rng_state()
    train_pipeline(make_config(lm, data, tmp_path, lora=LORA), tmp_path / "checkpoints")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == expected
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert {k: v for k, v in os.environ.items() if "ACCELERATE" in k} == environment


# The output folder


@pytest.fixture
def finetuned(lm, data, tmp_path):
    """Return a configuration, with its own base model and data, that was trained."""
    shutil.copytree(lm, tmp_path / "lm")
    shutil.copy(data, tmp_path / "data.spacy")
    config = make_config(
        tmp_path / "lm", tmp_path / "data.spacy", tmp_path / "output", steps=1
    )
    result = finetune(config)
    assert result.is_new
    return config


def test_the_output_is_up_to_date(finetuned):
    assert not finetune(finetuned).is_new
    files = {path.name for path in finetuned.output.iterdir()}
    assert files == {"finetuned.json", "history.json", "model-best"}


def test_a_base_model_that_changed_in_place_is_trained_again(finetuned):
    before = get_weights(spacy.load(finetuned.output / "model-best"))
    make_learner(seed=1).save_pretrained(finetuned.model)
    assert finetune(finetuned).is_new
    after = get_weights(spacy.load(finetuned.output / "model-best"))
    assert not are_equal(before, after)


def test_changed_data_are_trained_again(finetuned):
    DocBin(docs=make_gold()[:3]).to_disk(finetuned.train)
    assert finetune(finetuned).is_new


def test_a_damaged_pipeline_is_trained_again(finetuned):
    path = finetuned.output / "model-best" / "config.cfg"
    path.write_text(path.read_text() + "\n")
    assert finetune(finetuned).is_new


def test_data_may_be_moved(finetuned, tmp_path):
    finetuned.train.rename(tmp_path / "moved.spacy")
    moved = {"train": tmp_path / "moved.spacy", "dev": tmp_path / "moved.spacy"}
    assert not finetune(finetuned.model_copy(update=moved)).is_new


def test_a_model_killed_during_the_cleanup_is_not_trained_again(finetuned, monkeypatch):
    path = finetuned.output / "finetuned.json"
    record = srsly.read_json(path)
    srsly.write_json(path, {**record, "complete": False, "summary": None})
    monkeypatch.setattr("welt_spacy.llm.finetune.train_pipeline", None)
    assert finetune(finetuned).step == 1
    assert not finetune(finetuned).is_new


def test_the_fingerprint_has_the_commit_of_a_model_on_the_hub(
    data, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cache = tmp_path / "models--org--lm"
    (cache / "refs").mkdir(parents=True)
    config = make_config("org/lm", data, tmp_path / "output")
    fingerprints = []
    for commit in ("a" * 40, "b" * 40):
        (cache / "snapshots" / commit).mkdir(parents=True)
        (cache / "snapshots" / commit / "config.json").write_text("{}")
        (cache / "refs" / "main").write_text(commit)
        fingerprints.append(get_fingerprint(config))
        assert fingerprints[-1].settings["commit"] == commit
    assert fingerprints[0] != fingerprints[1]
    pinned = config.model_copy(update={"revision": "a" * 40})
    assert get_fingerprint(pinned).settings["commit"] == "a" * 40


def test_pipelines_of_others_are_not_replaced(lm, data, tmp_path):
    (tmp_path / "model-best").mkdir()
    with pytest.raises(WeltError, match="did not write this"):
        finetune(make_config(lm, data, tmp_path))


# The command


@pytest.fixture
def yaml_file(lm, data, tmp_path):
    path = tmp_path / "finetune.yml"
    lines = [
        *(f"model: {lm}", f"train: {data}", f"dev: {data}"),
        *(f"output: {tmp_path / 'output'}", 'instruction: "{types}"', "n_sents: 0"),
        *("lora: null", "steps: 2", "eval_every: 1", "eval_docs: 2"),
        *("max_response_tokens: 60", "gradient_checkpointing: false"),
    ]
    path.write_text("\n".join(lines))
    return path


def test_the_command_trains_a_pipeline(yaml_file, tmp_path):
    result = run_command("finetune", yaml_file)
    assert result.exit_code == 0, result.output
    assert "Best on dev" in result.stdout
    nlp = spacy.load(tmp_path / "output" / "model-best")
    assert nlp.pipe_names == ["generative_ner"]
    assert "up to date" in run_command("finetune", yaml_file).stdout
    again = run_command("finetune", yaml_file, "--set", "seed=1")
    assert again.exit_code == 0 and "up to date" not in again.stdout


def test_a_killed_command_resumes(lm, data, tmp_path):
    """Compare the weights of a call that was killed and repeated with those of one call."""
    config = tmp_path / "finetune.yml"
    lines = [
        *(f"model: {lm}", f"train: {data}", f"dev: {data}", "lora: null", "steps: 12"),
        *("eval_every: 0", "save_every: 3", "n_sents: 0", "batch_size: 2"),
        *("accumulate: 1", "gradient_checkpointing: false", 'instruction: "{types}"'),
    ]
    config.write_text("\n".join([*lines, "output: unset"]))
    weights = []
    for name in ("killed", "single"):
        output = tmp_path / name
        command = [
            *(sys.executable, "-m", "spacy", "welt", "finetune", str(config)),
            *("--set", f"output={output}"),
        ]
        if name == "killed":
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            wait_until(
                lambda process=process, output=output: (
                    process.poll() is not None or list(output.rglob("complete.json"))
                ),
                "a checkpoint",
            )
            process.kill()
            process.wait()
            assert not (output / "model-best").exists()
        subprocess.run(command, check=True, capture_output=True)
        weights.append(output / "model-best/generative_ner/model/model.safetensors")
    assert weights[0].read_bytes() == weights[1].read_bytes()


# Mistakes


def test_overrides_replace_settings(yaml_file):
    config = read_finetune_config(yaml_file, {"lora.r": 4, "steps": 7})
    assert config.lora == LoraConfig(r=4) and config.steps == 7


@pytest.mark.parametrize(
    "name, value, part",
    [
        ("schedule", "best", "schedule"),
        ("steps", -1, "steps"),
        ("learning_rate", "high", "learning_rate"),
        ("learning_rate", ".inf", "learning_rate"),
        ("best", 1, "best"),
        ("lora.rank", 2, "rank"),
        ("batch_size", 0, "batch_size"),
        ("bf16", 1, "bf16"),
        ("merge", "true", "there is no adapter"),
    ],
)
def test_an_invalid_setting_is_one_line(yaml_file, name, value, part):
    result = run_command("finetune", yaml_file, "--set", f"{name}={value}")
    fails_with_one_line(result, "finetune.yml", part)


@pytest.mark.parametrize("name", ["train", "dev", "model"])
def test_a_missing_input_is_one_line(yaml_file, tmp_path, name):
    path = tmp_path / "missing.spacy"
    result = run_command("finetune", yaml_file, "--set", f"{name}={path}")
    fails_with_one_line(result, str(path))


@pytest.mark.parametrize("content", [None, "- a\n- b", "model: x", "a: [1"])
def test_an_invalid_file_is_one_line(tmp_path, content):
    path = tmp_path / "finetune.yml"
    if content is not None:
        path.write_text(content)
    fails_with_one_line(run_command("finetune", path), "finetune.yml")


def test_an_invalid_option_is_one_line(yaml_file):
    result = run_command("finetune", yaml_file, "--set", "steps")
    fails_with_one_line(result, "NAME=VALUE")
