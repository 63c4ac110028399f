"""The component `generative_ner`: named entities from a language model that answers in JSON."""

import logging
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import (
    Any,
    NamedTuple,
)

import numpy as np
import srsly
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import SimpleFrozenList, minibatch
from thinc.api import Config

from ..errors import WeltError, check_number
from ..pipeline.entities import find_earlier, fit_entities, set_entities
from ..pipeline.requirements import require
from ..pipeline.settings import Owner, Setting, flag, number, optional_string
from ..scoring.strict import ner_score
from ..tagging.decoding import Entities
from ..tokens.confidence import install_extensions
from ..tokens.llm_responses import (
    LLMResponses,
    add_llm_responses,
    install_llm_extensions,
)
from ..util.arrays import starts_of
from ..util.files import pack_folder, unpack_folder
from .backends import Backend, Completion, Request
from .grammar import answer_schema, copy_grammar, room_to_close
from .prompts import Prompt
from .responses import Item, locate, parse_answer

LOGGER = logging.getLogger("welt_spacy")

DEFAULT_CONFIG = """
[prompt]
@misc = "welt_spacy.JsonPrompt.v1"

[backend]
@misc = "welt_spacy.TransformersBackend.v1"

[scorer]
@scorers = "welt_spacy.ner_scorer.v1"
"""


@Language.factory(
    "generative_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        **Config().from_str(DEFAULT_CONFIG),
        "labels": [],
        "constrained": True,
        "n_sents": 0,
        "max_answer_tokens": 512,
        "threshold": 0.0,
        "spans_key": None,
        "overwrite": False,
    },
    default_score_weights={
        "ents_f": 1.0,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
    },
)
def make_generative_ner(
    nlp: Language,
    name: str,
    labels: list[str],
    prompt: Prompt,
    backend: Backend,
    constrained: bool,
    n_sents: int,
    max_answer_tokens: int,
    threshold: float,
    spans_key: str | None,
    overwrite: bool,
    scorer: Callable | None,
) -> "GenerativeNER":
    """Construct a GenerativeNER component.

    nlp (Language): The pipeline.
    name (str): The name of the component in it.
    labels (list[str]): The types that are asked for.
    prompt (Callable[[str, Sequence[str]], str]): Text and labels -> prompt.
    backend (Backend): The language model.
    constrained (bool): Whether answers can be nothing but JSON with these labels and
        names that are copied from the text. Of servers, see `OpenAIBackend`.
    n_sents (int): Sentences that are asked about at once; 0: the whole doc.
    max_answer_tokens (int): The most tokens of an answer.
    threshold (float): Entities with a lower confidence are dropped.
    spans_key (str | None): If set, predictions are also kept as
        `doc.spans[spans_key]`, their confidences in `attrs["scores"]`.
    overwrite (bool): Whether to replace entities of earlier components. If not, they
        stay, and predictions that overlap with them are dropped.
    scorer (Callable | None): The scoring method.
    RETURNS (GenerativeNER): The component.
    RAISES (WeltError): If a setting is out of its range.
    """
    pipe = GenerativeNER(
        name,
        labels=labels,
        prompt=prompt,
        backend=backend,
        constrained=constrained,
        n_sents=n_sents,
        max_answer_tokens=max_answer_tokens,
        threshold=threshold,
        spans_key=spans_key,
        overwrite=overwrite,
        scorer=scorer,
    )
    pipe.owner = Owner(nlp)
    require(nlp, backend.extra)
    return pipe


def _whole(low: int) -> Callable[[str, Any], int]:
    return lambda name, value: int(check_number(name, value, low=low))


def _labels(name: str, value: Any) -> list[str]:
    found = list(dict.fromkeys(value))
    if not all(isinstance(label, str) and label for label in found):
        raise WeltError(f"{name} is {value!r}: it must be a list of names")
    return found


class GenerativeNER(Pipe):
    """Named entity recognition as generation: a language model is asked for a JSON array
    of types and names, which are found again in the text (Chen et al. 2025,
    BioSelectTune).
    """

    threshold = Setting(
        number(0, 1), "The confidence under which entities are dropped."
    )
    spans_key = Setting(
        optional_string, "The key in `doc.spans` for predictions and their confidences."
    )
    overwrite = Setting(flag, "Whether entities of earlier components are replaced.")
    constrained = Setting(flag, "Whether names are copied from the text.")
    n_sents = Setting(_whole(0), "Sentences that are asked about at once; 0: all.")
    max_answer_tokens = Setting(_whole(1), "The most tokens of an answer.")

    def __init__(
        self,
        name: str = "generative_ner",
        *,
        labels: Sequence[str],
        prompt: Prompt,
        backend: Backend,
        constrained: bool = True,
        n_sents: int = 0,
        max_answer_tokens: int = 512,
        threshold: float = 0.0,
        spans_key: str | None = None,
        overwrite: bool = False,
        scorer: Callable | None = ner_score,
    ) -> None:
        """Initialize the component. See `make_generative_ner`."""
        self.name = name
        self.owner = Owner()
        self.cfg: dict[str, Any] = {"labels": _labels("labels", labels)}
        self.prompt = prompt
        self.backend = backend
        self.scorer = scorer
        self.constrained = constrained
        self.n_sents = n_sents
        self.max_answer_tokens = max_answer_tokens
        self.threshold = threshold
        self.spans_key = spans_key
        self.overwrite = overwrite
        install_extensions()
        install_llm_extensions()

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): The types that are asked for."""
        return tuple(self.cfg["labels"])

    def add_label(self, label: str) -> int:
        """Ask for another type.

        label (str): The type.
        RETURNS (int): 1, or 0 if it was asked for before.
        """
        if label in self.labels:
            return 0
        self.cfg["labels"] = [*self.labels, label]
        self.owner.tell_config(self, "labels", self.cfg["labels"])
        return 1

    def __call__(self, doc: Doc) -> Doc:
        """Find the entities of a doc.

        doc (Doc): The doc.
        RETURNS (Doc): The same doc.

        DOCS: https://spacy.io/api/pipe#call
        """
        return next(self.pipe([doc], batch_size=1))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Find the entities of a stream of docs. A doc whose requests fail comes through
        without entities; why stands in `doc._.llm_responses`.

        stream (Iterable[Doc]): The docs.
        batch_size (int): So many go to the language model together.
        YIELDS (Doc): The docs, in their order.

        DOCS: https://spacy.io/api/pipe#pipe
        """
        handler = self.get_error_handler()
        for docs in minibatch(stream, size=batch_size):
            try:
                self.set_annotations(docs, self.predict(docs))
            except Exception as err:
                handler(self.name, self, docs, err)
            else:
                yield from docs

    def predict(self, docs: Sequence[Doc]) -> list[list["Part"]]:
        """Ask about docs, without setting anything.

        docs (Sequence[Doc]): The docs.
        RETURNS (list[list[Part]]): The parts of each doc with their answers.
        RAISES (WeltError): If there are no labels, no sentence boundaries though `n_sents`
            needs them, or no language model.
        """
        if not self.labels:
            raise WeltError(
                f"[{self.name}] There are no labels to ask for: set them in the config, or "
                "call add_label"
            )
        parts = [self._cut(doc) for doc in docs]
        flat = [part for of_doc in parts for part in of_doc]
        answers = iter(self.backend([self._request(part) for part in flat]))
        found = [[Part(part, next(answers)) for part in of_doc] for of_doc in parts]
        self._tell([part.completion for of_doc in found for part in of_doc])
        return found

    def set_annotations(
        self, docs: Sequence[Doc], scores: Sequence[Sequence["Part"]]
    ) -> None:
        """Set `doc.ents`, `ent._.confidence`, `doc._.llm_responses` and, if asked for,
        `doc.spans`.

        docs (Sequence[Doc]): The docs.
        scores (Sequence[Sequence[Part]]): What `predict` returned for them.
        """
        earlier = [
            find_earlier(
                doc, self.name, spans_key=self.spans_key, overwrite=self.overwrite
            )
            for doc in docs
        ]
        lengths = np.array(list(map(len, docs)), dtype="int64")
        rows: list[tuple[int, int, int, float]] = []
        for doc, parts, offset in zip(docs, scores, starts_of(lengths).tolist()):
            found, generated = self._read(parts)
            rows += [
                (offset + span.start, offset + span.end, label, confidence)
                for span, label, confidence in found
            ]
            add_llm_responses(doc, self.name, generated)
        starts, ends, numbers, sureness = zip(*rows) if rows else ((), (), (), ())
        found_all = Entities(
            np.array(starts, dtype="int64"),
            np.array(ends, dtype="int64"),
            np.array(numbers, dtype="int64"),
            np.array(sureness, dtype="float64"),
        )
        kept = fit_entities(docs, found_all, earlier)
        # What has no confidence stays
        unsure = kept.confidences < self.threshold
        kept = kept.select(~unsure)
        set_entities(docs, kept, earlier, self.labels, self.name, self.spans_key)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score a batch of examples.

        examples (Iterable[Example]): The examples.
        RETURNS (dict[str, Any]): The scores.

        DOCS: https://spacy.io/api/pipe#score
        """
        return {} if self.scorer is None else self.scorer(list(examples), **kwargs)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Take the labels of examples, if there are none yet.

        get_examples (Callable[[], Iterable[Example]]): Returns gold-standard examples.
        nlp (Language | None): The pipeline.
        labels (Sequence[str] | None): The labels.
        """
        if labels is None and not self.labels:
            labels = sorted(
                {ent.label_ for eg in get_examples() for ent in eg.reference.ents}
            )
        for label in labels or ():
            self.add_label(label)

    def _cut(self, doc: Doc) -> list[Span]:
        """The parts of a doc that are asked about, one after the other."""
        if not any(not token.is_space for token in doc):
            return []
        if not self.n_sents:
            return [doc[:]]
        if not doc.has_annotation("SENT_START"):
            raise WeltError(
                f"[{self.name}] n_sents is {self.n_sents}, but nothing sets sentences: "
                f"nlp.add_pipe('welt_sentencizer', before='{self.name}')"
            )
        sents = list(doc.sents)
        groups = (
            doc[group[0].start : group[-1].end]
            for group in minibatch(sents, size=self.n_sents)
        )
        return [group for group in groups if group.text.strip()]

    def _request(self, part: Span) -> Request:
        grammar, closing = None, 0
        if self.constrained:
            grammar = copy_grammar(part, self.labels)
            closing = room_to_close(part, self.labels)
        return Request(
            self.prompt(part.text, self.labels),
            self.max_answer_tokens,
            grammar,
            closing,
            answer_schema(self.labels) if self.constrained else None,
        )

    def _read(
        self, parts: Sequence["Part"]
    ) -> tuple[list[tuple[Span, int, float]], LLMResponses]:
        numbers = {label: i for i, label in enumerate(self.labels)}
        found: list[tuple[Span, int, float]] = []
        items: list[Item] = []
        issues: Counter = Counter()
        for part in parts:
            completion = part.completion
            if completion.error is not None:
                issues["failed"] += 1
                continue
            answer = parse_answer(completion.text)
            located = locate(part.span, answer.items, self.labels)
            issues.update(answer.issues)
            issues.update(located.issues)
            if completion.cut_off and "cut off" not in answer.issues:
                issues["cut off"] += 1
            sureness = confidences(answer.items, completion)
            items += answer.items
            for span, source in zip(located.spans, located.sources):
                found.append((span, numbers[span.label_], sureness[source]))
        found.sort(key=lambda row: row[0].start)
        generated = LLMResponses(
            [part.completion.text for part in parts],
            [(item.label, item.name) for item in items],
            len(items) + issues["malformed"],
            {name: n for name, n in issues.items() if n},
            next((p.completion.error for p in parts if p.completion.error), None),
        )
        return found, generated

    def _tell(self, completions: Sequence[Completion]) -> None:
        failed = [done.error for done in completions if done.error is not None]
        if failed:
            LOGGER.warning(
                "[%s] %d of %d requests failed, so that their texts have no entities; "
                "the first: %s",
                self.name,
                len(failed),
                len(completions),
                failed[0],
            )

    def to_disk(
        self, path: Any, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Save to a directory what the config does not say: weights, if there are any.

        path (str | Path): The directory.
        exclude (Iterable[str]): Names of fields to leave out: "backend".
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        if "backend" not in exclude:
            self.backend.to_disk(folder)

    def from_disk(
        self, path: Any, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "GenerativeNER":
        """Load the component from a directory.

        path (str | Path): The directory.
        exclude (Iterable[str]): Names of fields to leave out: "backend".
        RETURNS (GenerativeNER): The component itself.
        RAISES (WeltError): If the language model can't be loaded.
        """
        if "backend" not in exclude:
            self.backend.from_disk(Path(path))
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """Make a bytestring of what `to_disk` saves.

        exclude (Iterable[str]): Names of fields to leave out: "backend".
        RETURNS (bytes): The data.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.to_disk(folder, exclude=exclude)
            return srsly.msgpack_dumps(pack_folder(Path(folder)))

    def from_bytes(
        self, bytes_data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "GenerativeNER":
        """Load the component from a bytestring.

        bytes_data (bytes): The data.
        exclude (Iterable[str]): Names of fields to leave out: "backend".
        RETURNS (GenerativeNER): The component itself.
        RAISES (WeltError): If the language model can't be loaded, or a file has a path outside
            of its folder.
        """
        with tempfile.TemporaryDirectory() as folder:
            unpack_folder(srsly.msgpack_loads(bytes_data), Path(folder))
            return self.from_disk(folder, exclude=exclude)


class Part(NamedTuple):
    """A part of a doc, and what a language model says of it.

    span (Span): The part.
    completion (Completion): The answer.
    """

    span: Span
    completion: Completion


def confidences(items: Sequence[Item], completion: Completion) -> list[float]:
    """Find the probability of each entity of an answer, given the answer so far: the
    product over the tokens from the end of the entity before it to its own end, so that
    the choice to go on is in it. It is the distribution that tokens were taken from:
    with a grammar, the one over what it allows.

    items (Sequence[Item]): The entities, as `parse_answer` found them.
    completion (Completion): The answer.
    RETURNS (list[float]): In [0, 1]; NaN where the model does not tell.
    """
    if completion.tokens is None:
        return [math.nan] * len(items)
    ends = np.array([end for end, _ in completion.tokens], dtype="int64")
    sums = np.cumsum([0.0, *(value for _, value in completion.tokens)])
    found, before = [], 0
    for item in items:
        # A token belongs to the entity in which it ends, or the first behind which it does
        after = int(np.searchsorted(ends, item.end, side="left")) + 1
        after = min(after, len(ends))
        found.append(min(1.0, math.exp(float(sums[after] - sums[before]))))
        before = after
    return found


__all__ = ["GenerativeNER", "Part", "confidences", "make_generative_ner"]
