"""Distillation: teachers label texts, and a student learns from the soft labels."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import srsly
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.util import minibatch
from thinc.api import Config

from ..corpora.combine import RENAMED
from ..corpora.overlap import TextIndex
from ..corpora.texts import read_texts
from ..errors import WeltError
from ..pipeline.inference import get_welt_ner, predict_tags
from ..pipeline.welt_ner import WeltNER
from ..tagging.soft_labels import MAX_TAGS
from ..tokens.docs import bare_doc
from ..tokens.document_id import get_document_id
from ..util.files import write_atomically
from ..util.fingerprint import fingerprint
from ..util.output_folder import OutputFolder
from ..util.pipelines import load_pipeline
from .student_config import StudentSettings, student_config
from .teacher_outputs import TeacherOutput, label_docs

COMMAND = "spacy welt distill"
SOFT_LABELS, CONFIG, MODELS = "soft_labels", "config.cfg", ("model-best", "model-last")


@dataclass(frozen=True)
class LabelSettings:
    """Settings of `write_soft_labels`.

    keep_gold (bool): Whether the gold annotation of `.spacy` files is kept for their annotated
        labels; teachers add the others.
    n_sents (int): Number of sentences of a document; 0: whole texts.
    rename (dict[str, str]): Labels of teachers to rename.
    max_tags (int): Number of tags to store for each token.
    shard_size (int): Number of documents of a file, which a killed call loses at most.
    """

    keep_gold: bool = False
    n_sents: int = 1
    rename: dict[str, str] = field(default_factory=lambda: dict(RENAMED))
    max_tags: int = MAX_TAGS
    shard_size: int = 2000


@dataclass(frozen=True)
class SoftLabels:
    """Result of `write_soft_labels`.

    folder (Path): A folder with `.spacy` files, which `spacy.Corpus.v1` reads.
    counts (dict[str, int]): "docs" written; texts left out because they are in files to
        exclude ("excluded") or occurred before ("repeated").
    """

    folder: Path
    counts: dict[str, int]


@dataclass(frozen=True)
class Distilled:
    """Result of `distill`.

    model (Path): The student.
    soft_labels (SoftLabels): The labels of the teachers.
    excluded (list[Path]): Files whose texts were left out.
    is_new (bool): Whether the student was trained; if not, it was up to date.
    """

    model: Path
    soft_labels: SoftLabels
    excluded: list[Path]
    is_new: bool


def distill(
    teachers: Sequence[Path],
    texts: Sequence[Path],
    config: Config,
    output: Path,
    *,
    student: StudentSettings | None = None,
    labels: LabelSettings | None = None,
    exclude: Sequence[Path] = (),
    gpu_id: int = -1,
    report: Callable[[int], None] = lambda n_docs: None,
) -> Distilled:
    """Train a student on gold data and on the soft labels of teachers. Work that is up to
    date, or that a killed call has finished, is not repeated.

    teachers (Sequence[Path]): Pipelines with a `welt_ner` each: folders or names.
    texts (Sequence[Path]): Files of texts, as `read_texts` takes them.
    config (Config): The training config of the student, not interpolated.
    output (Path): The folder to write.
    student (StudentSettings | None): How gold data and soft labels are mixed.
    labels (LabelSettings | None): How texts are labelled.
    exclude (Sequence[Path]): Files whose texts are left out, such as the test data. The dev data
        of the config always are.
    gpu_id (int): The GPU; -1 for the CPU.
    report (Callable[[int], None]): Called with the number of documents labelled so far.
    RETURNS (Distilled): The student and the soft labels.
    RAISES (WeltError): If a file is missing, a pipeline has no `welt_ner`, or the folder has
        files of others in places that are written.
    """
    excluded = [*exclude, *_dev_files(config)]
    trained_config = student_config(config, output / SOFT_LABELS, student)
    with OutputFolder(output, COMMAND) as folder:
        folder.check((CONFIG, *MODELS))
        soft_labels = write_soft_labels(
            teachers,
            texts,
            output / SOFT_LABELS,
            labels,
            exclude=excluded,
            gpu_id=gpu_id,
            report=report,
        )
        current = fingerprint({}, config=trained_config)
        if folder.is_current(current):
            return Distilled(output / MODELS[0], soft_labels, excluded, False)
        folder.start(current, (CONFIG, *MODELS))
        write_atomically(output / CONFIG, trained_config.to_str())
        _train(output, gpu_id)
        summary = {
            "teachers": list(map(str, teachers)),
            "texts": list(map(str, texts)),
            "docs": soft_labels.counts["docs"],
        }
        for name in MODELS:
            _add_to_meta(output / name / "meta.json", summary)
        folder.finish(summary)
    return Distilled(output / MODELS[0], soft_labels, excluded, True)


def _dev_files(config: Config) -> list[Path]:
    path = config.interpolate()["corpora"].get("dev", {}).get("path")
    return [Path(path)] if path and Path(path).is_file() else []


def _train(output: Path, gpu_id: int) -> None:
    from spacy.cli.train import train

    train(output / CONFIG, output, use_gpu=gpu_id)


def _add_to_meta(path: Path, summary: dict[str, Any]) -> None:
    if path.is_file():
        meta = {**srsly.read_json(path), "distilled": summary}
        write_atomically(path, srsly.json_dumps(meta, indent=2))


def write_soft_labels(
    teachers: Sequence[Path],
    texts: Sequence[Path],
    folder: Path,
    settings: LabelSettings | None = None,
    *,
    exclude: Sequence[Path] = (),
    gpu_id: int = -1,
    report: Callable[[int], None] = lambda n_docs: None,
) -> SoftLabels:
    """Label texts with the predictions of teachers, and write them as `.spacy` files.

    If the folder is up to date, the teachers are not loaded. What a killed call of the same
    inputs has finished is kept; labels of other inputs are replaced.

    teachers (Sequence[Path]): Pipelines with a `welt_ner` each. Probabilities of teachers
        with the same labels are averaged.
    folder (Path): The folder to write.
    texts, settings, exclude, gpu_id, report: See `distill`.
    RETURNS (SoftLabels): The folder and counts of its documents.
    RAISES (WeltError): If a file can't be read, a pipeline has no `welt_ner`, no text is
        left, the folder has files of others, or another process writes there.
    """
    settings = settings or LabelSettings()
    for path in (*texts, *exclude):
        if not path.is_file():
            raise WeltError(f"{path} is not a file. Check the path")
    roles = {"texts": texts, "exclude": exclude}
    current = fingerprint(
        asdict(settings),
        files={
            f"{role}.{i}": path
            for role, paths in roles.items()
            for i, path in enumerate(paths)
        },
        models={f"teachers.{i}": path for i, path in enumerate(teachers)},
    )
    with OutputFolder(folder, COMMAND) as output:
        if output.is_current(current):
            return SoftLabels(folder, output.summary)
        output.check((), exclusive=True)
        loaded = [load_pipeline(path, gpu_id=gpu_id) for path in teachers]
        labeller = _Labeller(loaded, settings)
        index = TextIndex()
        for path in exclude:
            for text in read_texts(path, loaded[0], n_sents=1):
                index.add(text.text, get_document_id(text))
        output.start(current)
        counts = {"docs": 0, "excluded": 0, "repeated": 0}
        selected = _select(texts, loaded[0], settings.n_sents, index, counts)
        for number, shard in enumerate(minibatch(selected, settings.shard_size)):
            name = f"{number:06d}.spacy"
            if not output.has(name):
                output.add(name, labeller.to_bytes(shard))
            counts["docs"] += len(shard)
            report(counts["docs"])
        if not counts["docs"]:
            raise WeltError(
                f"No text is left to learn from: {counts['excluded']} texts of "
                f"{', '.join(map(str, texts))} are in the data to exclude"
            )
        output.finish(counts)
    return SoftLabels(folder, counts)


def _select(
    paths: Iterable[Path],
    nlp: Language,
    n_sents: int,
    exclude: TextIndex,
    counts: dict[str, int],
) -> Iterator[Doc]:
    """Read the texts that are neither excluded nor repeated, and count the others."""
    seen = set()
    for path in paths:
        for text in read_texts(path, nlp, n_sents=n_sents):
            if not len(text):
                continue
            content = "".join(text.text.split()).encode("utf8")
            key = hashlib.blake2b(content, digest_size=12).digest()
            if exclude.has(text.text, get_document_id(text)):
                counts["excluded"] += 1
            elif key in seen:
                counts["repeated"] += 1
            else:
                seen.add(key)
                yield text


class _Labeller:
    """Loaded teachers with their labels, renamed."""

    def __init__(self, teachers: Sequence[Language], settings: LabelSettings):
        self.teachers = [(nlp, get_welt_ner(nlp)) for nlp in teachers]
        self.labels = [
            [settings.rename.get(name, name) for name in pipe.labels]
            for _, pipe in self.teachers
        ]
        self.settings = settings

    def to_bytes(self, texts: Sequence[Doc]) -> bytes:
        """Label texts and return them as a `.spacy` file."""
        docs = [bare_doc(text) for text in texts]
        gold = texts if self.settings.keep_gold else [None] * len(texts)
        outputs = [
            TeacherOutput(labels, _predict(nlp, pipe, docs))
            for labels, (nlp, pipe) in zip(self.labels, self.teachers)
        ]
        label_docs(docs, gold, outputs, max_tags=self.settings.max_tags)
        attrs = ["ENT_IOB", "ENT_TYPE"]
        return DocBin(attrs=attrs, store_user_data=True, docs=docs).to_bytes()


def _predict(nlp: Language, pipe: WeltNER, docs: Sequence[Doc]) -> NDArray[np.float32]:
    # Copies, because components before `welt_ner` may set what the next teacher must not see
    copies = [bare_doc(doc, nlp.vocab) for doc in docs]
    return predict_tags(nlp, pipe, copies)[1]
