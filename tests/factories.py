"""Small data and models for the tests."""

import copy
import os
import pickle
from pathlib import Path

import spacy
from spacy.training import Example
from spacy.util import fix_random_seed

BIO = {"nlp": {"tokenizer": {"@tokenizers": "welt_spacy.BioTokenizer.v1"}}}


def n_examples(n: int) -> int:
    """How many examples a test takes, unless WELT_EXAMPLES says otherwise."""
    return int(os.environ.get("WELT_EXAMPLES", n))


TRAIN_DATA = [
    (
        "Selegiline-induced postural hypotension in Parkinson's disease.",
        [(0, 10, "Chemical"), (19, 39, "Disease"), (43, 62, "Disease")],
    ),
    ("Aspirin and N-acetylcysteine were given.", [(0, 7, "Chemical"), (12, 28, "Chemical")]),
    ("No patient had nausea.", [(15, 21, "Disease")]),
    ("The study was blind.", []),
]  # fmt: skip

TINY_TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 32,
    "depth": 1,
    "embed_size": 200,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
}


def make_nlp(**settings):
    """A blank pipeline with a small `welt_ner`."""
    model = {
        "@architectures": "welt_spacy.TokenClassifier.v1",
        "tok2vec": TINY_TOK2VEC,
        **settings.pop("model", {}),
    }
    nlp = spacy.blank("en", config=BIO)
    nlp.add_pipe("welt_ner", config={"model": model, **settings})
    return nlp


def make_examples(nlp, data=TRAIN_DATA) -> list[Example]:
    return [
        Example.from_dict(nlp.make_doc(text), {"entities": entities})
        for text, entities in data
    ]


def train(nlp, examples, steps=60, learn_rate=0.01):
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = learn_rate
    losses = {}
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
    return losses


def ents(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


def copies(nlp, path: Path) -> list:
    """The copies of a pipeline that people make: loaded from where it was saved, deep,
    and pickled."""
    return [spacy.load(path), copy.deepcopy(nlp), pickle.loads(pickle.dumps(nlp))]


def make_tiny_bert(path: Path, max_position: int = 64) -> Path:
    """Save a random BERT with one layer and a word-piece tokenizer of letters."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    fix_random_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,-()'/%"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = [*special, *letters, *(f"##{letter}" for letter in letters)]
    vocab += ["aspirin", "mice", "we", "gave", "to"]
    path.mkdir(parents=True)
    (path / "vocab.txt").write_text("\n".join(vocab) + "\n")
    tokenizer = BertTokenizerFast(
        str(path / "vocab.txt"), do_lower_case=True, model_max_length=max_position
    )
    tokenizer.save_pretrained(path)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_position,
    )
    BertModel(config).save_pretrained(path)
    return path


def make_byte_tokenizer(limit: int = 16):
    """Bytes, and a token that ends a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate(["<end>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", model_max_length=limit
    )


def make_merging_tokenizer(texts, limit: int = 1024):
    """Pieces that reach across words, names and the marks of JSON."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", model_max_length=limit
    )


def make_tiny_lm(
    family: str = "qwen3", limit: int = 16, seed: int = 0, vocab: int = 257
):
    """A random causal language model of two layers."""
    import torch
    import transformers

    sizes = {"vocab_size": vocab, "max_position_embeddings": limit}
    ids = {"eos_token_id": 0, "bos_token_id": None}
    if family == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=vocab, n_positions=limit, n_embd=16, n_layer=2, n_head=2, **ids
        )
    else:
        sizes.update(hidden_size=16, intermediate_size=32, num_hidden_layers=2)
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
        kind = {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config}
        extra = {"head_dim": 8} if family == "qwen3" else {}
        config = kind[family](**sizes, **heads, **extra, **ids)
    model = transformers.AutoModelForCausalLM.from_config(config)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # else all tokens are as likely
    return model.eval()


def save_tiny_lm(path: Path, family: str = "qwen3", *, seed: int = 2) -> Path:
    """A folder with such a model and its tokenizer."""
    limit = 1024
    make_tiny_lm(family, limit, seed).save_pretrained(path)
    make_byte_tokenizer(limit).save_pretrained(path)
    return path
