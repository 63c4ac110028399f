"""Random causal language models and their tokenizers."""

from pathlib import Path


def make_byte_tokenizer(limit: int = 16):
    """Make a tokenizer of bytes, with a token that ends a text."""
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
    """Train a tokenizer with pieces that cross words, entities and the marks of JSON."""
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
    """Make a random causal language model of two layers."""
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
    """Save such a model and a tokenizer of bytes."""
    limit = 1024
    make_tiny_lm(family, limit, seed).save_pretrained(path)
    make_byte_tokenizer(limit).save_pretrained(path)
    return path
