"""The model card of a trained pipeline: the README of its package."""

from pathlib import Path
from typing import Any, Dict, Iterator, Mapping

import srsly
from jinja2 import Environment, PackageLoader, StrictUndefined
from thinc.api import Config

# What decides a training, of a config
SECTIONS = ("components", "training")
TRANSFORMERS = (
    ["welt_spacy", "TransformerEncoder"],
    ["spacy-transformers", "TransformerModel"],
)
LEFT_OUT = ("score_weights", "logger")


def model_card(
    model: Path,
    meta: Mapping[str, Any],
    found: Mapping[str, Any],
    about: Mapping[str, Any],
    *,
    metadata: bool = False,
) -> str:
    """Write a model card from what a run left.

    model (Path): The folder of the pipeline, for its `config.cfg`.
    meta (Mapping[str, Any]): Its meta, as the package will have it.
    found (Mapping[str, Any]): What `evaluate` found on the test split.
    about (Mapping[str, Any]): The `corpus.json` of the data.
    metadata (bool): Whether to begin with a block of YAML, as the model hub reads it.
        `spacy huggingface-hub push` writes one of its own.
    RETURNS (str): Markdown.
    """
    config = Config().from_disk(model / "config.cfg", interpolate=False)
    environment = Environment(
        loader=PackageLoader("welt_spacy", "assets/report"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    weightings = [str(part["weighting"]) for part in found["class_weights"].values()]
    card = environment.get_template("card.md.jinja").render(
        name=f"{meta['lang']}_{meta['name']}",
        meta=meta,
        found=found,
        about=about,
        labels=list(found["per_type"]),
        weighting=", ".join(weightings) or "none",
        encoder=_encoder(config),
        requirements=[
            f"spacy{meta['spacy_version']}",
            *(meta.get("requirements") or ["welt-spacy"]),
        ],
        seed=config["system"]["seed"],
        settings=_settings(config),
    )
    return (_metadata(meta, found, about) if metadata else "") + card


def _encoder(config: Config) -> str:
    """The pre-trained encoders that the components have, by their names."""
    filled = config.interpolate()
    names = dict.fromkeys(_encoder_names(filled["components"]))
    return ", ".join(f"`{name}`" for name in names) or (
        "none: a tok2vec, trained with the rest"
    )


def _encoder_names(block: Mapping[str, Any]) -> Iterator[str]:
    if str(block.get("@architectures")).split(".")[:2] in TRANSFORMERS:
        path = Path(str(block["name"]))
        yield path.name if path.is_absolute() else str(block["name"])
    for part in block.values():
        if isinstance(part, dict):
            yield from _encoder_names(part)


def _settings(config: Config) -> str:
    kept: Dict[str, Any] = {
        name: {key: value for key, value in config[name].items() if key not in LEFT_OUT}
        for name in SECTIONS
    }
    return Config(kept).to_str(interpolate=False).strip()


def _metadata(
    meta: Mapping[str, Any], found: Mapping[str, Any], about: Mapping[str, Any]
) -> str:
    """The front matter of a card on the model hub: tags, and scores as its
    "model-index" has them."""
    strict = found["strict"]
    metrics = [
        {"name": f"NER {told}", "type": kind, "value": round(strict[key], 6)}
        for key, kind, told in (
            ("p", "precision", "Precision"),
            ("r", "recall", "Recall"),
            ("f", "f1", "F Score"),
        )
    ]
    fair = found["fair"]["f"]
    metrics.append({"name": "NER FairEval F", "type": "f1", "value": round(fair, 6)})
    block = {
        "library_name": "spacy",
        "tags": [
            "spacy",
            "token-classification",
            "named-entity-recognition",
            "biology",
        ],
        "pipeline_tag": "token-classification",
        "language": [meta["lang"]],
        "license": meta["license"].lower(),
        "model-index": [
            {
                "name": f"{meta['lang']}_{meta['name']}",
                "results": [
                    {
                        "task": {"name": "NER", "type": "token-classification"},
                        "dataset": {
                            "name": about["title"],
                            "type": about.get("corpus", meta["name"]),
                            "split": "test",
                        },
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    return f"---\n{srsly.yaml_dumps(block)}---\n\n"
