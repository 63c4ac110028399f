"""The steps of a run: select training data, train, tune, evaluate."""

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import spacy
import srsly
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_loop

from ..corpora.docbin import to_bytes
from ..errors import WeltError, shorten
from ..evaluation.evaluate import evaluate
from ..evaluation.tuning.decoding import tune_decoding
from ..evaluation.tuning.objective import Objective
from ..evaluation.tuning.predictions import predict_dev
from ..parallel.processes import peak_gpu_mb, peak_mb
from ..scoring.slices import count_mentions
from ..tokens.docs import read_docs, read_examples
from ..util.files import write_atomically
from ..util.pipelines import load_pipeline, replace_pipeline, use_gpu
from .layout import to_json

USAGE = ".usage.json"


@contextlib.contextmanager
def log_step(folder: Path, name: str) -> Iterator[None]:
    """Write the output of this process to a log, and time and memory to another file. Errors
    become a `WeltError` with the name of the step.
    """
    started = time.perf_counter()
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        with (folder / f"{name}.log").open("w", encoding="utf8") as log:
            # The descriptors, because not all output goes through Python
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        yield
        usage = {
            "seconds": time.perf_counter() - started,
            "peak_mb": peak_mb(),
            "peak_gpu_mb": peak_gpu_mb(),
        }
        write_atomically(folder / f"{name}{USAGE}", to_json(usage))
    except WeltError as err:
        traceback.print_exc()
        raise WeltError(f"{name}: {err}") from None
    except (Exception, SystemExit) as err:  # spaCy, thinc and torch have many
        traceback.print_exc()
        message = shorten(" ".join(str(err).split()), 200)
        raise WeltError(f"{name}: {type(err).__name__}: {message}") from None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in zip((1, 2), saved):
            os.dup2(descriptor, number)
            os.close(descriptor)


def train_pipeline(
    config: Path, train: Path, dev: Path, output: Path, *, gpu_id: int
) -> None:
    """Train a pipeline, as `spacy train` does."""
    spacy.util.logger.setLevel(logging.INFO)
    use_gpu(gpu_id)
    paths = {"paths.train": str(train), "paths.dev": str(dev)}
    settings = spacy.util.load_config(config, overrides=paths, interpolate=False)
    nlp = init_nlp(settings, use_gpu=gpu_id)
    train_loop(nlp, output, use_gpu=gpu_id, stdout=sys.stdout, stderr=sys.stderr)


def tune_pipeline(
    model: Path, dev: Path, output: Path, parameter: str, *, gpu_id: int
) -> None:
    """Tune a parameter of decoding and the threshold on dev, for F1."""
    with replace_pipeline(output, source=model) as write:
        nlp = load_pipeline(model, gpu_id=gpu_id)
        predictions = predict_dev(nlp, read_examples(nlp, dev))
        tune_decoding(predictions, Objective(), parameter=parameter)
        write(nlp)


def evaluate_pipeline(
    model: Path,
    train: Path,
    test: Path,
    scores: Path,
    predictions: Path,
    *,
    gpu_id: int,
) -> None:
    """Evaluate a pipeline on test, and write scores as JSON and predicted documents."""
    nlp = load_pipeline(model, gpu_id=gpu_id)
    mentions = count_mentions(read_docs(train, nlp.vocab))
    examples = read_examples(nlp, test)
    evaluation = evaluate(nlp, examples, mentions=mentions)
    write_atomically(scores, srsly.json_dumps(evaluation.to_dict(), indent=2) + "\n")
    write_atomically(predictions, to_bytes(example.predicted for example in examples))
