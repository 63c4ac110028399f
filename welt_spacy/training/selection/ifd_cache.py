"""Docs scored by a language model, a piece at a time, so that a run that is ended is taken up
again where it stood.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import srsly
from spacy.tokens import Doc

from ...errors import WeltError
from ...llm.prompts import Prompt
from ...llm.responses import make_answer
from ...tokens.annotated_labels import is_annotated
from ...util.files import write_atomically
from .ifd import Difficulty, IFDScorer

# Docs that are scored together: what is lost when a run is killed
PIECE = 64


def make_example(doc: Doc, labels: Sequence[str], prompt: Prompt) -> tuple[str, str]:
    """Make the prompt and the right answer of a doc, as training has them: without the
    marks of a chat template, as Superfiltering does.

    doc (Doc): The doc, with gold entities.
    labels (Sequence[str]): The labels that are asked for; of these, a doc in which others
        were not looked for has its own.
    prompt (Callable[[str, Sequence[str]], str]): Makes prompts.
    RETURNS (tuple[str, str]): Prompt and answer.
    """
    asked = [label for label in labels if is_annotated(doc, label)]
    return prompt(doc.text, asked) + "\n", make_answer(doc, asked)


def score_docs(
    docs: Sequence[Doc],
    places: Sequence[int],
    labels: Sequence[str],
    prompt: Prompt,
    load: Callable[[], IFDScorer],
    folder: Path,
    key: str,
    *,
    report: Callable[[int], None] | None = None,
) -> dict[int, Difficulty]:
    """Score docs, and keep the scores of each piece in a file.

    docs (Sequence[Doc]): The docs.
    places (Sequence[int]): Those to be scored.
    labels (Sequence[str]): The labels that are asked for.
    prompt (Callable[[str, Sequence[str]], str]): Makes prompts.
    load (Callable[[], IFDScorer]): Loads the scorer, if there is anything left to score.
    folder (Path): Where the pieces are kept.
    key (str): What the scores depend on besides the examples: model, definition and so
        on. Pieces of another key are not used.
    report (Callable[[int], None] | None): Called with the number of docs done.
    RETURNS (dict[int, Difficulty]): Place -> score.
    RAISES (WeltError): If a doc can't be scored; the message has its place and its text.
    """
    found: dict[int, Difficulty] = {}
    scorer: IFDScorer | None = None
    for start in range(0, len(places), PIECE):
        piece = list(places[start : start + PIECE])
        examples = [make_example(docs[i], labels, prompt) for i in piece]
        told = json.dumps([key, piece, examples]).encode("utf8")
        path = folder / f"{hashlib.sha256(told).hexdigest()[:32]}.json"
        scores = _read_piece(path, len(piece))
        if scores is None:
            scorer = load() if scorer is None else scorer
            try:
                scores = scorer(examples)
            except WeltError as err:
                raise WeltError(f"{err}{_which(str(err), piece, docs)}") from None
            write_atomically(path, json.dumps([list(score) for score in scores]))
        found.update(zip(piece, scores))
        if report is not None:
            report(len(found))
    return found


def _read_piece(path: Path, n: int) -> list[Difficulty] | None:
    try:
        found = [Difficulty(*values) for values in srsly.read_json(path)]
    except (OSError, ValueError, TypeError):
        return None
    return found if len(found) == n else None


def _which(message: str, piece: Sequence[int], docs: Sequence[Doc]) -> str:
    """The place and the words of the doc that a message names as "Example 3: ..."."""
    number = message.partition(":")[0].rpartition(" ")[2]
    if not number.isdigit() or int(number) >= len(piece):
        return ""
    i = piece[int(number)]
    return f" (doc {i + 1}: {docs[i].text[:60]!r})"
