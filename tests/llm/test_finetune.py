"""Small language models, tuned: what is learned, resumed, merged and saved."""

import json
import shutil
import subprocess
import sys
import time

import pytest
import spacy
from spacy.tokens import DocBin

from welt_spacy.corpora.convert import convert_file
from welt_spacy.errors import WeltError
from welt_spacy.llm.finetune import IGNORED, finetune, last_whole, make_rows
from welt_spacy.llm.finetune_config import FinetuneConfig, Lora, read_finetune_config
from welt_spacy.llm.responses import make_response

from ..factories import (
    ents,
    fails_with_one_line,
    make_byte_tokenizer,
    make_examples,
    make_merging_tokenizer,
    make_nlp,
    run_command,
    save_tiny_lm,
)

torch = pytest.importorskip("torch", reason="needs welt-spacy[llm]")
pytest.importorskip("peft")


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    path = save_tiny_lm(tmp_path_factory.mktemp("lm") / "tiny")
    make_learner().save_pretrained(path)
    return path


def make_learner(vocab=257):
    """A model that can learn: of usual first weights, and wider."""
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
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.spacy"
    DocBin(docs=gold()).to_disk(path)
    return path


def gold():
    return [eg.reference for eg in make_examples(make_nlp())]


def settings(lm, data, output, **changed):
    values = {
        "model": str(lm),
        "train": str(data),
        "dev": str(data),
        "output": str(output),
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
        **changed,
    }
    return FinetuneConfig(**values)


def test_rows_have_a_loss_on_the_answer_alone(lm, data, tmp_path):
    tokenizer = make_byte_tokenizer(1024)
    told = settings(lm, data, tmp_path)
    found = make_rows(gold(), told, tokenizer, ["Chemical", "Disease"])
    assert (len(found.rows), found.too_long, found.negatives) == (4, 0, 1)
    for row, doc in zip(found.rows, gold()):
        answer = [token for token in row["labels"] if token != IGNORED]
        assert row["input_ids"][-len(answer) :] == answer
        assert answer[-1] == tokenizer.eos_token_id
        names = [item["name"] for item in json.loads(tokenizer.decode(answer[:-1]))]
        assert names == [ent.text for ent in doc.ents]
    short = settings(lm, data, tmp_path, max_length=200, negatives=0.0)
    found = make_rows(gold(), short, tokenizer, ["Disease"])
    assert found.negatives == 0 and found.too_long + len(found.rows) == 3
    with pytest.raises(WeltError, match="max_length"):
        tiny = settings(lm, data, tmp_path, max_length=3)
        make_rows(gold(), tiny, tokenizer, ["Disease"])


def test_sixteen_examples_learned_by_heart(root, tmp_path):
    """The whole way: tuned, saved as a pipeline, loaded, and it gives back what it
    learned, with a grammar and without."""
    docs = convert_file(root / "assets/sample/train.pubtator", "pubtator").docs
    docs = [doc for doc in docs if len(doc.ents) > 1][:14] + [
        doc for doc in docs if not doc.ents
    ][:2]
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    texts = [doc[:].text for doc in docs]
    tokenizer = make_merging_tokenizer([*texts, *map(make_response, docs)] * 3)
    tokenizer.save_pretrained(tmp_path / "lm")
    make_learner(len(tokenizer)).save_pretrained(tmp_path / "lm")
    told = settings(
        *(tmp_path / "lm", tmp_path / "train.spacy", tmp_path),
        **{"steps": 240, "eval_every": 80, "eval_docs": 0, "batch_size": 16},
        max_length=1024,
    )
    found = finetune(told, tmp_path / "checkpoints")
    assert found.best == 1.0
    found.nlp.to_disk(tmp_path / "model")
    nlp = spacy.load(tmp_path / "model")
    expected = [ents(doc) for doc in docs]
    assert [ents(doc) for doc in nlp.pipe(texts)] == expected
    nlp.get_pipe("generative_ner").constrained = False
    assert [ents(doc) for doc in nlp.pipe(texts)] == expected
    assert nlp.meta["finetuned"]["docs"] == 16
    assert nlp.meta["finetuned"]["without_entities"] == 2


def weights(found):
    model = found.nlp.get_pipe("generative_ner").backend.lm.model
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return set(one) == set(other) and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("lora", [None, Lora(r=4, alpha=8, dropout=0.1)])
def test_resumed_is_undisturbed(lm, data, tmp_path, lora):
    told = settings(lm, data, tmp_path, lora=lora, steps=4, save_every=2, batch_size=2)
    whole = finetune(told, tmp_path / "whole")
    # As if it had been killed while it wrote the last checkpoint
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    (tmp_path / "killed" / "checkpoint-4" / "whole.json").unlink()
    assert last_whole(tmp_path / "killed") == str(tmp_path / "killed" / "checkpoint-2")
    assert not (tmp_path / "killed" / "checkpoint-4").exists()
    assert same(weights(finetune(told, tmp_path / "killed")), weights(whole))
    assert last_whole(tmp_path / "nowhere") is None


def test_a_merged_adapter_is_the_adapter(lm, data, tmp_path):
    lora = Lora(r=4, alpha=8, dropout=0.0)
    told = settings(lm, data, tmp_path, lora=lora, steps=3, learning_rate=0.05)
    apart = finetune(told, tmp_path / "a").nlp
    apart.to_disk(tmp_path / "apart")
    merged = finetune(
        settings(
            lm, data, tmp_path, lora=lora, steps=3, learning_rate=0.05, merge=True
        ),
        tmp_path / "b",
    ).nlp
    merged.to_disk(tmp_path / "merged")
    ids = torch.arange(1, 40)[None]
    logits = []
    for name in ("apart", "merged"):
        nlp = spacy.load(tmp_path / name)
        folder = tmp_path / name / "generative_ner"
        assert (folder / "adapter").is_dir() == (name == "apart")
        assert (folder / "model").is_dir() == (name == "merged")
        with torch.no_grad():
            logits.append(nlp.get_pipe("generative_ner").backend.lm.model(ids).logits)
    base = settings(lm, data, tmp_path, lora=lora, steps=1, learning_rate=1e-12)
    plain = (
        finetune(base, tmp_path / "c").nlp.get_pipe("generative_ner").backend.lm.model
    )
    with torch.no_grad():
        untouched = plain(ids).logits
    assert torch.allclose(logits[0], logits[1], atol=1e-4)
    assert not torch.allclose(logits[0], untouched, atol=1e-2)


def test_the_command(lm, data, tmp_path):
    config = tmp_path / "finetune.yml"
    told = settings(lm, data, tmp_path / "out")
    lines = [
        *(
            f"{name}: {getattr(told, name)}"
            for name in ("model", "train", "dev", "output")
        ),
        'instruction: "{types}"',
        *("n_sents: 0", "lora: null", "steps: 2", "eval_every: 1", "eval_docs: 2"),
        *("max_response_tokens: 60", "gradient_checkpointing: false"),
    ]
    config.write_text("\n".join(lines))
    done = run_command("finetune", config)
    assert done.exit_code == 0, done.output
    assert "Best on dev" in done.stdout
    assert spacy.load(tmp_path / "out" / "model-best").pipe_names == ["generative_ner"]
    assert not list((tmp_path / "out" / "checkpoints").iterdir())
    assert "up to date" in run_command("finetune", config).stdout
    again = run_command("finetune", config, "--set", "seed=1")
    assert again.exit_code == 0 and "up to date" not in again.stdout


def test_killed(lm, data, tmp_path):
    """SIGKILL at whatever point: run again, the weights are those of a run in peace."""
    config = tmp_path / "finetune.yml"
    lines = [
        *(f"model: {lm}", f"train: {data}", f"dev: {data}", "lora: null", "steps: 12"),
        *("eval_every: 0", "save_every: 3", "n_sents: 0", "batch_size: 2"),
        *("accumulate: 1", "gradient_checkpointing: false", 'instruction: "{types}"'),
    ]
    config.write_text("\n".join([*lines, "output: unset"]))
    made = []
    for name, kill in (("killed", True), ("peace", False)):
        output = tmp_path / name
        command = [
            *(sys.executable, "-m", "spacy", "welt", "finetune", str(config)),
            *("--set", f"output={output}"),
        ]
        if kill:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while process.poll() is None and not list(output.rglob("whole.json")):
                time.sleep(0.01)
            process.kill()
            process.wait()
            assert not (output / "model-best").exists()
        subprocess.run(command, check=True, capture_output=True)
        made.append(output / "model-best/generative_ner/model/model.safetensors")
    assert made[0].read_bytes() == made[1].read_bytes()


def test_mistakes(lm, data, tmp_path):
    config = tmp_path / "finetune.yml"
    lines = [
        f"model: {lm}",
        f"train: {data}",
        f"dev: {data}",
        f"output: {tmp_path / 'o'}",
    ]
    config.write_text("\n".join(lines))
    read = read_finetune_config(config, {"lora.r": 4, "steps": 7})
    assert (read.lora.r, read.lora.alpha, read.steps) == (4, 32, 7)
    fails_with_one_line(run_command("finetune", tmp_path / "no.yml"), "no.yml")
    for name, value in {
        "schedule": "best",
        "steps": -1,
        "learning_rate": "high",
        "best": 1,
        "lora.rank": 2,
        "batch_size": 0,
        "train": str(tmp_path / "nothing.spacy"),
        "model": str(tmp_path / "nowhere"),
    }.items():
        result = run_command("finetune", config, "--set", f"{name}={value}")
        fails_with_one_line(result, name.partition(".")[2] or str(value))
    fails_with_one_line(run_command("finetune", config, "--set", "steps"), "NAME=VALUE")
    config.write_text("- a\n- b")
    fails_with_one_line(run_command("finetune", config), "finetune.yml")
    (tmp_path / "o" / "model-best").mkdir(parents=True)
    config.write_text("\n".join(lines))
    fails_with_one_line(run_command("finetune", config), "was not made by")
