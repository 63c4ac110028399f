"""The component `generative_ner`: named entities from a language model that responds in JSON."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import srsly
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import SimpleFrozenList, minibatch
from thinc.api import Config

from ..errors import WeltError, check_number
from ..pipeline.entities import find_earlier, set_spans
from ..pipeline.requirements import require
from ..pipeline.settings import PipelineRef, Setting, flag, number, optional_string
from ..scoring.strict import ner_score
from ..tokens.confidence import install_extensions
from ..tokens.llm_responses import add_llm_responses, install_llm_extensions
from ..util.files import pack_folder, unpack_folder
from .backends import Backend, Completion, Request
from .grammar import copy_grammar, count_closing_tokens, response_schema
from .prompt_units import PromptUnit, read_entities, split_doc
from .prompts import Prompt

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
        "max_response_tokens": 512,
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
    max_response_tokens: int,
    threshold: float,
    spans_key: str | None,
    overwrite: bool,
    scorer: Callable | None,
) -> "GenerativeNER":
    """Construct a GenerativeNER component.

    nlp (Language): The pipeline.
    name (str): The name of the component in the pipeline.
    labels (list[str]): The labels to prompt for.
    prompt (Callable[[str, Sequence[str]], str]): Function from a text and labels to a prompt.
    backend (Backend): The language model.
    constrained (bool): Whether responses are restricted to JSON with these labels and names
        that are copied from the text. For servers, see `OpenAIBackend`.
    n_sents (int): Number of sentences per prompt; 0 for the whole document.
    max_response_tokens (int): Maximum number of tokens of a response.
    threshold (float): Entities with a lower confidence are dropped.
    spans_key (str | None): If set, predictions are also stored in `doc.spans[spans_key]`, with
        their confidences in `attrs["scores"]`.
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
        max_response_tokens=max_response_tokens,
        threshold=threshold,
        spans_key=spans_key,
        overwrite=overwrite,
        scorer=scorer,
    )
    pipe.pipeline_ref = PipelineRef(nlp)
    require(nlp, backend.extra)
    return pipe


def _integer(low: int) -> Callable[[str, Any], int]:
    return lambda name, value: int(check_number(name, value, low=low))


def _check_labels(labels: Sequence[str]) -> list[str]:
    unique = list(dict.fromkeys(labels))
    if not all(isinstance(label, str) and label for label in unique):
        raise WeltError(f"labels is {labels!r}: it must be a list of names")
    return unique


class GenerativeNER(Pipe):
    """Named entity recognition with a language model: it is prompted for a JSON array of
    labels and names, which are aligned with the text (Chen et al. 2025, BioSelectTune).
    """

    threshold = Setting(
        number(0, 1), "The confidence below which entities are dropped."
    )
    spans_key = Setting(
        optional_string, "The key in `doc.spans` for predictions and their confidences."
    )
    overwrite = Setting(flag, "Whether entities of earlier components are replaced.")
    constrained = Setting(flag, "Whether names are copied from the text.")
    n_sents = Setting(
        _integer(0), "Number of sentences per prompt; 0 for the whole document."
    )
    max_response_tokens = Setting(
        _integer(1), "Maximum number of tokens of a response."
    )

    def __init__(
        self,
        name: str = "generative_ner",
        *,
        labels: Sequence[str],
        prompt: Prompt,
        backend: Backend,
        constrained: bool = True,
        n_sents: int = 0,
        max_response_tokens: int = 512,
        threshold: float = 0.0,
        spans_key: str | None = None,
        overwrite: bool = False,
        scorer: Callable | None = ner_score,
    ) -> None:
        """Initialize the component. See `make_generative_ner`."""
        self.name = name
        self.pipeline_ref = PipelineRef()
        self.cfg: dict[str, Any] = {"labels": _check_labels(labels)}
        self.prompt = prompt
        self.backend = backend
        self.scorer = scorer
        self.constrained = constrained
        self.n_sents = n_sents
        self.max_response_tokens = max_response_tokens
        self.threshold = threshold
        self.spans_key = spans_key
        self.overwrite = overwrite
        install_extensions()
        install_llm_extensions()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels to prompt for."""
        return tuple(self.cfg["labels"])

    def add_label(self, label: str) -> int:
        """Add a label to prompt for.

        label (str): The label.
        RETURNS (int): 1, or 0 if the component has the label already.
        """
        if label in self.labels:
            return 0
        self.cfg["labels"] = [*self.labels, label]
        self.pipeline_ref.write_to_config(self, "labels", self.cfg["labels"])
        return 1

    def __call__(self, doc: Doc) -> Doc:
        """Set the entities of a document."""
        return next(self.pipe([doc], batch_size=1))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Set the entities of a stream of documents. A part of a document whose request fails
        gets no entities, and `doc._.llm_responses` has the error.

        stream (Iterable[Doc]): The documents.
        batch_size (int): Number of documents to send to the language model together.
        YIELDS (Doc): The documents in order.

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

    def predict(self, docs: Sequence[Doc]) -> list[list[PromptUnit]]:
        """Request the entities of documents without setting anything.

        docs (Sequence[Doc]): The documents.
        RETURNS (list[list[PromptUnit]]): The parts of each document with the responses.
        RAISES (WeltError): If there are no labels, no language model, or no sentence
            boundaries although `n_sents` needs them.
        """
        if not self.labels:
            raise WeltError(
                f"[{self.name}] There are no labels to prompt for. Set them in the config, "
                "or call add_label"
            )
        parts = [self._split(doc) for doc in docs]
        requests = [self._request(part) for of_doc in parts for part in of_doc]
        completions = self.backend(requests)
        self._warn(completions)
        remaining = iter(completions)
        return [
            [PromptUnit(part, next(remaining)) for part in of_doc] for of_doc in parts
        ]

    def set_annotations(
        self, docs: Sequence[Doc], scores: Sequence[Sequence[PromptUnit]]
    ) -> None:
        """Set `doc.ents`, `ent._.confidence`, `doc._.llm_responses` and, if `spans_key` is
        set, `doc.spans`.

        docs (Sequence[Doc]): The documents.
        scores (Sequence[Sequence[PromptUnit]]): The result of `predict` for them.
        """
        for doc, units in zip(docs, scores):
            earlier = find_earlier(
                doc, self.name, spans_key=self.spans_key, overwrite=self.overwrite
            )
            entities, responses = read_entities(units, self.labels)
            add_llm_responses(doc, self.name, responses)
            included = [
                (span, confidence)
                for span, confidence in entities
                if not earlier.taken[span.start : span.end].any()
                and (confidence is None or confidence >= self.threshold)
            ]
            set_spans(
                doc,
                [span for span, _ in included],
                [confidence for _, confidence in included],
                earlier,
                self.name,
                self.spans_key,
            )

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
        """Add labels: those given, or those of examples if the component has none.

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

    def _split(self, doc: Doc) -> list[Span]:
        if all(token.is_space for token in doc):
            return []
        if self.n_sents and not doc.has_annotation("SENT_START"):
            raise WeltError(
                f"[{self.name}] n_sents is {self.n_sents}, but no component sets sentences. "
                f"Add one: nlp.add_pipe('welt_sentencizer', before='{self.name}')"
            )
        return split_doc(doc, self.n_sents)

    def _request(self, part: Span) -> Request:
        text = self.prompt(part.text, self.labels)
        if not self.constrained:
            return Request(text, self.max_response_tokens)
        return Request(
            text,
            self.max_response_tokens,
            grammar=copy_grammar(part, self.labels),
            closing_tokens=count_closing_tokens(part, self.labels),
            schema=response_schema(self.labels),
        )

    def _warn(self, completions: Sequence[Completion]) -> None:
        errors = [c.error for c in completions if c.error is not None]
        if errors:
            LOGGER.warning(
                "[%s] %d of %d requests failed, so their texts have no entities. First "
                "error: %s",
                self.name,
                len(errors),
                len(completions),
                errors[0],
            )

    def to_disk(
        self, path: Any, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Save what the config does not have to a folder: weights, if the backend stores them.

        path (str | Path): The folder.
        exclude (Iterable[str]): Names of fields to leave out: "backend".
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        if "backend" not in exclude:
            self.backend.to_disk(folder)

    def from_disk(
        self, path: Any, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "GenerativeNER":
        """Load the component from a folder.

        path (str | Path): The folder.
        exclude (Iterable[str]): Names of fields to leave out: "backend".
        RETURNS (GenerativeNER): The component itself.
        RAISES (WeltError): If the language model can't be loaded.
        """
        if "backend" not in exclude:
            self.backend.from_disk(Path(path))
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """Serialize what `to_disk` saves to bytes.

        exclude (Iterable[str]): Names of fields to leave out: "backend".
        RETURNS (bytes): The data.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.to_disk(folder, exclude=exclude)
            return srsly.msgpack_dumps(pack_folder(Path(folder)))

    def from_bytes(
        self, bytes_data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "GenerativeNER":
        """Load the component from bytes.

        bytes_data (bytes): The data.
        exclude (Iterable[str]): Names of fields to leave out: "backend".
        RETURNS (GenerativeNER): The component itself.
        RAISES (WeltError): If the language model can't be loaded, or a file has a path outside
            of its folder.
        """
        with tempfile.TemporaryDirectory() as folder:
            unpack_folder(srsly.msgpack_loads(bytes_data), Path(folder))
            return self.from_disk(folder, exclude=exclude)


__all__ = ["GenerativeNER", "make_generative_ner"]
