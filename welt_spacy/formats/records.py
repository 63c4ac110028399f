"""What is read, what is found, and what could not be read."""

from typing import NamedTuple

from spacy.tokens import Doc

from ..errors import WeltError


class Record(NamedTuple):
    """A document.

    id (str): Its id, such as a PubMed id; where the input has none, the file and the line.
    text (str): Its text.
    title (int): Characters of the title that the text begins with; 0 if it has none.
    """

    id: str
    text: str
    title: int = 0


class Reject(NamedTuple):
    """A document that could not be annotated.

    id (str): Its id; the file and the line if that is not known.
    reason (str): A short name of what is wrong, by which rejects are counted.
    message (str): What is wrong, and where.
    """

    id: str
    reason: str
    message: str


Item = Record | Reject


class Entity(NamedTuple):
    """An entity.

    start, end (int): Offsets of its first character and after its last one.
    label (str): Its type.
    text (str): The characters.
    confidence (float | None): Its probability, to four decimals; None where the pipeline
        gives none.
    pipeline (str): The name and version of the pipeline that found it.
    """

    start: int
    end: int
    label: str
    text: str
    confidence: float | None
    pipeline: str


class Annotated(NamedTuple):
    """A document with its entities.

    record (Record): The document.
    entities (list[Entity]): Its entities, in the order of the text.
    n_words (int): How many tokens it has.
    doc (Doc | None): The doc of the first pipeline; it must not be kept.
    """

    record: Record
    entities: list[Entity]
    n_words: int
    doc: Doc | None = None


class Damaged(WeltError):
    """A file that can't be read from some place on."""


class BadDocument(ValueError):
    """A document that can't be read: the message says why.

    reason (str): A short name of what is wrong.
    message (str): What is wrong.
    id (str): The id of the document, if that could be read.
    """

    def __init__(self, reason: str, message: str = "", id: str = "") -> None:
        super().__init__(message or reason)
        self.reason, self.id = reason, id
