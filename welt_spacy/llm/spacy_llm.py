"""A courtesy to users of spacy-llm: the language model of a pipeline with `generative_ner`, as a
model for their own tasks. spacy-llm is not needed to import this.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import WeltError
from ..pipeline.inference import get_only_pipe
from ..util.pipelines import load_pipeline
from .backends import Request
from .generative_ner import GenerativeNER

# As spacy-llm checks it
Ask = Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]


def make_llm_model(pipeline: str, max_tokens: int = 512) -> Ask:
    """Make a model for spacy-llm. Registered as `welt_spacy.Pipeline.v1` in `llm_models`.

    pipeline (str): The folder or the name of a pipeline with one `generative_ner`, as
        `spacy welt finetune` makes it.
    max_tokens (int): The most tokens of an answer.
    RETURNS (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): Prompts -> answers, or, as newer
        versions want it, the prompts of the parts of each doc -> their answers.
    RAISES (WeltError): If the pipeline can't be loaded, or has no `generative_ner`; by
        the callable, if a request fails.
    """
    nlp = load_pipeline(Path(pipeline))
    backend = get_only_pipe(nlp, GenerativeNER, "generative_ner").backend

    def answer(prompts: list[str]) -> list[str]:
        done = backend([Request(prompt, max_tokens) for prompt in prompts])
        for completion in done:
            if completion.error is not None:
                raise WeltError(f"{pipeline}: {completion.error}")
        return [completion.text for completion in done]

    def ask(prompts: Iterable[Iterable[Any]]) -> Iterable[Iterable[Any]]:
        for prompt in prompts:
            if isinstance(prompt, str):
                yield from answer([prompt])
            else:
                yield answer(list(prompt))

    return ask
