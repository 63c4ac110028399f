"""Training corpora made of several others."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from spacy.language import Language
from spacy.training import Example

from ..errors import WeltError, check_number

Reader = Callable[[Language], Iterable[Example]]


def create_joined_corpora(
    *corpora: Reader, repeats: Sequence[int] | None = None
) -> "JoinedCorpora":
    """Create a reader that reads several corpora one after another.

    Registered as `welt_spacy.JoinedCorpora.v1` in `@readers`. In a config each corpus has
    a block of its own, `[corpora.train.*.gold]` and so on.

    corpora (Callable): Readers, such as `spacy.Corpus.v1`.
    repeats (Sequence[int] | None): Number of passes over each corpus, in their order; one if
        not set.
    RETURNS (JoinedCorpora): The reader.
    RAISES (WeltError): If there is no corpus, or not one number for each.
    """
    return JoinedCorpora(list(corpora), repeats=repeats)


class JoinedCorpora:
    """Reads several corpora one after another. `spacy train` shuffles the examples.

    corpora (Sequence[Callable]): Readers.
    repeats (Sequence[int] | None): Number of passes over each corpus; one if not set.
    RAISES (WeltError): If there is no corpus, or not one number for each.
    """

    def __init__(
        self, corpora: Sequence[Reader], *, repeats: Sequence[int] | None = None
    ):
        if not corpora:
            raise WeltError("JoinedCorpora has no corpus: give it one or more")
        repeats = [1] * len(corpora) if repeats is None else list(repeats)
        if len(repeats) != len(corpora):
            raise WeltError(
                f"JoinedCorpora has {len(corpora)} corpora and {len(repeats)} repeats: "
                "give one number for each corpus"
            )
        for n in repeats:
            check_number("repeats", n, low=1)
        self.corpora: list[Reader] = list(corpora)
        self.repeats = repeats

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Read the corpora."""
        for corpus, n in zip(self.corpora, self.repeats):
            for _ in range(n):
                yield from corpus(nlp)
