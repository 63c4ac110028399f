"""Responses in JSON: write them for gold entities, parse them, and align their entities with a
document. Entities that have no place in the text are counted.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from spacy.tokens import Doc, Span

# The keys of an object in a response
LABEL_KEY, NAME_KEY = "entity", "name"


class PredictedEntity(NamedTuple):
    """An entity in a response.

    label (str): Its label.
    name (str): Its text.
    end (int): Character offset in the response at which its object ends.
    """

    label: str
    name: str
    end: int = 0


class ParsedResponse(NamedTuple):
    """Result of `parse_response`.

    entities (list[PredictedEntity]): The entities in the order of the response.
    issues (dict[str, int]): "not JSON": the response has no array; "cut off": the array is
        not closed, and the objects before the end are used; "malformed": number of values
        that are not objects with two strings.
    """

    entities: list[PredictedEntity]
    issues: dict[str, int]


class AlignedEntities(NamedTuple):
    """Result of `align_entities`.

    spans (list[Span]): Spans without overlap in the order of the document.
    sources (list[int]): Index of the predicted entity of each span.
    issues (dict[str, int]): Number of entities without a span: "unknown type", "unsupported
        name" (it does not occur in the text), "over-generated" (it occurs less often) or "off
        token borders". "ambiguous" counts names that occur more often in the text than in the
        response.
    """

    spans: list[Span]
    sources: list[int]
    issues: dict[str, int]


def make_response(doc: Doc | Span, labels: Iterable[str] | None = None) -> str:
    """Return the correct response for gold entities, as JSON."""
    included = None if labels is None else set(labels)
    entities = [
        {LABEL_KEY: ent.label_, NAME_KEY: ent.text}
        for ent in doc.ents
        if included is None or ent.label_ in included
    ]
    return json.dumps(entities, ensure_ascii=False)


def parse_response(text: str) -> ParsedResponse:
    """Parse a response."""
    issues: Counter = Counter()
    values = None
    start = text.find("[")
    while start >= 0 and values is None:
        try:
            array, is_closed = _read_array(text, start)
        except RecursionError:
            break
        # "see [1]" before the response is an array, too
        if is_closed and (not array or isinstance(array[0][0], dict)):
            values = array
        start = text.find("[", start + 1)
    if values is None:
        opening = _OPENING.search(text)
        if opening is not None:
            with contextlib.suppress(RecursionError):
                values, _ = _read_array(text, opening.start())
        issues["not JSON" if opening is None else "cut off"] += 1
    entities = []
    for value, end in values or ():
        if _is_entity(value):
            name = value[NAME_KEY].strip()
            entities.append(PredictedEntity(value[LABEL_KEY], name, end))
        else:
            issues["malformed"] += 1
    return ParsedResponse(entities, dict(issues))


_OPENING = re.compile(r"\[\s*(?=\{|$)")
_SPACE = re.compile(r"\s*")


def _read_array(text: str, start: int) -> tuple[list[tuple[Any, int]], bool]:
    """Return the values of an array with the offset at which each ends, as far as they can
    be read, and whether the array is closed.
    """
    decoder = json.JSONDecoder()
    values: list[tuple[Any, int]] = []
    offset = _skip_space(text, start + 1)
    if text.startswith("]", offset):
        return values, True
    while True:
        try:
            value, end = decoder.raw_decode(text, offset)
        except ValueError:
            return values, False
        values.append((value, end))
        offset = _skip_space(text, end)
        if not text.startswith(",", offset):
            return values, text.startswith("]", offset)
        offset = _skip_space(text, offset + 1)


def _skip_space(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    return match.end() if match else offset


def _is_entity(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get(LABEL_KEY), str)
        and isinstance(value.get(NAME_KEY), str)
        and bool(value[NAME_KEY].strip())
    )


def align_entities(
    doc: Doc | Span,
    entities: Sequence[PredictedEntity],
    labels: Iterable[str] | None = None,
) -> AlignedEntities:
    """Align the entities of a response with a document.

    An entity is aligned with the first free occurrence of its name after the entity before
    it; if there is none, with the first free one. Occurrences begin and end at token
    borders. If a name does not occur, case and white space are ignored.
    """
    known = None if labels is None else set(labels)
    occurrences = _Occurrences(doc)
    issues: Counter = Counter()
    aligned: list[tuple[Span, int]] = []
    taken: set[int] = set()
    counts: Counter = Counter()
    position = 0
    for i, entity in enumerate(entities):
        if known is not None and entity.label not in known:
            issues["unknown type"] += 1
            continue
        places, is_in_text = occurrences.find(entity.name)
        free = [
            (start, end) for start, end in places if taken.isdisjoint(range(start, end))
        ]
        if not free:
            if places:
                issues["over-generated"] += 1
            else:
                issues["off token borders" if is_in_text else "unsupported name"] += 1
            continue
        start, end = next((place for place in free if place[0] >= position), free[0])
        taken.update(range(start, end))
        position = end
        aligned.append((Span(occurrences.doc, start, end, label=entity.label), i))
        counts[entity.name] += 1
    for name, n in counts.items():
        issues["ambiguous"] += len(occurrences.find(name)[0]) > n
    aligned.sort(key=lambda pair: pair[0].start)
    return AlignedEntities(
        [span for span, _ in aligned],
        [i for _, i in aligned],
        {issue: n for issue, n in issues.items() if n},
    )


class _Occurrences:
    """The occurrences of names in a document or a part of it."""

    def __init__(self, part: Doc | Span):
        self.doc = part if isinstance(part, Doc) else part.doc
        self.text = part.text
        first = part[0].idx if len(part) else 0
        self.starts = {token.idx - first: token.i for token in part}
        self.ends = {token.idx - first + len(token): token.i + 1 for token in part}
        self._cache: dict[str, tuple[list[tuple[int, int]], bool]] = {}

    def find(self, name: str) -> tuple[list[tuple[int, int]], bool]:
        """Return the token ranges of a name, and whether the text has it at all."""
        if name not in self._cache:
            places, is_in_text = self._search(re.escape(name), 0)
            if not places:
                # White space may differ or be missing between any two words
                words = r"\s*".join(map(re.escape, name.split()))
                places, is_similar = self._search(words, re.IGNORECASE)
                is_in_text = is_in_text or is_similar
            self._cache[name] = places, is_in_text
        return self._cache[name]

    def _search(self, pattern: str, flags: int) -> tuple[list[tuple[int, int]], bool]:
        matches = list(re.finditer(f"(?=({pattern}))", self.text, flags))
        places = [
            (self.starts[match.start(1)], self.ends[match.end(1)])
            for match in matches
            if match.start(1) in self.starts and match.end(1) in self.ends
        ]
        return places, bool(matches)
