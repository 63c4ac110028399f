"""Grammars and JSON schemas of responses, for constrained decoding.

Grammars are written in llguidance's variant of Lark.
"""

import json
from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc, Span

from .responses import LABEL_KEY, NAME_KEY

# A character of a JSON string, escapes included, and one that is not white space
_ANY = r"(\\.|[^\\])"
_SOLID = r"(\\[\"\\\/]|[^\s\\])"


def copy_grammar(part: Doc | Span, labels: Sequence[str]) -> str:
    """Return the grammar of responses whose names are copied from a text, token by token."""
    chunks: list[str] = []
    for token in part:
        chunks.append(_escape(token.text))
        if token.whitespace_:
            chunks.append(token.whitespace_)
    before = _literal(f'{{"{LABEL_KEY}": ')
    between = _literal(f', "{NAME_KEY}": "')
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


def count_closing_tokens(part: Doc | Span, labels: Sequence[str]) -> int:
    """Return a number of tokens that suffices to close a response at any point.

    It is the number of bytes of an object whose name is one token of the text, because a
    token of a language model has at least one byte.
    """
    label = max((len(_literal(label).encode()) for label in labels), default=0)
    token = max((len(_escape(token.text).encode()) for token in part), default=0)
    return len(f', {{"{LABEL_KEY}": , "{NAME_KEY}": ""}}]') + label + token + 2


def response_schema(labels: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of responses. It restricts labels, but not names."""
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                LABEL_KEY: {"type": "string", "enum": list(labels)},
                NAME_KEY: {"type": "string"},
            },
            "required": [LABEL_KEY, NAME_KEY],
            "additionalProperties": False,
        },
    }


def _escape(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
