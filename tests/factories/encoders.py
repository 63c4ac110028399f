"""Random transformer encoders of one or two layers."""

from pathlib import Path

import spacy
from spacy.tokens import Doc
from spacy.util import fix_random_seed

ENCODER_KINDS = ["bert", "electra", "roberta", "deberta", "modernbert"]
VOCAB = spacy.blank("en").vocab
TEXTS = ["selegiline - induced hypotension", "", "aspirin", "a b c d e f g h " * 3]


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


def make_tiny_roberta(path: Path) -> Path:
    """Save a random RoBERTa with two layers and a tokenizer of bytes."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    fix_random_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab = {piece: i for i, piece in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    roles = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    transformers.RobertaTokenizerFast(
        tokenizer_object=tokenizer,
        add_prefix_space=True,
        model_max_length=62,
        **dict(zip(roles, special)),
        cls_token="<s>",
        sep_token="</s>",
    ).save_pretrained(path)
    config = transformers.RobertaConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        pad_token_id=1,
    )
    transformers.RobertaModel(config).save_pretrained(path)
    return path


def make_tiny_encoder(kind: str, path: Path) -> Path:
    """Save a random encoder of one of `ENCODER_KINDS`. All but RoBERTa have the
    tokenizer of `make_tiny_bert`."""
    import transformers

    if kind == "roberta":
        return make_tiny_roberta(path)
    make_tiny_bert(path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes.update(vocab_size=200, intermediate_size=32, max_position_embeddings=64)
    if kind == "electra":
        config = transformers.ElectraConfig(embedding_size=16, **sizes)
    elif kind == "deberta":
        config = transformers.DebertaV2Config(**sizes)
    elif kind == "modernbert":
        config = transformers.ModernBertConfig(
            **sizes, local_attention=8, pad_token_id=0, reference_compile=False
        )
    else:
        return path
    transformers.AutoModel.from_config(config).save_pretrained(path)
    return path


def make_docs(texts: list[str] = TEXTS) -> list[Doc]:
    """Split texts at white space into docs."""
    return [Doc(VOCAB, words=text.split()) for text in texts]


def make_model(name: str, **settings):
    """Load an encoder as an initialized Thinc model."""
    from welt_spacy.ml.encoder.transformer import build_transformer_encoder

    model = build_transformer_encoder(name, **settings)
    model.initialize()
    return model
