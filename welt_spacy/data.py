"""Pipelines and examples from disk, and pipelines back to it, for the commands."""

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Callable, Iterator, List, Sequence

import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import require_gpu

from .errors import WeltError


def load_pipeline(model: Path, *, gpu_id: int = -1) -> Language:
    """Load a pipeline.

    model (Path): Its folder, or its name if it is installed.
    gpu_id (int): The GPU it shall run on; -1 for the CPU.
    RETURNS (Language): The pipeline.
    RAISES (WeltError): If there is none, or no such GPU.
    """
    if gpu_id >= 0:
        try:
            require_gpu(gpu_id)
        except Exception as err:  # thinc, CuPy and torch have one each
            raise WeltError(
                f"GPU {gpu_id} can't be used ({err}): take --gpu-id -1 for the CPU"
            ) from None
    try:
        return spacy.load(model if model.exists() else str(model))
    except OSError as err:
        raise WeltError(str(err).strip().splitlines()[0]) from None


def read_docs(path: Path, vocab: Vocab) -> List[Doc]:
    """Read the docs of a .spacy file.

    path (Path): The file.
    vocab (Vocab): The vocabulary of the docs.
    RETURNS (List[Doc]): The docs, at least one.
    RAISES (WeltError): If the file is missing, is none, or has no docs.
    """
    if not path.is_file():
        raise WeltError(f"{path} is no file: a .spacy file is needed")
    try:
        docs = list(DocBin().from_disk(path).get_docs(vocab))
    except Exception:
        # zlib, msgpack and srsly have an exception each.
        raise WeltError(
            f"{path} is no .spacy file: make one with 'spacy welt convert'"
        ) from None
    if not docs:
        raise WeltError(f"{path} has no docs")
    return docs


def read_examples(nlp: Language, path: Path) -> List[Example]:
    """Read gold-standard docs, with bare docs of the same tokens beside them.

    nlp (Language): The pipeline that will predict.
    path (Path): The .spacy file.
    RETURNS (List[Example]): The examples, at least one.
    RAISES (WeltError): As `read_docs`.
    """
    return [Example(_bare(doc), doc) for doc in read_docs(path, nlp.vocab)]


def pair_docs(
    predictions: Sequence[Doc], references: Sequence[Doc], name: str = "predictions"
) -> List[Example]:
    """Put predictions that were made elsewhere beside gold-standard docs.

    predictions (Sequence[Doc]): The predictions, on any tokens.
    references (Sequence[Doc]): The gold-standard docs, in the same order.
    name (str): What the predictions are called in messages.
    RETURNS (List[Example]): The examples.
    RAISES (WeltError): If there are more of one than of the other, or a text is
        another one; white space does not matter.
    """
    if len(predictions) != len(references):
        raise WeltError(
            f"{name} has {len(predictions)} docs and the gold annotation "
            f"{len(references)}: both must be of the same docs in the same order"
        )
    for i, (doc, gold) in enumerate(zip(predictions, references), start=1):
        if _letters(doc) != _letters(gold):
            raise WeltError(
                f"{name}, doc {i}: the text is {doc.text[:40]!r} and in the gold "
                f"annotation {gold.text[:40]!r}: both must be of the same docs in the "
                "same order"
            )
    return [Example(doc, gold) for doc, gold in zip(predictions, references)]


def _letters(doc: Doc) -> str:
    return "".join(doc.text.split())


def _bare(doc: Doc) -> Doc:
    return Doc(
        doc.vocab,
        words=[token.text for token in doc],
        spaces=[bool(token.whitespace_) for token in doc],
    )


@contextlib.contextmanager
def replace_pipeline(
    output: Path, *, force: bool = False
) -> Iterator[Callable[[Language], Path]]:
    """Write a pipeline as a whole or not at all.

    output (Path): The folder to write.
    force (bool): Whether to replace what is there.
    YIELDS (Callable[[Language], Path]): Saves a pipeline and returns where it lies for
        now; at the end of the `with` block the last one saved is moved to `output`.
    RAISES (WeltError): If something is there already, before any work is done.
    """
    if output.exists() and not force:
        raise WeltError(f"{output} is there already: take another name, or --force")
    made = [
        path for path in (output.parent, *output.parent.parents) if not path.exists()
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=output.parent) as folder:
            new = Path(folder) / "pipeline"

            def write(nlp: Language) -> Path:
                nlp.to_disk(new)
                return new

            yield write
            if output.exists():
                shutil.rmtree(output)
            new.rename(output)
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
