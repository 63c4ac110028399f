"""The component `welt_sentencizer`: sentence boundaries as in the converted corpora."""

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
    name (str): The name of the component.
    overwrite (bool): Whether to replace existing sentence boundaries.
    RETURNS (WeltSentencizer): The component.
    """
    return WeltSentencizer(nlp.vocab, name, overwrite=overwrite)


class WeltSentencizer(Pipe):
    """Set sentence boundaries by rules, as `spacy welt corpora convert` does."""

    def __init__(
        self, vocab: Vocab, name: str = "welt_sentencizer", *, overwrite: bool = False
    ):
        """Initialize the component."""
        self.vocab = vocab
        self.name = name
        self.overwrite = overwrite
        self._split = Splitter(vocab)

    def __call__(self, doc: Doc) -> Doc:
        """Set the sentence boundaries of a document. Tokenized text, with a space after every
        token, is one sentence, because sentences of tokenized corpora are split already.
        """
        if not len(doc) or (doc.has_annotation("SENT_START") and not self.overwrite):
            return doc
        is_tokenized = len(doc) > 1 and all(token.whitespace_ for token in doc[:-1])
        set_sentences(doc, () if is_tokenized else self._split(doc.text))
        return doc


class Splitter:
    """Split text into sentences.

    spaCy's `sentencizer` looks for tokens that are full stops, and a biomedical tokenizer
    makes the point in "0.5" such a token. Therefore, the text is tokenized again with spaCy's
    tokenizer for the language, which handles decimals and abbreviations.

    vocab (Vocab): The vocabulary of the tokenizer. Its language is used, or English if it has
        none.
    """

    def __init__(self, vocab: Vocab):
        self._tokenizer = spacy.blank(vocab.lang or "en", vocab=vocab).tokenizer
        self._rules = Sentencizer()

    def __call__(self, text: str) -> list[int]:
        """Return the first character of each sentence."""
        return [sent.start_char for sent in self._rules(self._tokenizer(text)).sents]


def set_sentences(doc: Doc, starts: Iterable[int]) -> None:
    """Set sentence boundaries at these characters, except inside entities."""
    start_chars = set(starts)
    # All at once, because each `token.is_sent_start = ...` reads the whole document
    is_start = [
        token.i == 0 or (token.idx in start_chars and token.ent_iob_ != "I")
        for token in doc
    ]
    values = np.where(is_start, 1, -1).astype("int64").view("uint64")
    doc.from_array([SENT_START], values)  # type: ignore[arg-type]
