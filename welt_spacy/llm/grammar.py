"""What an answer may be, token by token: constrained decoding with names that are copied.

The grammars are those of llguidance, in its variant of Lark's notation.
"""

import json
from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc, Span

from .responses import NAME, TYPE

# A character of a JSON string, escapes included, and one that is not white space
_ANY = r"(\\.|[^\\])"
_SOLID = r"(\\[\"\\\/]|[^\s\\])"


def copy_grammar(part: Doc | Span, labels: Sequence[str]) -> str:
    """Write the grammar of the answers about a text: a JSON array as `make_answer` writes
    it, with these labels alone, whose names are sequences of tokens of the text. A name
    that is not in the text, or off its tokens' borders, can't be generated.

    part (Doc | Span): The text, at least one token long.
    labels (Sequence[str]): The labels, at least one.
    RETURNS (str): The grammar. There are at most as many entities as tokens.
    """
    chunks: list[str] = []
    for token in part:
        chunks.append(_escape(token.text))
        if token.whitespace_:
            chunks.append(token.whitespace_)
    before = _literal(f'{{"{TYPE}": ')
    between = _literal(f', "{NAME}": "')
    types = " | ".join(_literal(json.dumps(n, ensure_ascii=False)) for n in labels)
    return "\n".join(
        (
            f'start: "[" (entity (", " entity){{0,{len(part) - 1}}})? "]"',
            f"entity: {before} type {between} NAME {_literal(chr(34) + '}')}",
            f"type: {types}",
            f"NAME: COPY & /{_SOLID}({_ANY}*{_SOLID})?/",
            f"COPY: %regex {json.dumps({'substring_chunks': chunks})}",
        )
    )


def room_to_close(part: Doc | Span, labels: Sequence[str]) -> int:
    """Find how many tokens are enough, wherever an answer stands, to end it: the bytes of
    an object whose name is one token of the text, since no token is shorter than a byte.

    part (Doc | Span): The text.
    labels (Sequence[str]): The labels.
    RETURNS (int): The tokens.
    """
    label = max((len(_literal(label).encode()) for label in labels), default=0)
    token = max((len(_escape(token.text).encode()) for token in part), default=0)
    return len(f', {{"{TYPE}": , "{NAME}": ""}}]') + label + token + 2


def answer_schema(labels: Sequence[str]) -> dict[str, Any]:
    """Write the JSON schema of answers, for servers: labels are among those known, names
    are any strings.

    labels (Sequence[str]): The labels.
    RETURNS (dict[str, Any]): The schema.
    """
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                TYPE: {"type": "string", "enum": list(labels)},
                NAME: {"type": "string"},
            },
            "required": [TYPE, NAME],
            "additionalProperties": False,
        },
    }


def _escape(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
