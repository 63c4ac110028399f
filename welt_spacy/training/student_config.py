"""Training configs of students, which learn from gold annotation and from teachers."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinc.api import Config

from ..errors import WeltError, check_number


@dataclass(frozen=True)
class StudentSettings:
    """Settings of a student.

    gold_epochs (int): Number of passes over the gold corpus per epoch; 0: it is not read.
    alpha (float): Weight of a token with gold annotation; a token with soft labels weighs
        1 - alpha.
    temperature (float): Temperature of the loss on soft labels.
    hard_labels (bool): Whether to learn the entities of the teachers as if they were gold,
        instead of their probabilities.
    RAISES (WeltError): If a number is out of its range.
    """

    gold_epochs: int = 2
    alpha: float = 0.5
    temperature: float = 1.0
    hard_labels: bool = False

    def __post_init__(self) -> None:
        check_number("gold_epochs", self.gold_epochs, low=0)
        check_number("alpha", self.alpha, low=0, high=1)
        check_number("temperature", self.temperature, above=0)


def student_config(
    config: Config, soft_labels: Path, settings: StudentSettings | None = None
) -> Config:
    """Convert a training config to one that reads soft labels, too.

    config (Config): The config, not interpolated, with one component `welt_ner`.
    soft_labels (Path): The folder that `write_soft_labels` writes.
    settings (StudentSettings | None): Settings of the student.
    RETURNS (Config): The config for `spacy train`.
    RAISES (WeltError): If the config has no `welt_ner` or several, or no training corpus.
    """
    settings = settings or StudentSettings()
    student = Config(copy.deepcopy(dict(config)))
    names = [
        name
        for name, block in student.get("components", {}).items()
        if block.get("factory") == "welt_ner"
    ]
    if len(names) != 1:
        raise WeltError(
            f"The config has {len(names)} components welt_ner. One is needed, which is "
            "not sourced from another pipeline"
        )
    if "train" not in student.get("corpora", {}):
        raise WeltError("The config has no [corpora.train]. Add the gold corpus")
    if not settings.hard_labels:
        student["components"][names[0]]["distillation"] = {
            "@losses": "welt_spacy.DistillationLoss.v1",
            "alpha": settings.alpha,
            "temperature": settings.temperature,
        }
    corpora: dict[str, Any] = {}
    repeats: list[int] = []
    if settings.gold_epochs:
        corpora["gold"] = student["corpora"]["train"]
        repeats.append(int(settings.gold_epochs))
    corpora["soft_labels"] = {
        "@readers": "spacy.Corpus.v1",
        "path": str(soft_labels),
        "gold_preproc": False,
        "max_length": 0,
        "limit": 0,
        "augmenter": None,
    }
    repeats.append(1)
    student["corpora"]["train"] = {
        "@readers": "welt_spacy.JoinedCorpora.v1",
        "repeats": repeats,
        "*": corpora,
    }
    return student
