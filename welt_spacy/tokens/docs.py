"""Read, pair and copy documents."""

from collections.abc import Sequence
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.vocab import Vocab

from ..errors import WeltError


def read_docs(path: Path, vocab: Vocab) -> list[Doc]:
    """Read the docs of a .spacy file.

    path (Path): The file.
    vocab (Vocab): The vocabulary of the docs.
    RETURNS (list[Doc]): The docs, at least one.
    RAISES (WeltError): If the file is missing, is not a .spacy file, or has no docs.
    """
    if not path.is_file():
        raise WeltError(f"{path} is not a file: a .spacy file is needed")
    try:
        docs = list(DocBin().from_disk(path).get_docs(vocab))
    except Exception:
        # zlib, msgpack and srsly have an exception each.
        raise WeltError(
            f"{path} is not a .spacy file: make one with 'spacy welt convert'"
        ) from None
    if not docs:
        raise WeltError(f"{path} has no docs")
    return docs


def read_examples(nlp: Language, path: Path) -> list[Example]:
    """Read gold-standard docs, with bare docs of the same tokens beside them.

    nlp (Language): The pipeline that will predict.
    path (Path): The .spacy file.
    RETURNS (list[Example]): The examples, at least one.
    RAISES (WeltError): As `read_docs`.
    """
    return [Example(bare_doc(doc), doc) for doc in read_docs(path, nlp.vocab)]


def pair_docs(
    predictions: Sequence[Doc], references: Sequence[Doc], name: str = "predictions"
) -> list[Example]:
    """Put predictions that were made elsewhere beside gold-standard docs.

    predictions (Sequence[Doc]): The predictions, on any tokens.
    references (Sequence[Doc]): The gold-standard docs, in the same order.
    name (str): What the predictions are called in messages.
    RETURNS (list[Example]): The examples.
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


def bare_doc(doc: Doc, vocab: Vocab | None = None) -> Doc:
    """Copy the tokens of a doc, without any annotation.

    doc (Doc): The doc.
    vocab (Vocab | None): The vocabulary of the copy; that of the doc if not set.
    RETURNS (Doc): The copy.
    """
    spaces = None
    if not doc.has_unknown_spaces:
        spaces = [bool(token.whitespace_) for token in doc]
    words = [token.text for token in doc]
    return Doc(doc.vocab if vocab is None else vocab, words=words, spaces=spaces)
