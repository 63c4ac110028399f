"""Labels and tag counts of a training corpus, read from it or from a labels file."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spacy.errors import Errors
from spacy.language import Language
from spacy.training import Example

from ..errors import WeltError
from ..tagging.gold import count_tags

LabelData = dict[str, Any] | list[str]


def labels_and_counts(
    name: str,
    weighting: Any,
    get_examples: Callable[[], Iterable[Example]],
    nlp: Language | None,
    labels: LabelData | None,
) -> tuple[list[str], Mapping[str, int]]:
    """Find the labels of a component and how many tokens each of their tags has.

    name (str): The name of the component, for messages.
    weighting (Callable): The weighting scheme, which may or may not need counts.
    get_examples (Callable[[], Iterable[Example]]): The training corpus.
    nlp (Language | None): The pipeline, for its training config.
    labels (dict[str, Any] | list[str] | None): The labels, or the labels and
        counts as in `WeltNER.label_data`; then the corpus is not read.
    RETURNS (tuple[list[str], Mapping[str, int]]): The labels and the counts by tag.
    RAISES (WeltError): If the corpus is streamed and counts are needed, or it has
        labels that are not among those given.
    """
    if isinstance(labels, dict):
        if "labels" not in labels:
            raise ValueError(Errors.E857.format(name="labels"))
        if labels.get("counts"):
            return labels["labels"], labels["counts"]
        labels = labels["labels"]
    training = nlp.config.get("training", {}) if nlp is not None else {}
    needs_counts = getattr(weighting, "needs_counts", True)
    if training.get("max_epochs") == -1 and needs_counts:
        raise WeltError(
            f"[{name}] The weights '{weighting}' need the tag counts of the whole "
            "training corpus, but max_epochs = -1 streams it and shows only 100 "
            "examples. Run 'spacy init labels' with max_epochs = 0 and read the result "
            f"in [initialize.components.{name}.labels] with "
            '@readers = "spacy.read_labels.v1".'
        )
    found = count_tags(get_examples())
    if found.n_unaligned:
        warnings.warn(
            f"[{name}] {found.n_unaligned} of {found.n_mentions} gold mentions do not "
            "begin or end where a token does: they are left out of training. For "
            f"instance {'; '.join(found.unaligned)}.",
            stacklevel=4,
        )
    if labels is None:
        return found.labels, found.counts
    assert not isinstance(labels, dict)
    left_out = [label for label in found.labels if label not in labels]
    if left_out:
        raise WeltError(
            f"[{name}] The training data has the labels {', '.join(left_out)}, which "
            f"are not among the given {', '.join(labels)}. Name all of them, or none."
        )
    return labels, found.counts
