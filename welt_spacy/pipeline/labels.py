"""Labels and tag counts of a component, from the training corpus or from a labels file."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from spacy.errors import Errors
from spacy.language import Language
from spacy.training import Example, validate_examples

from ..errors import WeltError
from ..tagging.gold import count_tags
from ..tagging.tags import tag_names

SAMPLE_SIZE = 10
LabelData = dict[str, Any] | list[str]


class SampledCorpus:
    """A training corpus that is validated while it is read, and whose first examples are
    kept, so that one pass is enough for the counts and the initialization of the model.

    get_examples (Callable[[], Iterable[Example]]): Returns the corpus.
    method (str): The name of the calling method, for messages.
    RAISES (TypeError): If `get_examples` is not a function.
    """

    def __init__(self, get_examples: Callable[[], Iterable[Example]], method: str):
        if not callable(get_examples):
            raise TypeError(Errors.E930.format(method=method, obj=type(get_examples)))
        self._get_examples = get_examples
        self._method = method
        self._sample: list[Example] = []

    def read(self) -> Iterator[Example]:
        """Yield all examples."""
        self._sample = []
        for eg in self._get_examples():
            validate_examples([eg], self._method)
            if len(self._sample) < SAMPLE_SIZE:
                self._sample.append(eg)
            yield eg

    def get_sample(self) -> list[Example]:
        """Return the first examples, which are read only if the corpus was not."""
        return self._sample or list(islice(self.read(), SAMPLE_SIZE))


def get_labels_and_counts(
    name: str,
    weighting: Any,
    get_examples: Callable[[], Iterable[Example]],
    *,
    nlp: Language | None,
    labels: LabelData | None,
    is_gold: Callable[[Example], bool] | None,
) -> tuple[list[str], Mapping[str, int]]:
    """Return the labels of a component and the number of tokens of each tag."""
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
    corpus = count_tags(get_examples(), is_gold=is_gold)
    if corpus.n_unaligned:
        warnings.warn(
            f"[{name}] {corpus.n_unaligned} of {corpus.n_mentions} gold mentions do not "
            "begin or end at a token boundary: they are left out of training. Examples: "
            f"{'; '.join(corpus.unaligned)}.",
            stacklevel=4,
        )
    if labels is None:
        return corpus.labels, corpus.counts
    assert not isinstance(labels, dict)
    missing = [label for label in corpus.labels if label not in labels]
    if missing:
        raise WeltError(
            f"[{name}] The training data has the labels {', '.join(missing)}, which are "
            f"not among the given {', '.join(labels)}. Name all labels, or none."
        )
    return labels, corpus.counts


def match_counts(
    name: str, counts: Mapping[str, int], labels: Sequence[str]
) -> dict[str, int]:
    """Return the counts in the order of the tags of a component, 0 for tags without any."""
    tags = tag_names(labels)
    unknown = [tag for tag in counts if tag not in tags]
    if unknown:
        raise WeltError(
            f"[{name}] Counts of {', '.join(unknown)}: these tags do not belong to the "
            f"labels {', '.join(labels)}. Write the labels file again with "
            "'spacy init labels'."
        )
    return {tag: int(counts.get(tag, 0)) for tag in tags}
