"""Instruction-following difficulty of documents, stored shard by shard.

A call that is killed loses one shard at most. Stored scores are used again only if the
examples, the language model, the settings and the versions of packages are the same.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import srsly
from spacy.tokens import Doc

from ...errors import WeltError
from ...llm.prompts import JsonPrompt, Prompt
from ...llm.responses import make_response
from ...tokens.annotated_labels import is_annotated
from ...util.fingerprint import checksum_bytes, fingerprint
from ...util.output_folder import OutputFolder
from .ifd import Difficulty, ExampleError, IFDScorer, ScorerSettings, load_scorer

COMMAND = "spacy welt select"
SHARD_SIZE = 64


def make_example(doc: Doc, labels: Sequence[str], prompt: Prompt) -> tuple[str, str]:
    """Make the prompt and the gold answer of a document, without a chat template, as
    Superfiltering does. Labels that the document was not annotated for are left out.
    """
    annotated = [label for label in labels if is_annotated(doc, label)]
    return prompt(doc.text, annotated) + "\n", make_response(doc, annotated)


def score_docs(
    docs: Sequence[Doc],
    places: Sequence[int],
    settings: ScorerSettings,
    cache: Path,
    *,
    report: Callable[[int, int], None] = lambda done, n: None,
) -> dict[int, Difficulty]:
    """Compute the difficulty of documents."""
    labels = sorted({ent.label_ for doc in docs for ent in doc.ents})
    prompt = JsonPrompt()
    examples = [make_example(docs[i], labels, prompt) for i in places]
    content = json.dumps(examples).encode("ascii")
    current = fingerprint(
        {
            **asdict(settings),
            "examples": checksum_bytes(content),
            "shard_size": SHARD_SIZE,
        },
        models={"model": settings.model},
    )
    scores: list[Difficulty] = []
    scorer: IFDScorer | None = None
    with OutputFolder(cache, COMMAND) as folder:
        folder.start(current)
        for start in range(0, len(places), SHARD_SIZE):
            name = f"{start // SHARD_SIZE:06d}.json"
            if not folder.has(name):
                scorer = scorer or load_scorer(settings)
                try:
                    shard = scorer(examples[start : start + SHARD_SIZE])
                except ExampleError as err:
                    i = places[start + err.index]
                    raise WeltError(
                        f"Document {i + 1} ({docs[i].text[:60]!r}): {err.problem}"
                    ) from None
                folder.add(name, json.dumps(shard))
            shard_path = folder.path / name
            scores += [Difficulty(*values) for values in srsly.read_json(shard_path)]
            report(len(scores), len(places))
        folder.finish()
    return dict(zip(places, scores))
