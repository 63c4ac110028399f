"""The training config of a student: gold annotation and what teachers said."""

import copy
from pathlib import Path
from typing import Any, Dict, List

from thinc.api import Config

from ..errors import WeltError, check_number

GOLD_REPEATS = 2
ALPHA, TEMPERATURE = 0.5, 1.0
STEPS = 4000


def student_config(
    config: Config,
    taught: Path,
    *,
    gold_repeats: int = GOLD_REPEATS,
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    hard: bool = False,
) -> Config:
    """Make a training config for a student out of one without a teacher.

    config (Config): The config, not interpolated, with one component `welt_ner`.
    taught (Path): The folder that `teach` has written.
    gold_repeats (int): How often the gold annotation is read in an epoch; 0: not at all.
    alpha (float): The weight of a token with gold annotation; one that the teachers
        annotated weighs 1 - alpha.
    temperature (float): Of the loss on the teachers' probabilities.
    hard (bool): Whether to learn the teachers' entities as if they were gold, instead of
        their probabilities.
    RETURNS (Config): The config, which `spacy train` takes.
    RAISES (WeltError): If the config has no `welt_ner` or several, or no training corpus,
        or a number is out of its range.
    """
    check_number("gold_repeats", gold_repeats, low=0)
    check_number("alpha", alpha, low=0, high=1)
    check_number("temperature", temperature, above=0)
    made = Config(copy.deepcopy(dict(config)))
    names = [
        name
        for name, block in made.get("components", {}).items()
        if block.get("factory") == "welt_ner"
    ]
    if len(names) != 1:
        raise WeltError(
            f"The config has {len(names)} components welt_ner; one is needed, which is "
            "not sourced from another pipeline"
        )
    if "train" not in made.get("corpora", {}):
        raise WeltError("The config has no [corpora.train], which is the gold corpus")
    if not hard:
        made["components"][names[0]]["distillation"] = {
            "@losses": "welt_spacy.DistillationLoss.v1",
            "alpha": alpha,
            "temperature": temperature,
        }
    corpora: Dict[str, Any] = {}
    repeats: List[int] = []
    if gold_repeats:
        corpora["gold"] = made["corpora"]["train"]
        repeats.append(int(gold_repeats))
    corpora["taught"] = {
        "@readers": "spacy.Corpus.v1",
        "path": str(taught),
        "gold_preproc": False,
        "max_length": 0,
        "limit": 0,
        "augmenter": None,
    }
    repeats.append(1)
    made["corpora"]["train"] = {
        "@readers": "welt_spacy.JoinedCorpora.v1",
        "repeats": repeats,
        "*": corpora,
    }
    return made
