"""One loaded pipeline, called from many threads."""

import random
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import spacy

from .workplace import Prediction, make_texts, predict


def call_from_threads(
    model: Path,
    expected: list[Prediction],
    threads: int,
    calls: int,
    texts: list[str] | None = None,
) -> Counter:
    """Count how often a call from one of many threads was "equal" to that of a single
    thread, "differs", or raised an error.

    expected (list[Prediction]): The predictions of a single thread.
    texts (list[str] | None): Their texts. Defaults to those of `make_texts`.
    """
    nlp = spacy.load(model)
    texts = make_texts(len(expected)) if texts is None else texts
    outcomes: Counter = Counter()
    lock = threading.Lock()

    def call(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(calls):
            i = rng.randrange(len(texts))
            try:
                is_equal = predict(nlp, [texts[i]]) == [expected[i]]
                outcome = "equal" if is_equal else "differs"
            except Exception as err:
                outcome = repr(err)[:200]
            with lock:
                outcomes[outcome] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(call, range(threads)))
    finally:
        sys.setswitchinterval(interval)
    outcome = "equal" if predict(nlp, texts) == expected else "differs"
    outcomes[f"afterwards, one thread: {outcome}"] += 1
    return outcomes
