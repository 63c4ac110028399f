"""Faster pipelines for prediction: convert, compare on dev, keep or refuse."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from spacy.language import Language
from spacy.training import Example
from thinc.api import Model

from ..errors import WeltError, check_number
from ..io import load_pipeline, read_examples, replace_pipeline
from ..pipeline.requirements import require
from ..scoring.labels import require_known_labels

# Points of F1 that a faster pipeline may lose.
MAX_LOSS = 0.5
SCORES = ("ents_p", "ents_r", "ents_f", "ents_per_type")
# Docs that both pipelines predict before they are timed.
WARM_UP = 64


class Comparison(NamedTuple):
    """Scores on dev, as `nlp.evaluate` gives them.

    dev (Path): The file of dev.
    before (Dict[str, Any]): Those of the pipeline.
    after (Dict[str, Any]): Those of the optimized one, as loaded from disk.
    """

    dev: Path
    before: Dict[str, Any]
    after: Dict[str, Any]

    @property
    def loss(self) -> float:
        """RETURNS (float): Points of F1 that are lost; below 0 if some are won."""
        return 100 * (self.before["ents_f"] - self.after["ents_f"])


def optimize_pipeline(nlp: Language, to: str) -> None:
    """Convert the encoders of a pipeline in place. They only predict from then on.

    nlp (Language): A pipeline with `welt_spacy.TransformerEncoder.v1`.
    to (str): "onnx", "int8" or "bf16"; see `TransformerShim.optimize`.
    RAISES (WeltError): If there is no such encoder, or it can't be converted.
    """
    models = [getattr(pipe, "model", None) for _, pipe in nlp.components]
    layers = [
        layer
        for model in models
        if isinstance(model, Model)
        for layer in model.walk()
        if layer.name == "transformer_encoder"
    ]
    if not layers:
        raise WeltError(
            "There is nothing to optimize: no component of this pipeline has "
            "welt_spacy.TransformerEncoder.v1"
        )
    for layer in layers:
        shim: Any = layer.shims[0]
        shim.optimize(to)
    if to != "bf16":
        require(nlp, "onnx")


def optimize(
    model: Path,
    output: Path,
    to: str,
    dev: Optional[Path] = None,
    *,
    max_loss: float = MAX_LOSS,
    force: bool = False,
) -> Comparison:
    """Write a faster copy of a pipeline, unless it scores worse.

    model (Path): The folder of the pipeline, or its name if it is installed.
    output (Path): The folder to write. Nothing is left there if it is refused.
    to (str): "onnx", "int8" or "bf16".
    dev (Optional[Path]): The .spacy file to compare them on; `paths.dev` of the
        pipeline's config if not set.
    max_loss (float): Points of F1 that the copy may lose.
    force (bool): Whether to replace what is there.
    RETURNS (Comparison): The scores of both.
    RAISES (WeltError): If a file is missing or in the way, dev has no entities or only
        some that the pipeline can't find, the encoder can't be converted, or the copy
        loses more than `max_loss`.
    """
    check_number("max_loss", max_loss, low=-100, high=100)
    with replace_pipeline(output, force=force, source=model) as write:
        nlp = load_pipeline(model)
        if dev is None:
            told = nlp.config.get("paths", {}).get("dev")
            if not told:
                raise WeltError("There is no data to compare on: give it with --dev")
            dev = Path(told)
        examples = read_examples(nlp, dev)
        require_known_labels(nlp, examples, str(dev))
        before = _evaluate(nlp, examples)
        optimize_pipeline(nlp, to)
        loaded = load_pipeline(write(nlp))
        found = Comparison(dev, before, _evaluate(loaded, read_examples(loaded, dev)))
        if found.loss > max_loss:
            raise WeltError(
                f"Refused: {to} loses {found.loss:.2f} points of F1 on {dev} "
                f"({100 * before['ents_f']:.2f} to {100 * found.after['ents_f']:.2f}), "
                f"more than --max-loss {max_loss}. Nothing was written."
            )
        performance = loaded.meta.setdefault("performance", {})
        performance.update({name: found.after[name] for name in SCORES})
        loaded.meta["optimized"] = {
            "to": to,
            "dev": str(dev),
            "ents_f_before": before["ents_f"],
            "ents_f": found.after["ents_f"],
        }
        write(loaded)
    return found


def _evaluate(nlp: Language, examples: List[Example]) -> Dict[str, Any]:
    for _ in nlp.pipe(eg.predicted.copy() for eg in examples[:WARM_UP]):
        pass
    return nlp.evaluate(examples)
