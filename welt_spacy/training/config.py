"""Complete training configs with the paper's settings, or with those of this project."""

import json
from dataclasses import dataclass, field
from importlib.resources import files
from inspect import signature
from math import ceil
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from ..corpora.catalog import encoder_names, get_corpus, hyperparameters
from ..corpora.names import read_names
from ..errors import WeltError, check_number
from ..ml.class_weights import SCHEMES

CPU_ENCODER = "cpu"
CPU_STEPS = 2000
# [CLS] and [SEP], or their like, take two places in the encoder's window
N_SPECIAL = 2
PAPER_LEARN_RATE = 5e-5  # not in the paper; the default of the script it used


@dataclass(frozen=True)
class ConfigSettings:
    """Settings of a training config.

    corpus (str): The corpus, or any other name of a folder below `data`.
    encoder (str): An encoder of the paper, "cpu" for a small convolutional network, or the
        hub name or the folder of any other encoder.
    scheme (str): The weighting scheme.
    scheme_settings (dict[str, float]): Settings of the scheme, e.g. {"beta": 0.9999}.
    seed (int): Random seed.
    paper (bool): Whether to use the window, batch size and epochs of the paper (table 12). If
        not, for encoders that are not in the paper, and for corpora of whole abstracts, the
        settings of `configs/welt.cfg` are used.
    train_on_dev (bool): Whether to train on train and dev, as in the paper. Scores on dev are
        meaningless then.
    data (str): The folder of the converted corpora.
    piece_vectors (str | None): For encoder "cpu": the file of `spacy welt vectors`.
    max_steps (int | None): For encoder "cpu": number of training steps; 2,000 if not set.
    spacy_transformers (bool): Whether a component of spacy-transformers runs the encoder,
        which others can listen to, instead of `welt_spacy.TransformerEncoder.v1`.
    lexicon (Path | None): A list of names to use as a feature: JSONL with "label" and
        "pattern", as for spaCy's rulers.
    RAISES (WeltError): If the scheme is unknown or does not have a setting, or two settings
        exclude each other.
    """

    corpus: str = "bc5cdr"
    encoder: str = "biobert"
    scheme: str = "welt"
    scheme_settings: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    paper: bool = True
    train_on_dev: bool = False
    data: str = "corpus"
    piece_vectors: str | None = None
    max_steps: int | None = None
    spacy_transformers: bool = False
    lexicon: Path | None = None

    def __post_init__(self) -> None:
        if self.lexicon is not None and self.spacy_transformers:
            raise WeltError(
                "A lexicon is added to the vectors of words, which spacy-transformers does "
                "not have: leave --spacy-transformers out"
            )
        if self.piece_vectors is not None and not self.is_cpu:
            raise WeltError(
                f"Vectors of word pieces are for the encoder {CPU_ENCODER!r}: a transformer "
                "has its own"
            )
        if self.max_steps is not None:
            check_number("max_steps", self.max_steps, low=1)
        self._check_scheme()

    @property
    def is_cpu(self) -> bool:
        """True if the encoder is the small convolutional network."""
        return self.encoder == CPU_ENCODER

    def _check_scheme(self) -> None:
        if self.scheme not in SCHEMES:
            raise WeltError(
                f"No weighting scheme is called {self.scheme!r}: use one of "
                f"{', '.join(SCHEMES)}"
            )
        if self.scheme == "explicit":
            raise WeltError(
                "The scheme 'explicit' needs its weights: write them into the config of "
                "another scheme, as [components.welt_ner.weighting.weights]"
            )
        known = list(signature(SCHEMES[self.scheme]).parameters)
        for name in self.scheme_settings:
            if name not in known:
                raise WeltError(
                    f"The scheme {self.scheme!r} has no setting {name!r}: "
                    + (f"use one of {', '.join(known)}" if known else "it has none")
                )
        SCHEMES[self.scheme](**self.scheme_settings)  # raises an error for bad values


def make_config(settings: ConfigSettings) -> str:
    """Make a config for `spacy train`.

    settings (ConfigSettings): The settings.
    RETURNS (str): The config; nothing has to be filled in.
    RAISES (WeltError): If a corpus or encoder of the paper is unknown, or the lexicon can't be
        read.
    """
    split = "train_dev" if settings.train_on_dev else "train"
    values: dict[str, Any] = {
        "about": "",
        "train": f"{settings.data}/{settings.corpus}/{split}.spacy",
        "dev": f"{settings.data}/{settings.corpus}/dev.spacy",
        "encoder": settings.encoder,
        "transformer": not settings.is_cpu,
        "shared": not settings.is_cpu and settings.spacy_transformers,
        "piece_vectors": settings.piece_vectors,
        "head_rate": 1.0,
        "seed": settings.seed,
        "scheme": settings.scheme,
        "scheme_settings": settings.scheme_settings,
        "lexicon": None,
        "lexicon_labels": [],
        "max_length": 512,
        "sentences_per_batch": None,
    }
    if settings.lexicon is not None:
        labels = {pattern["label"] for pattern in read_names(settings.lexicon)}
        values.update(lexicon=str(settings.lexicon), lexicon_labels=sorted(labels))
    if settings.is_cpu:
        steps = settings.max_steps or CPU_STEPS
        # Ten evaluations, because each of them reads all of dev
        values.update(max_epochs=0, max_steps=steps, eval_frequency=max(steps // 10, 1))
    else:
        values.update(_transformer_values(settings))
    values["overlap"] = min(128, (values["max_length"] - N_SPECIAL) // 3)
    template = files("welt_spacy").joinpath("assets").joinpath("config.cfg.jinja")
    environment = Environment(undefined=StrictUndefined)
    environment.filters["quoted"] = _quote
    text = environment.from_string(template.read_text(encoding="utf8")).render(values)
    return text.strip() + "\n"


def _quote(value: Any) -> str:
    """Format a value for a config: JSON without a $, which begins a variable."""
    text = json.dumps(value, ensure_ascii=False)
    if "$" in text:
        raise WeltError(
            f"{value} has a $, which begins a variable in a config: use another name"
        )
    return text


def _transformer_values(settings: ConfigSettings) -> dict[str, Any]:
    in_paper = settings.encoder in encoder_names()
    encoder = settings.encoder
    if in_paper:
        encoder = hyperparameters("bc5cdr", encoder)["hub_name"]
    values: dict[str, Any] = {
        "encoder": encoder,
        "max_epochs": 10,
        "max_steps": 0,
        "eval_frequency": 200,
        "warmup_steps": 250,
        "total_steps": 3000,
        "learn_rate": PAPER_LEARN_RATE,
    }
    # Batches of the paper are counted in sentences
    if in_paper and settings.paper and get_corpus(settings.corpus).n_sents:
        values.update(_paper_values(settings))
    return values


def _paper_values(settings: ConfigSettings) -> dict[str, Any]:
    corpus = settings.corpus
    row = hyperparameters(corpus, settings.encoder)
    sizes = get_corpus("bc5cdr_chemical" if corpus == "bc5cdr" else corpus).paper_sizes
    assert sizes is not None  # every corpus of table 12 is in table 11
    n_sentences = sizes["train"] + (sizes["dev"] if settings.train_on_dev else 0)
    batch_size, epochs = int(row["batch_size"]), int(row["epochs"])
    per_epoch = ceil(n_sentences / batch_size)
    return {
        "about": f"{corpus}, {settings.encoder}: window, batch size and epochs as in table "
        "12 of Mobasher et al. (2023).",
        "max_length": int(row["max_seq_length"]),
        "sentences_per_batch": batch_size,
        "max_epochs": epochs,
        "eval_frequency": per_epoch,
        "warmup_steps": 0,
        "total_steps": per_epoch * epochs,
    }
