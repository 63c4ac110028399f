"""Model cards of trained pipelines, the READMEs of their packages."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import srsly
from jinja2 import Environment, PackageLoader, StrictUndefined
from thinc.api import Config

from ..evaluation.records import Evaluation

# Sections of a config that the card shows, and keys in them that it does not
SECTIONS = ("components", "training")
LEFT_OUT = ("score_weights", "logger")
TRANSFORMERS = (
    ["welt_spacy", "TransformerEncoder"],
    ["spacy-transformers", "TransformerModel"],
)
LANGUAGE_MODELS = (
    ["welt_spacy", "TransformersBackend"],
    ["welt_spacy", "OpenAIBackend"],
)
# Key of a score in the meta, its type and its name on the hub
METRICS = (
    ("ents_p", "precision", "NER Precision (strict, entity level)"),
    ("ents_r", "recall", "NER Recall (strict, entity level)"),
    ("ents_f", "f1", "NER F1 (strict, entity level)"),
    ("fair_f", "f1", "NER F1 (FairEval)"),
)
# Identifiers of licences on the hub
LICENSES = {
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "cc0-1.0"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "gpl-3.0"),
    *("lgpl-3.0", "agpl-3.0", "unlicense", "openrail"),
}


def make_model_card(
    model: Path,
    meta: Mapping[str, Any],
    evaluation: Evaluation,
    about: Mapping[str, Any],
) -> str:
    """Return the model card of a pipeline."""
    config = Config().from_disk(model / "config.cfg", interpolate=False)
    environment = Environment(
        loader=PackageLoader("welt_spacy", "assets/report"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    weightings = [part.weighting for part in evaluation.class_weights.values()]
    return environment.get_template("card.md.jinja").render(
        name=f"{meta['lang']}_{meta['name']}",
        meta=meta,
        evaluation=evaluation,
        about=about,
        labels=list(evaluation.per_type),
        weighting=", ".join(weightings) or "none",
        encoder=_list_encoders(config),
        requirements=[
            f"spacy{meta['spacy_version']}",
            *(meta.get("requirements") or ["welt-spacy"]),
        ],
        seed=config["system"]["seed"],
        settings=_select_settings(config),
    )


def _cell(text: Any) -> str:
    """Format text for a cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _list_encoders(config: Config) -> str:
    names = dict.fromkeys(_find_encoders(config.interpolate()["components"]))
    return ", ".join(f"`{name}`" for name in names) or (
        "none: a tok2vec, trained with the rest"
    )


def find_base_models(model: Path) -> list[str]:
    """Return the names on the hub of the pre-trained encoders of a pipeline."""
    config = Config().from_disk(model / "config.cfg")
    names = dict.fromkeys(_find_encoders(config["components"]))
    return [name for name in names if re.fullmatch(r"[\w-]+/[\w.-]+", name)]


def _find_encoders(block: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of pre-trained encoders in a block of a config."""
    name = None
    if str(block.get("@architectures")).split(".")[:2] in TRANSFORMERS:
        name = str(block["name"])
    elif str(block.get("@misc")).split(".")[:2] in LANGUAGE_MODELS:
        name = str(block.get("name") or block.get("model"))
    if name is not None:
        yield Path(name).name if Path(name).is_absolute() else name
    for part in block.values():
        if isinstance(part, dict):
            yield from _find_encoders(part)


def _select_settings(config: Config) -> str:
    settings: dict[str, Any] = {
        name: {key: value for key, value in config[name].items() if key not in LEFT_OUT}
        for name in SECTIONS
    }
    return Config(settings).to_str(interpolate=False).strip()


def make_hub_metadata(meta: Mapping[str, Any]) -> str:
    """Return the YAML block with which a card on the model hub begins. The hub searches and
    shows it; scores have the form of its "model-index".
    """
    name = f"{meta['lang']}_{meta['name']}"
    block: dict[str, Any] = {
        "library_name": "spacy",
        "tags": [
            *("spacy", "token-classification", "named-entity-recognition"),
            *(("biology",) if "class_weights" in meta else ()),
        ],
        "pipeline_tag": "token-classification",
        "language": [meta["lang"]],
        **_license(str(meta.get("license") or "")),
        "metrics": ["precision", "recall", "f1"],
    }
    if meta.get("base_model"):
        block["base_model"] = list(meta["base_model"])
    if meta.get("example"):
        block["widget"] = [{"text": meta["example"]}]
    performance = meta.get("performance") or {}
    metrics = [
        {"type": kind, "name": label, "value": round(performance[key], 6)}
        for key, kind, label in METRICS
        if isinstance(performance.get(key), (int, float))
    ]
    if metrics:
        about = meta.get("evaluation") or {}
        dataset = {
            "name": about.get("name", "unknown"),
            "type": about.get("type", "unknown"),
            **{key: about[key] for key in ("split", "revision") if about.get(key)},
        }
        task = {"type": "token-classification", "name": "NER"}
        results = [{"task": task, "dataset": dataset, "metrics": metrics}]
        block["model-index"] = [{"name": name, "results": results}]
    return f"---\n{srsly.yaml_dumps(block)}---\n"


def _license(name: str) -> dict[str, str]:
    if not name:
        return {}
    if name.lower() in LICENSES:
        return {"license": name.lower()}
    return {"license": "other", "license_name": re.sub(r"\W+", "-", name.lower())}
