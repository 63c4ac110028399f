"""Answers of a language model: a JSON array of names with their types, and the spans of a doc
that they mean. Nothing is dropped without being counted.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import (
    Any,
    NamedTuple,
)

from spacy.tokens import Doc, Span

TYPE, NAME = "entity", "name"


class Item(NamedTuple):
    """An entity as an answer names it.

    label (str): Its type.
    name (str): The words.
    end (int): The character behind its object in the answer; 0 if it is from none.
    """

    label: str
    name: str
    end: int = 0


class Answer(NamedTuple):
    """What an answer says.

    items (list[Item]): The entities, in its order.
    issues (dict[str, int]): "not JSON": there is no array; "cut off": it does not end, and
        what stands before the end was taken; "malformed": so many items are not objects
        with two strings.
    """

    items: list[Item]
    issues: dict[str, int]


class Located(NamedTuple):
    """The spans that an answer means.

    spans (list[Span]): Without overlap, in the order of the doc.
    sources (list[int]): The item of each span: its place among them.
    issues (dict[str, int]): How many items have an unknown type, a name that is not in
        the text ("unsupported name"), one that the text has less often
        ("over-generated"), or one that does not begin and end where tokens do ("off
        token borders"): these have no span. "ambiguous": names with a span that occur
        more often in the text than in the answer.
    """

    spans: list[Span]
    sources: list[int]
    issues: dict[str, int]


def make_answer(doc: Doc | Span, labels: Iterable[str] | None = None) -> str:
    """Write the answer that is right for a doc.

    doc (Doc | Span): The doc or a part of it, with gold entities.
    labels (Iterable[str] | None): The labels that are asked for; all if not set.
    RETURNS (str): JSON: an array of objects with "entity" and "name", in the order of the
        text, repeated names included; "[]" if there are none.
    """
    wanted = None if labels is None else set(labels)
    items = [
        {TYPE: ent.label_, NAME: ent.text}
        for ent in doc.ents
        if wanted is None or ent.label_ in wanted
    ]
    return json.dumps(items, ensure_ascii=False)


def parse_answer(text: str) -> Answer:
    """Read an answer. Nothing in it is ever run as code.

    text (str): What a model has generated. Words before the array, and after it, are
        passed over, such as the fences of Markdown.
    RETURNS (Answer): The entities; of an array that does not end, those that are whole.
    """
    issues: Counter = Counter()
    found = None
    start = text.find("[")
    while start >= 0 and found is None:
        try:
            values, ends = _read_array(text, start)
        except RecursionError:
            break
        # "see [1]" before the answer is an array too
        if ends and (not values or isinstance(values[0][0], dict)):
            found = values
        start = text.find("[", start + 1)
    if found is None:
        opening = _OPENING.search(text)
        if opening is not None:
            with contextlib.suppress(RecursionError):
                found, _ = _read_array(text, opening.start())
        issues["not JSON" if opening is None else "cut off"] += 1
    items = []
    for value, end in found or ():
        if _is_item(value):
            items.append(Item(value[TYPE], value[NAME].strip(), end))
        else:
            issues["malformed"] += 1
    return Answer(items, dict(issues))


_OPENING = re.compile(r"\[\s*(?=\{|$)")
_SPACE = re.compile(r"\s*")


def _read_array(text: str, start: int) -> tuple[list[tuple[Any, int]], bool]:
    """The values of an array with the character behind each, as far as they can be read,
    and whether it ends.
    """
    decoder = json.JSONDecoder()
    found: list[tuple[Any, int]] = []
    place = _behind_space(text, start + 1)
    if text.startswith("]", place):
        return found, True
    while True:
        try:
            value, end = decoder.raw_decode(text, place)
        except ValueError:
            return found, False
        found.append((value, end))
        place = _behind_space(text, end)
        if not text.startswith(",", place):
            return found, text.startswith("]", place)
        place = _behind_space(text, place + 1)


def _behind_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


def _is_item(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get(TYPE), str)
        and isinstance(value.get(NAME), str)
        and bool(value[NAME].strip())
    )


def locate(
    doc: Doc | Span,
    items: Sequence[Item],
    labels: Iterable[str] | None = None,
) -> Located:
    """Find the spans that the items of an answer mean.

    An item takes the first occurrence of its name behind the item before it that begins
    and ends where tokens do and is free; if there is none behind, the first free one.
    The name is looked for as it is, then without regard to case and white space.

    doc (Doc | Span): The doc, or the part of it that the answer is about.
    items (Sequence[Item]): The items, in the order of the answer.
    labels (Iterable[str] | None): The labels that are known; all if not set.
    RETURNS (Located): The spans, and what could not be placed.
    """
    known = None if labels is None else set(labels)
    places = _Places(doc)
    issues: Counter = Counter()
    found: list[tuple[Span, int]] = []
    taken: set[int] = set()
    used: Counter = Counter()
    behind = 0
    for i, item in enumerate(items):
        if known is not None and item.label not in known:
            issues["unknown type"] += 1
            continue
        occurrences, exist = places.find(item.name)
        free = [
            (start, end)
            for start, end in occurrences
            if not taken.intersection(range(start, end))
        ]
        if not free:
            if occurrences:
                issues["over-generated"] += 1
            else:
                issues["off token borders" if exist else "unsupported name"] += 1
            continue
        start, end = next((place for place in free if place[0] >= behind), free[0])
        taken.update(range(start, end))
        behind = end
        found.append((Span(places.doc, start, end, label=item.label), i))
        used[item.name] += 1
    for name, n in used.items():
        issues["ambiguous"] += len(places.find(name)[0]) > n
    found.sort(key=lambda pair: pair[0].start)
    return Located(
        [span for span, _ in found],
        [i for _, i in found],
        {issue: n for issue, n in issues.items() if n},
    )


class _Places:
    """Where names stand in a doc, or in a part of it."""

    def __init__(self, part: Doc | Span):
        self.doc = part if isinstance(part, Doc) else part.doc
        self.text = part.text
        first = part[0].idx if len(part) else 0
        self.starts = {token.idx - first: token.i for token in part}
        self.ends = {token.idx - first + len(token): token.i + 1 for token in part}
        self._found: dict[str, tuple[list[tuple[int, int]], bool]] = {}

    def find(self, name: str) -> tuple[list[tuple[int, int]], bool]:
        """RETURNS (tuple[list[tuple[int, int]], bool]): First tokens and the tokens after
        the last, and whether the name is in the text at all.
        """
        if name not in self._found:
            found, exist = self._search(re.escape(name), 0)
            if not found:
                # White space may be other, or missing, anywhere between words
                words = r"\s*".join(map(re.escape, name.split()))
                loosely, somewhere = self._search(words, re.IGNORECASE)
                found, exist = loosely, exist or somewhere
            self._found[name] = found, exist
        return self._found[name]

    def _search(self, pattern: str, flags: int) -> tuple[list[tuple[int, int]], bool]:
        matches = list(re.finditer(f"(?=({pattern}))", self.text, flags))
        found = [
            (self.starts[match.start(1)], self.ends[match.end(1)])
            for match in matches
            if match.start(1) in self.starts and match.end(1) in self.ends
        ]
        return found, bool(matches)
