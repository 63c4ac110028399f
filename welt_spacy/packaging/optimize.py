"""Faster pipelines for prediction: convert, compare on dev, keep or refuse."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.training import Example
from thinc.api import Model

from ..errors import WeltError, check_number
from ..ml.encoder.convert import ONNX, OPTIMIZED, TRANSFORMER, optimize_encoder
from ..pipeline.requirements import note_requirements
from ..scoring.labels import require_known_labels
from ..tokens.docs import bare_doc, read_examples
from ..util.pipelines import load_pipeline, replace_pipeline

# Points of F1 that a faster pipeline may lose.
MAX_LOSS = 0.5
AUTO = "auto"
SCORES = ("ents_p", "ents_r", "ents_f", "ents_per_type")
# Passes of each pipeline over so many words, in turns; the first is not counted
TURNS, WORDS = 4, 10_000


class Comparison(NamedTuple):
    """Scores on dev, as `nlp.evaluate` gives them; "speed" is in words a second, of
    passes in turns.

    dev (Path): The file of dev.
    to (str): The form: "onnx", "int8" or "bf16".
    before (dict[str, Any]): The scores of the pipeline.
    after (dict[str, Any]): Those of the optimized one, as loaded from disk.
    tried (dict[str, str]): Of other forms, why they were not chosen.
    """

    dev: Path
    to: str
    before: dict[str, Any]
    after: dict[str, Any]
    tried: dict[str, str]

    @property
    def loss(self) -> float:
        """RETURNS (float): Points of F1 that are lost; below 0 if some are won."""
        return 100 * (self.before["ents_f"] - self.after["ents_f"])

    @property
    def ratio(self) -> float:
        """RETURNS (float): How many times as fast it is."""
        return self.after["speed"] / self.before["speed"]


def optimize_pipeline(nlp: Language, to: str) -> None:
    """Convert the encoders of a pipeline in place. They only predict from then on.

    nlp (Language): A pipeline with `welt_spacy.TransformerEncoder.v1`.
    to (str): "onnx", "int8" or "bf16"; see `optimize_encoder`.
    RAISES (WeltError): If there is no such encoder, or it can't be converted.
    """
    found = False
    for name, pipe in nlp.components:
        model = getattr(pipe, "model", None)
        if not isinstance(model, Model):
            continue
        for layer in [n for n in model.walk() if n.name == "transformer_encoder"]:
            found = True
            made = optimize_encoder(layer, to)
            if made is layer:
                continue
            if model is layer:
                pipe.model = made  # type: ignore[attr-defined]
            else:
                model.replace_node(layer, made)
            settings = made.attrs["encoder"].settings
            _replace(nlp.get_pipe_config(name), {"@architectures": ONNX, **settings})
    if not found:
        raise WeltError(
            "There is nothing to optimize: no component of this pipeline has "
            "welt_spacy.TransformerEncoder.v1"
        )
    others = nlp.meta.get("requirements", [])
    nlp.meta["requirements"] = [r for r in others if not r.startswith("welt-spacy")]
    note_requirements(nlp)


def _replace(block: dict[str, Any], encoder: dict[str, Any]) -> None:
    """Put the new encoder into the config of a component."""
    for key, value in block.items():
        if isinstance(value, dict):
            if value.get("@architectures") == TRANSFORMER:
                block[key] = encoder
            else:
                _replace(value, encoder)


def optimize(
    model: Path,
    output: Path,
    to: str,
    dev: Path | None = None,
    *,
    max_loss: float = MAX_LOSS,
    force: bool = False,
) -> Comparison:
    """Write a faster copy of a pipeline, unless it scores worse or is slower.

    model (Path): The folder of the pipeline, or its name if it is installed.
    output (Path): The folder to write. Nothing is left there if it is refused.
    to (str): "onnx", "int8" or "bf16"; "auto": the fastest that may be kept.
    dev (Path | None): The .spacy file to compare them on; `paths.dev` of the
        pipeline's config if not set.
    max_loss (float): Points of F1 that the copy may lose.
    force (bool): Whether to replace what is there, and to take a copy that is slower.
    RETURNS (Comparison): The scores of both.
    RAISES (WeltError): If a file is missing or in the way, dev has no entities or only
        some that the pipeline can't find, the encoder can't be converted, or the copy
        loses more than `max_loss` or is slower.
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
        before = nlp.evaluate(examples)
        refused: dict[str, str] = {}
        best: Comparison | None = None
        chosen: Any = None
        for form in OPTIMIZED if to == AUTO else (to,):
            try:
                made = load_pipeline(model)
                optimize_pipeline(made, form)
            except WeltError as err:
                if to != AUTO:
                    raise
                refused[form] = str(err)
                continue
            loaded = load_pipeline(write(made))
            after = loaded.evaluate(read_examples(loaded, dev))
            speeds = measure_speeds([nlp, loaded], examples)
            one, other = ({"speed": speed} for speed in speeds)
            found = Comparison(
                dev, form, {**before, **one}, {**after, **other}, refused
            )
            reason = _why_not(found, max_loss, slower=force and to != AUTO)
            if reason:
                refused[form] = reason
            elif best is None or found.ratio > best.ratio:
                if best is not None:
                    refused[best.to] = f"{best.ratio:.2f} times as fast"
                best, chosen = found, loaded
            else:
                refused[form] = f"{found.ratio:.2f} times as fast"
        if best is None:
            reasons = "; ".join(f"{form} {why}" for form, why in refused.items())
            raise WeltError(f"Refused: {reasons}. Nothing was written.")
        performance = chosen.meta.setdefault("performance", {})
        performance.update({name: best.after[name] for name in SCORES})
        chosen.meta["optimized"] = {
            "to": best.to,
            "dev": str(dev),
            "ents_f_before": best.before["ents_f"],
            "ents_f": best.after["ents_f"],
            "times_as_fast": round(best.ratio, 2),
        }
        write(chosen)
    return best


def _why_not(found: Comparison, max_loss: float, slower: bool) -> str:
    if found.loss > max_loss:
        return (
            f"loses {found.loss:.2f} points of F1 on {found.dev} "
            f"({100 * found.before['ents_f']:.2f} to {100 * found.after['ents_f']:.2f}), "
            f"more than --max-loss {max_loss}"
        )
    if found.ratio < 1 and not slower:
        return (
            f"is slower on this machine ({found.after['speed']:,.0f} words/s, not "
            f"{found.before['speed']:,.0f}; --force takes it all the same)"
        )
    return ""


def measure_speeds(
    pipelines: Sequence[Language], examples: Sequence[Example]
) -> list[float]:
    """Measure how fast pipelines are, in turns, so that all see the machine in the same
    state.

    pipelines (Sequence[Language]): The pipelines.
    examples (Sequence[Example]): What they read; some thousand words are enough.
    RETURNS (list[float]): Words a second of each; the medians of the turns.
    """
    docs, n_words = [], 0
    for eg in examples:
        docs.append(eg.reference)
        n_words += len(eg.reference)
        if n_words >= WORDS:
            break
    seconds: list[list[float]] = [[] for _ in pipelines]
    for _ in range(TURNS):
        for found, nlp in zip(seconds, pipelines):
            copies = [bare_doc(doc, nlp.vocab) for doc in docs]
            started = time.perf_counter()
            for _ in nlp.pipe(copies):
                pass
            found.append(time.perf_counter() - started)
    return [n_words / median(found[1:]) for found in seconds]
