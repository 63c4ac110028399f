"""A tokenizer that splits text as biomedical corpora do."""

from collections.abc import Callable

from spacy.language import Language
from spacy.tokenizer import Tokenizer
from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex

# A combining mark belongs to the letter before it
_MARKS = "\\u0300-\\u036f"
# One character that is neither letter, digit, mark nor white space
_SYMBOL = f"(?:[^\\w\\s{_MARKS}]|_)"


def create_bio_tokenizer() -> Callable[[Language], Tokenizer]:
    """Create the tokenizer `welt_spacy.BioTokenizer.v1`.

    Every character that is neither a letter nor a digit is a token, as in the IOB files of
    Crichton et al. (2017), which most biomedical taggers are trained on:
    "Selegiline-induced" has three tokens and "(3.5" has four. It is a
    `spacy.tokenizer.Tokenizer` with rules, so it is lossless (`doc.text == text`) and saved
    with the pipeline.

    RETURNS (Callable[[Language], Tokenizer]): Creates the tokenizer of a pipeline.
    """
    return make_bio_tokenizer


def make_bio_tokenizer(nlp: Language) -> Tokenizer:
    """Create the tokenizer of a pipeline."""
    return Tokenizer(
        nlp.vocab,
        rules={},
        prefix_search=compile_prefix_regex([_SYMBOL]).search,
        suffix_search=compile_suffix_regex([_SYMBOL]).search,
        infix_finditer=compile_infix_regex([_SYMBOL]).finditer,
        token_match=None,
        url_match=None,
    )
