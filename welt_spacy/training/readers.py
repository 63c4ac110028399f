"""Training corpora made of others."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from spacy.language import Language
from spacy.training import Example

from ..errors import WeltError, check_number

Reader = Callable[[Language], Iterable[Example]]


def create_joined_corpora(
    *corpora: Reader, repeats: Sequence[int] | None = None
) -> "JoinedCorpora":
    """Create a reader that reads several corpora after one another.

    Registered as `welt_spacy.JoinedCorpora.v1` in `@readers`. In a config each corpus has
    a block of its own, `[corpora.train.*.gold]` and so on.

    corpora (Callable): Readers, such as `spacy.Corpus.v1`.
    repeats (Sequence[int] | None): How often each is read, in their order; once if not
        set.
    RETURNS (JoinedCorpora): The reader.
    RAISES (WeltError): If there is no corpus, or there are not as many repeats.
    """
    return JoinedCorpora(list(corpora), repeats=repeats)


class JoinedCorpora:
    """Reads several corpora after one another. `spacy train` shuffles what it reads.

    corpora (Sequence[Callable]): Readers.
    repeats (Sequence[int] | None): How often each is read; once if not set.
    RAISES (WeltError): If there is no corpus, or there are not as many repeats.
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
                "give as many of one as of the other"
            )
        for n in repeats:
            check_number("repeats", n, low=1)
        self.corpora: list[Reader] = list(corpora)
        self.repeats = repeats

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Read the corpora.

        nlp (Language): The pipeline.
        YIELDS (Example): Their examples.
        """
        for corpus, n in zip(self.corpora, self.repeats):
            for _ in range(n):
                yield from corpus(nlp)
