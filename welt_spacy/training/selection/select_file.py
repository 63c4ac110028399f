"""Select training documents of a `.spacy` file."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import spacy
import srsly
from spacy.tokens import Doc

from ...corpora.docbin import to_bytes
from ...errors import WeltError, check_number
from ...tokens.docs import read_docs
from ...util.fingerprint import Fingerprint, fingerprint
from ...util.output_folder import OutputFolder
from ...util.pipelines import load_pipeline, use_gpu
from .ifd import ScorerSettings
from .ifd_cache import COMMAND, score_docs
from .report import SelectionSummary, make_rows, render_page, summarize
from .strategies import Candidates, Strategy, doc_vectors, get_strategy, select
from .tagger_scores import score_with_tagger

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class SelectionSettings:
    """Settings of `select_file`.

    strategy (str): The name of a strategy; see `get_strategy`.
    keep (float): Share of the ranked documents to select, in (0, 1].
    keep_negatives (float): Share of the documents without entities to select if they are not
        ranked, in [0, 1].
    scorer (ScorerSettings | None): The language model of strategies that rank by IFD.
    tagger (Path | None): The pipeline of strategies that rank by a tagger: folder or name.
    diverse (bool): Whether to select the documents that cover twice as many.
    seed (int): Random seed.
    RAISES (WeltError): If a share is out of its range, the strategy is unknown, or its language
        model or tagger is missing.
    """

    strategy: str = "hybrid_superfilter"
    keep: float = 0.5
    keep_negatives: float = 1.0
    scorer: ScorerSettings | None = None
    tagger: Path | None = None
    diverse: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("keep", self.keep, above=0, high=1)
        check_number("keep_negatives", self.keep_negatives, low=0, high=1)
        needs = get_strategy(self.strategy).needs
        if needs == "ifd" and self.scorer is None:
            raise WeltError(
                f"{self.strategy} ranks by IFD: name a small language model with "
                "--scorer-model"
            )
        if needs == "tagger" and self.tagger is None:
            raise WeltError(
                f"{self.strategy} ranks by a tagger: name a trained pipeline with --tagger"
            )


@dataclass(frozen=True)
class SelectedFile:
    """Result of `select_file`.

    path (Path): The `.spacy` file with the selected documents. Beside it, with the same stem:
        `.jsonl`, a row for each document; `.html`, a page; `.json`, the record of the output.
    summary (SelectionSummary): Counts.
    is_new (bool): Whether the files were written; if not, they were up to date.
    """

    path: Path
    summary: SelectionSummary
    is_new: bool


def select_file(
    train: Path,
    output: Path,
    settings: SelectionSettings,
    *,
    force: bool = False,
    gpu_id: int = -1,
    wait: float = 0.0,
    report: Report = lambda done, n: None,
) -> SelectedFile:
    """Select documents of a `.spacy` file and write them to another one. If that is up to date,
    nothing is computed. Scores of a language model that a killed call has computed are not
    computed again.

    train (Path): The `.spacy` file to select from.
    output (Path): The `.spacy` file to write.
    settings (SelectionSettings): How documents are selected.
    force (bool): Whether files that this function did not write are replaced.
    gpu_id (int): The GPU; -1 for the CPU.
    wait (float): Seconds to wait for another process that writes the same file.
    report (Callable[[int, int], None]): Called with the number of documents scored so far by
        the language model, and the number of all.
    RETURNS (SelectedFile): The file and counts.
    RAISES (WeltError): If a file or model can't be read, no document has entities, no document
        is selected, or files of others have the names of outputs.
    """
    if output.suffix != ".spacy":
        raise WeltError(f"{output}: the name must end in .spacy")
    if output.exists() and train.exists() and output.samefile(train):
        raise WeltError(f"{output} is the file to select from: use another name")
    strategy = get_strategy(settings.strategy)
    used = _used_settings(settings, strategy)
    current = _fingerprint(train, settings, strategy, used)
    use_gpu(gpu_id)
    docs_name, rows_name, page_name = (
        output.with_suffix(suffix).name for suffix in (".spacy", ".jsonl", ".html")
    )
    record = output.with_suffix(".json").name
    with OutputFolder(output.parent, COMMAND, record=record, wait=wait) as folder:
        if folder.is_current(current):
            summary = SelectionSummary.from_dict(folder.summary)
            return SelectedFile(output, summary, False)
        if not force:
            folder.check((docs_name, rows_name, page_name))
        cache = output.parent / f".{output.stem}.ifd"
        candidates = _read_candidates(train, settings, strategy, cache, report)
        selection = select(
            candidates,
            strategy,
            keep=settings.keep,
            keep_negatives=settings.keep_negatives,
            vectors=doc_vectors(candidates.docs) if settings.diverse else None,
            seed=settings.seed,
        )
        if not selection.places:
            raise WeltError("No document is selected: raise --keep")
        summary = summarize(candidates, selection)
        rows = make_rows(candidates, selection)
        folder.start(current, (docs_name, rows_name, page_name), force=force)
        folder.add(docs_name, to_bytes([candidates.docs[i] for i in selection.places]))
        folder.add(rows_name, "".join(srsly.json_dumps(row) + "\n" for row in rows))
        title = f"{settings.strategy} of {train.name}"
        folder.add(page_name, render_page(title, used, summary, rows))
        folder.finish(asdict(summary))
    return SelectedFile(output, summary, True)


def _used_settings(settings: SelectionSettings, strategy: Strategy) -> dict[str, Any]:
    """Return the settings that matter for the strategy, as flat data."""
    used = asdict(settings)
    scorer, tagger = used.pop("scorer"), used.pop("tagger")
    if strategy.needs == "ifd":
        used.update(
            scorer_model=scorer["model"],
            ifd_variant=scorer["variant"],
            max_length=scorer["max_length"],
        )
    if strategy.needs == "tagger":
        used["tagger"] = str(tagger)
    return used


def _fingerprint(
    train: Path, settings: SelectionSettings, strategy: Strategy, used: dict[str, Any]
) -> Fingerprint:
    files = {"train": train}
    source = getattr(inspect.getmodule(strategy.rank), "__file__", None)
    if source:
        files["strategy"] = Path(source)  # it may be the user's own
    models: dict[str, str | Path] = {
        role: used[role] for role in ("scorer_model", "tagger") if role in used
    }
    sklearn = version("scikit-learn") if settings.diverse else None
    strategy_settings = strategy._replace(rank=None)._asdict()
    return fingerprint(
        {**used, "strategy_settings": strategy_settings, "scikit-learn": sklearn},
        files=files,
        models=models,
    )


def _read_candidates(
    train: Path,
    settings: SelectionSettings,
    strategy: Strategy,
    cache: Path,
    report: Report,
) -> Candidates:
    tagger = settings.tagger if strategy.needs == "tagger" else None
    nlp = load_pipeline(tagger) if tagger else spacy.blank("en")
    docs: Sequence[Doc] = read_docs(train, nlp.vocab)
    if not any(doc.ents for doc in docs):
        raise WeltError(f"{train} has no entities: there is nothing to select by")
    if tagger:
        return Candidates(docs, tagger=score_with_tagger(nlp, docs))
    if strategy.needs == "ifd":
        assert settings.scorer is not None
        places = [i for i, doc in enumerate(docs) if doc.ents or strategy.negatives]
        ifd = score_docs(docs, places, settings.scorer, cache, report=report)
        return Candidates(docs, ifd)
    return Candidates(docs)
