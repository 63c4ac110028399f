"""Read, pair and copy documents."""

from collections.abc import Sequence
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.vocab import Vocab

from ..errors import WeltError


def read_docs(path: Path, vocab: Vocab) -> list[Doc]:
    """Read the documents of a .spacy file.

    path (Path): The file.
    vocab (Vocab): The vocabulary of the documents.
    RETURNS (list[Doc]): The documents, at least one.
    RAISES (WeltError): If the file is missing, is no .spacy file or has no documents.
    """
    if not path.is_file():
        raise WeltError(f"{path} is not a file. A .spacy file is needed")
    try:
        docs = list(DocBin().from_disk(path).get_docs(vocab))
    except Exception:
        # zlib, msgpack and srsly have their own exceptions
        raise WeltError(
            f"{path} is not a .spacy file. 'spacy welt convert' writes one"
        ) from None
    if not docs:
        raise WeltError(f"{path} has no documents")
    return docs


def read_examples(nlp: Language, path: Path) -> list[Example]:
    """Read gold documents as the references of examples, whose predicted documents have the
    same tokens and no annotation.

    nlp (Language): The pipeline whose vocabulary the documents get.
    path (Path): The .spacy file.
    RETURNS (list[Example]): The examples, at least one.
    RAISES (WeltError): As `read_docs`.
    """
    return [Example(bare_doc(doc), doc) for doc in read_docs(path, nlp.vocab)]


def pair_docs(
    predictions: Sequence[Doc], references: Sequence[Doc], name: str = "predictions"
) -> list[Example]:
    """Pair predictions of any origin with gold documents.

    predictions (Sequence[Doc]): The predictions, with any tokens.
    references (Sequence[Doc]): The gold documents, in the same order.
    name (str): Name of the predictions in messages.
    RETURNS (list[Example]): The examples.
    RAISES (WeltError): If the numbers of documents differ, or their texts differ in more than
        white space.
    """
    if len(predictions) != len(references):
        raise WeltError(
            f"{name} has {len(predictions)} documents and the gold annotation "
            f"{len(references)}. Both need the same documents in the same order"
        )
    for i, (doc, gold) in enumerate(zip(predictions, references), start=1):
        if _letters(doc) != _letters(gold):
            raise WeltError(
                f"{name}, document {i}: the text is {doc.text[:40]!r}, and that of the gold "
                f"annotation {gold.text[:40]!r}. Both need the same documents in the same "
                "order"
            )
    return [Example(doc, gold) for doc, gold in zip(predictions, references)]


def _letters(doc: Doc) -> str:
    return "".join(doc.text.split())


def bare_doc(doc: Doc, vocab: Vocab | None = None) -> Doc:
    """Copy the tokens of a document without annotation, with another vocabulary if given."""
    spaces = None
    if not doc.has_unknown_spaces:
        spaces = [bool(token.whitespace_) for token in doc]
    words = [token.text for token in doc]
    return Doc(doc.vocab if vocab is None else vocab, words=words, spaces=spaces)
