"""Sentences of raw text, cut as those of the corpora."""

from collections.abc import Iterable

import numpy as np
import spacy
from spacy.attrs import SENT_START
from spacy.language import Language
from spacy.pipeline import Pipe, Sentencizer
from spacy.tokens import Doc
from spacy.vocab import Vocab


@Language.factory(
    "welt_sentencizer",
    assigns=["token.is_sent_start", "doc.sents"],
    default_config={"overwrite": False},
)
def make_welt_sentencizer(
    nlp: Language, name: str, overwrite: bool
) -> "WeltSentencizer":
    """Construct a WeltSentencizer component.

    nlp (Language): The pipeline.
    name (str): The name of the component in it.
    overwrite (bool): Whether to replace boundaries that a doc has.
    RETURNS (WeltSentencizer): The component.
    """
    return WeltSentencizer(nlp.vocab, name, overwrite=overwrite)


class WeltSentencizer(Pipe):
    """Sets sentence boundaries by rules, as `spacy welt corpora convert` does.

    Registered as `welt_sentencizer`. See `Splitter`.
    """

    def __init__(
        self, vocab: Vocab, name: str = "welt_sentencizer", *, overwrite: bool = False
    ):
        """Initialize the component.

        vocab (Vocab): The shared vocabulary.
        name (str): The name of the component in its pipeline.
        overwrite (bool): Whether to replace boundaries that a doc has.
        """
        self.vocab = vocab
        self.name = name
        self.overwrite = overwrite
        self._split = Splitter(vocab)

    def __call__(self, doc: Doc) -> Doc:
        """Set the boundaries of a doc. Text that is tokenised already (a space after
        every word) is one sentence, as a corpus has it: a full stop says nothing there.

        doc (Doc): The doc.
        RETURNS (Doc): The same.
        """
        if not len(doc) or (doc.has_annotation("SENT_START") and not self.overwrite):
            return doc
        tokenised = len(doc) > 1 and all(token.whitespace_ for token in doc[:-1])
        set_sentences(doc, () if tokenised else self._split(doc.text))
        return doc


class Splitter:
    """Finds where sentences begin in a text.

    spaCy's `sentencizer` looks for tokens that are full stops, and a biomedical tokenizer
    makes one of the point in "0.5". So the text is tokenised by spaCy's tokenizer for the
    language, which knows decimals and abbreviations.

    vocab (Vocab): Where that tokenizer keeps its words, and whose language it is; English
        if it has none.
    """

    def __init__(self, vocab: Vocab):
        self._tokenizer = spacy.blank(vocab.lang or "en", vocab=vocab).tokenizer
        self._rules = Sentencizer()

    def __call__(self, text: str) -> list[int]:
        """Find them.

        text (str): The text.
        RETURNS (list[int]): Offsets in characters.
        """
        return [sent.start_char for sent in self._rules(self._tokenizer(text)).sents]


def set_sentences(doc: Doc, starts: Iterable[int]) -> None:
    """Set the sentence boundaries of a doc; none is inside an entity.

    doc (Doc): The doc.
    starts (Iterable[int]): Offsets in characters where a sentence may begin.
    """
    known = set(starts)
    # In one go: each `token.is_sent_start = ...` looks at the whole doc
    is_start = [
        token.i == 0 or (token.idx in known and token.ent_iob_ != "I") for token in doc
    ]
    values = np.where(is_start, 1, -1).astype("int64").view("uint64")
    doc.from_array([SENT_START], values)  # type: ignore[arg-type]
