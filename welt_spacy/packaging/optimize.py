"""Optimize pipelines for prediction: convert encoders and compare scores and speed on dev."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from spacy.language import Language
from spacy.training import Example
from thinc.api import Model

from ..errors import WeltError, check_number
from ..ml.encoder.convert import ONNX, OPTIMIZED, TRANSFORMER, optimize_encoder
from ..pipeline.requirements import note_requirements
from ..scoring.labels import require_known_labels
from ..tokens.docs import bare_doc, read_examples
from ..util.fingerprint import Fingerprint, fingerprint
from ..util.output_folder import OutputFolder
from ..util.pipelines import load_pipeline, replace_pipeline

COMMAND = "spacy welt optimize"
# Maximum loss of F1 in points
MAX_LOSS = 0.5
AUTO = "auto"
# Passes of each pipeline, the first of which is not counted, and words per pass
TURNS, WORDS = 4, 10_000


@dataclass(frozen=True)
class DevScores:
    """Scores and speed of a pipeline on dev.

    ents_p, ents_r, ents_f (float): Precision, recall and F1 of exact spans.
    ents_per_type (dict[str, dict[str, float]]): "p", "r" and "f" for each label.
    speed (float): Words per second.
    """

    ents_p: float
    ents_r: float
    ents_f: float
    ents_per_type: dict[str, dict[str, float]]
    speed: float


@dataclass(frozen=True)
class OptimizeResult:
    """Result of `optimize`.

    dev (str): The file on which the pipelines were compared.
    encoder_format (str): The format of the encoder: "onnx", "int8" or "bf16".
    before (DevScores): Scores of the pipeline.
    after (DevScores): Scores of the optimized pipeline as loaded from disk.
    rejected (dict[str, str]): The reason why each other format was not chosen.
    is_new (bool): Whether the output was written; if not, it was up to date.
    """

    dev: str
    encoder_format: str
    before: DevScores
    after: DevScores
    rejected: dict[str, str] = field(default_factory=dict)
    is_new: bool = True

    @property
    def loss(self) -> float:
        """The loss of F1 in points; negative for a gain."""
        return 100 * (self.before.ents_f - self.after.ents_f)

    @property
    def speedup(self) -> float:
        """The speed of the optimized pipeline divided by that of the original."""
        return self.after.speed / self.before.speed


def optimize_pipeline(nlp: Language, encoder_format: str) -> None:
    """Convert the encoders of a pipeline in place. They can't be trained any more."""
    has_encoder = False
    for name, pipe in nlp.components:
        model = getattr(pipe, "model", None)
        if not isinstance(model, Model):
            continue
        for layer in [n for n in model.walk() if n.name == "transformer_encoder"]:
            has_encoder = True
            converted = optimize_encoder(layer, encoder_format)
            if converted is layer:
                continue
            if model is layer:
                pipe.model = converted  # type: ignore[attr-defined]
            else:
                model.replace_node(layer, converted)
            settings = converted.attrs["encoder"].settings
            block = {"@architectures": ONNX, **settings}
            _replace_encoder(nlp.get_pipe_config(name), block)
    if not has_encoder:
        raise WeltError(
            "There is nothing to optimize: no component of this pipeline has "
            "welt_spacy.TransformerEncoder.v1"
        )
    others = nlp.meta.get("requirements", [])
    nlp.meta["requirements"] = [r for r in others if not r.startswith("welt-spacy")]
    note_requirements(nlp)


def _replace_encoder(config: dict[str, Any], encoder: dict[str, Any]) -> None:
    """Replace the blocks of encoders in the config of a component."""
    for key, value in config.items():
        if isinstance(value, dict):
            if value.get("@architectures") == TRANSFORMER:
                config[key] = encoder
            else:
                _replace_encoder(value, encoder)


def optimize(
    model: Path,
    output: Path,
    encoder_format: str,
    dev: Path | None = None,
    *,
    max_loss: float = MAX_LOSS,
    force: bool = False,
) -> OptimizeResult:
    """Write an optimized copy of a pipeline, unless it scores worse or is slower. If the
    output is up to date, nothing is measured.

    model (Path): The folder of the pipeline, or its name if it is installed.
    output (Path): The folder to write.
    encoder_format (str): "onnx", "int8" or "bf16"; "auto" for the fastest that is accepted.
    dev (Path | None): The .spacy file to compare on; `paths.dev` of the pipeline's config if
        not set.
    max_loss (float): Maximum loss of F1 in points.
    force (bool): Whether to replace an existing pipeline, and to accept a slower one.
    RETURNS (OptimizeResult): Scores of both pipelines.
    RAISES (WeltError): If a file is missing, the output exists, dev has no entities or none
        of the pipeline's labels, the encoder can't be converted, or the copy is refused. Then
        the output is as before.
    """
    check_number("max_loss", max_loss, low=-100, high=100)
    nlp = load_pipeline(model)
    dev = dev or _get_dev_path(nlp)
    examples = read_examples(nlp, dev)
    require_known_labels(nlp, [eg.reference for eg in examples], str(dev))
    settings = {"encoder_format": encoder_format, "max_loss": max_loss}
    current = fingerprint(settings, files={"dev": dev}, models={"model": model})
    existing = OutputFolder(output, COMMAND)
    if not force and existing.is_current(current):
        return _from_summary(existing.summary)
    with replace_pipeline(output, force=force, source=model) as write:
        before = nlp.evaluate(examples)
        formats = OPTIMIZED if encoder_format == AUTO else (encoder_format,)
        accepted: list[tuple[OptimizeResult, Language]] = []
        rejected: dict[str, str] = {}
        for name in formats:
            try:
                converted = load_pipeline(model)
                optimize_pipeline(converted, name)
            except WeltError as err:
                if encoder_format != AUTO:
                    raise
                rejected[name] = str(err)
                continue
            loaded = load_pipeline(write(converted))
            result = _compare(nlp, loaded, before, examples, dev, name)
            accept_slower = force and encoder_format != AUTO
            if reason := _get_reason(result, max_loss, accept_slower=accept_slower):
                rejected[name] = reason
            else:
                accepted.append((result, loaded))
        if not accepted:
            reasons = "; ".join(f"{name} {why}" for name, why in rejected.items())
            raise WeltError(f"Refused: {reasons}. Nothing was written.")
        accepted.sort(key=lambda pair: -pair[0].speedup)
        for result, _ in accepted[1:]:
            rejected[result.encoder_format] = f"{result.speedup:.2f} times as fast"
        best, chosen = accepted[0]
        best = replace(best, rejected=rejected)
        _add_meta(chosen, best)
        _write_record(write(chosen), current, best)
    return best


def _get_dev_path(nlp: Language) -> Path:
    path = nlp.config.get("paths", {}).get("dev")
    if not path:
        raise WeltError("There is no data to compare on. Give a .spacy file with --dev")
    return Path(path)


def _compare(
    nlp: Language,
    optimized: Language,
    before: Mapping[str, Any],
    examples: Sequence[Example],
    dev: Path,
    encoder_format: str,
) -> OptimizeResult:
    after = optimized.evaluate(read_examples(optimized, dev))
    speeds = measure_speeds([nlp, optimized], examples)
    return OptimizeResult(
        str(dev),
        encoder_format,
        before=_make_scores(before, speeds[0]),
        after=_make_scores(after, speeds[1]),
    )


def _make_scores(scores: Mapping[str, Any], speed: float) -> DevScores:
    ents_p, ents_r, ents_f = (float(scores[f"ents_{key}"]) for key in "prf")
    return DevScores(ents_p, ents_r, ents_f, scores["ents_per_type"], speed)


def _add_meta(nlp: Language, result: OptimizeResult) -> None:
    scores = asdict(result.after)
    del scores["speed"]
    nlp.meta.setdefault("performance", {}).update(scores)
    nlp.meta["optimized"] = {
        "format": result.encoder_format,
        "dev": result.dev,
        "ents_f_before": result.before.ents_f,
        "ents_f": result.after.ents_f,
        "times_as_fast": round(result.speedup, 2),
    }


def _write_record(folder: Path, current: Fingerprint, result: OptimizeResult) -> None:
    """Add the record of the command to the folder of a pipeline."""
    with OutputFolder(folder, COMMAND) as record:
        record.start(current, [path.name for path in _list_files(folder)], force=True)
        record.finish(asdict(result))


def _list_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _from_summary(summary: dict[str, Any]) -> OptimizeResult:
    before, after = (DevScores(**summary[key]) for key in ("before", "after"))
    scores = {"before": before, "after": after}
    return OptimizeResult(**{**summary, **scores, "is_new": False})


def _get_reason(result: OptimizeResult, max_loss: float, *, accept_slower: bool) -> str:
    """Return the reason to refuse an optimized pipeline; "" if it is accepted."""
    before, after = result.before, result.after
    if result.loss > max_loss:
        return (
            f"loses {result.loss:.2f} points of F1 on {result.dev} "
            f"({100 * before.ents_f:.2f} to {100 * after.ents_f:.2f}), "
            f"more than --max-loss {max_loss}"
        )
    if result.speedup < 1 and not accept_slower:
        return (
            f"is slower on this machine ({after.speed:,.0f} words/s, not "
            f"{before.speed:,.0f}; --force accepts it)"
        )
    return ""


def measure_speeds(
    pipelines: Sequence[Language], examples: Sequence[Example]
) -> list[float]:
    """Measure the speed of pipelines on the same documents. They take turns, because the speed
    of a machine changes over time.
    """
    docs, n_words = [], 0
    for eg in examples:
        docs.append(eg.reference)
        n_words += len(eg.reference)
        if n_words >= WORDS:
            break
    seconds: list[list[float]] = [[] for _ in pipelines]
    for _ in range(TURNS):
        for turns, nlp in zip(seconds, pipelines):
            copies = [bare_doc(doc, nlp.vocab) for doc in docs]
            started = time.perf_counter()
            for _ in nlp.pipe(copies):
                pass
            turns.append(time.perf_counter() - started)
    return [n_words / median(turns[1:]) for turns in seconds]
