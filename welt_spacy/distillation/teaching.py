"""What teachers say of unannotated texts, written once as .spacy files with soft tags."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import srsly
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import minibatch
from weasel.util.hashing import get_checksum

from ..about import __version__
from ..annotated import annotated_labels
from ..arrays import starts_of
from ..corpora.combine import RENAMED
from ..corpora.convert import sha256
from ..corpora.overlap import TextIndex
from ..corpora.unannotated import Text, read_texts
from ..errors import WeltError
from ..files import one_writer, write_atomically
from ..io import bare_doc
from ..pipeline.decoding import decode
from ..pipeline.entities import find_earlier, fit_entities
from ..pipeline.gold import gold_tags
from ..pipeline.running import find_component, predict_docs
from ..pipeline.soft_tags import MOST, map_tags, set_soft_tags, to_student
from ..pipeline.tags import MISSING
from ..pipeline.welt_ner import WeltNER

# Docs of a file: what is lost when the command is killed
SHARD = 2000
MANIFEST = "manifest.json"


class Taught(NamedTuple):
    """What `teach` has written.

    folder (Path): The folder with .spacy files.
    counts (Dict[str, int]): "docs" written, and texts left out: "excluded" because they
        stand in the data to be scored on, "repeated" because they were there before.
    """

    folder: Path
    counts: Dict[str, int]


def teach(
    teachers: Sequence[Language],
    texts: Sequence[Path],
    folder: Path,
    *,
    told: Optional[Dict[str, Any]] = None,
    exclude: Optional[TextIndex] = None,
    complete: bool = False,
    rename: Mapping[str, str] = RENAMED,
    n_sents: int = 1,
    most: int = MOST,
    shard: int = SHARD,
    report: Callable[[int], None] = lambda done: None,
) -> Taught:
    """Let teachers annotate texts, and write what they say as soft tags. What an
    interrupted call has written is not done again.

    teachers (Sequence[Language]): Pipelines with a `welt_ner` each. The probabilities of
        those that know a label are averaged.
    texts (Sequence[Path]): Files as `read_texts` takes them.
    folder (Path): Where the .spacy files go, `SHARD` docs each, and `manifest.json`, which
        says what they were made of and what is done.
    told (Optional[Dict[str, Any]]): What else decides the result, such as the teachers'
        checksums.
    exclude (Optional[TextIndex]): Texts to leave out.
    complete (bool): Whether the gold annotation of `.spacy` files is kept where a label
        was looked for (`annotated_labels`), so that teachers only say of the labels that
        were not.
    rename (Mapping[str, str]): Labels of teachers to rename.
    n_sents (int): Sentences in a doc; 0: whole texts.
    most (int): How many tags of a token are kept.
    shard (int): Docs of a file.
    report (Callable[[int], None]): Gets the number of docs done so far.
    RETURNS (Taught): What was written.
    RAISES (WeltError): If a file can't be read, a pipeline has no `welt_ner`, there is
        no text, the folder has files of something else, or another process writes there.
    """
    pipes = [find_component(nlp) for nlp in teachers]
    labels = [[rename.get(name, name) for name in pipe.labels] for pipe in pipes]
    asked = {
        **(told or {}),
        "texts": {str(path): checksum(path) for path in texts},
        "labels": [list(names) for names in labels],
        "complete": complete,
        "n_sents": n_sents,
        "most": most,
        "shard": shard,
        "made_by": f"welt-spacy {__version__}",
    }
    with one_writer(folder):
        manifest = _Manifest(folder, asked)
        counts = {"docs": 0, "excluded": 0, "repeated": 0}
        chosen = _choose(texts, teachers[0], n_sents, exclude, counts)
        for number, group in enumerate(minibatch(chosen, shard)):
            name = f"{number:06d}.spacy"
            if not manifest.has(name, len(group)):
                docs = [text.doc for text in group]
                gold = [text.gold if complete else None for text in group]
                said = [
                    (names, _probabilities(nlp, pipe, docs))
                    for names, nlp, pipe in zip(labels, teachers, pipes)
                ]
                annotate(docs, gold, said, most)
                content = DocBin(
                    attrs=["ENT_IOB", "ENT_TYPE"], store_user_data=True, docs=docs
                ).to_bytes()
                write_atomically(folder / name, content)
                manifest.add(name, content, len(group))
            counts["docs"] += len(group)
            report(counts["docs"])
        if not counts["docs"]:
            raise WeltError(
                f"No text is left to learn from: {counts['excluded']} of "
                f"{', '.join(map(str, texts))} stand in the data to be scored on"
            )
        manifest.finish(counts)
    return Taught(folder, counts)


def _choose(
    paths: Iterable[Path],
    nlp: Language,
    n_sents: int,
    exclude: Optional[TextIndex],
    counts: Dict[str, int],
) -> Iterator[Text]:
    seen = set()
    for path in paths:
        for text in read_texts(path, nlp, n_sents=n_sents):
            if not len(text.doc):
                continue
            key = hashlib.blake2b(
                "".join(text.doc.text.split()).encode("utf8"), digest_size=12
            ).digest()
            if exclude is not None and exclude.has(text.doc.text, text.id):
                counts["excluded"] += 1
            elif key in seen:
                counts["repeated"] += 1
            else:
                seen.add(key)
                yield text


def annotate(
    docs: Sequence[Doc],
    gold: Sequence[Optional[Doc]],
    said: Sequence[Tuple[Sequence[str], NDArray[Any]]],
    most: int = MOST,
) -> None:
    """Set soft tags, and the entities that follow from them.

    docs (Sequence[Doc]): The docs, N tokens together.
    gold (Sequence[Optional[Doc]]): Of each, the same tokens with annotation that is kept
        for the labels that were looked for, or None.
    said (Sequence[Tuple[Sequence[str], ndarray]]): Of each teacher its K labels and its
        probabilities, shape (N, 2K + 1).
    most (int): How many tags of a token are kept.
    """
    labels = union(
        [
            *(names for names, _ in said),
            *(sorted(annotated_labels(doc) or ()) for doc in gold if doc is not None),
        ]
    )
    lengths = np.array(list(map(len, docs)), dtype="int64")
    offsets = starts_of(lengths).tolist()
    parts = []
    for doc, known, start, end in zip(docs, gold, offsets, offsets[1:]):
        mine = [(names, probs[start:end]) for names, probs in said]
        parts.append(combine(_with_gold(doc, known, mine), labels))
        set_soft_tags(doc, parts[-1], labels, most=most)
    # What a component can learn from that knows nothing of soft tags
    nothing = [find_earlier(doc, "", spans_key=None, overwrite=True) for doc in docs]
    found = fit_entities(docs, decode(np.concatenate(parts), lengths), nothing)
    bounds = np.searchsorted(found.starts, offsets).tolist()
    for i, doc in enumerate(docs):
        rows = zip(*(a[bounds[i] : bounds[i + 1]].tolist() for a in found[:3]))
        doc.set_ents(
            [
                Span(doc, start - offsets[i], end - offsets[i], label=labels[label])
                for start, end, label in rows
            ],
            default="outside",
        )


def _with_gold(
    doc: Doc, gold: Optional[Doc], said: List[Tuple[Sequence[str], NDArray[Any]]]
) -> List[Tuple[Sequence[str], NDArray[Any]]]:
    """What gold annotation says of its labels, and teachers of the others."""
    known = None if gold is None else annotated_labels(gold)
    if gold is None or known is None:
        return said
    own = sorted(known)
    tags = gold_tags([Example(doc, gold)], own, doc.vocab)
    if (tags == MISSING).any():
        return said
    found: List[Tuple[Sequence[str], NDArray[Any]]] = [
        (own, np.eye(2 * len(own) + 1, dtype="float32")[tags])
    ]
    for names, probs in said:
        others = [name for name in names if name not in known]
        if others:
            found.append((others, to_student(probs, names, others)))
    return found


def _probabilities(
    nlp: Language, pipe: WeltNER, docs: Sequence[Doc]
) -> NDArray[np.float32]:
    """Tag probabilities of the docs, end to end. Each teacher reads copies: components
    before its `welt_ner` may set what the next one must not see.
    """
    copies = [bare_doc(doc, nlp.vocab) for doc in docs]
    return predict_docs(nlp, pipe, copies)[1]


def union(labels: Iterable[Sequence[str]]) -> List[str]:
    """RETURNS (List[str]): All labels, in the order in which they come first."""
    return list(dict.fromkeys(label for one in labels for label in one))


def combine(
    said: Sequence[Tuple[Sequence[str], NDArray[Any]]], labels: Sequence[str]
) -> NDArray[np.float32]:
    """Combine what several teachers say of the same tokens.

    Those that know the same labels are averaged. Between those that know different ones,
    a tag has the product of what each says of it, where a label that one does not know
    is O to it; then the tags of a token are made to sum to 1.

    said (Sequence[Tuple[Sequence[str], ndarray]]): Of each teacher its K labels and its
        probabilities, shape (N, 2K + 1).
    labels (Sequence[str]): All labels, L of them.
    RETURNS (ndarray): Shape (N, 2L + 1), float32.
    """
    groups: Dict[FrozenSet[str], List[NDArray[Any]]] = {}
    for known, probs in said:
        own = [label for label in labels if label in known]
        groups.setdefault(frozenset(own), []).append(to_student(probs, known, own))
    product = np.ones((len(said[0][1]), 2 * len(labels) + 1), dtype="float64")
    for names, members in groups.items():
        own = [label for label in labels if label in names]
        # What this group says of each tag of all labels
        product *= np.mean(members, axis=0)[:, map_tags(labels, own)]
    totals = product.sum(axis=1, keepdims=True)
    return (product / np.maximum(totals, 1e-300)).astype("float32")


class _Manifest:
    """What is done, with checksums: what a killed call left half-done is not believed."""

    def __init__(self, folder: Path, asked: Dict[str, Any]):
        self.path = folder / MANIFEST
        self.asked = asked
        self.files: Dict[str, Any] = {}
        if self.path.is_file():
            try:
                found = srsly.read_json(self.path)
                before, files = found["asked"], found["files"]
            except (ValueError, KeyError, TypeError):
                raise WeltError(
                    f"{self.path} is not what 'spacy welt distill' writes: use another "
                    "--output"
                ) from None
            if before != asked:
                changed = sorted(
                    k for k in {*before, *asked} if before.get(k) != asked.get(k)
                )
                raise WeltError(
                    f"{folder} was made of something else ({', '.join(changed)} differ): "
                    "use another --output, or delete it"
                )
            self.files = files
        elif folder.is_dir() and any(folder.glob("*.spacy")):
            raise WeltError(
                f"{folder} has .spacy files that 'spacy welt distill' has not written: "
                "use another --output"
            )

    def has(self, name: str, n_docs: int) -> bool:
        known = self.files.get(name)
        path = self.path.parent / name
        return (
            known is not None
            and known["docs"] == n_docs
            and path.is_file()
            and sha256(path.read_bytes()) == known["sha256"]
        )

    def add(self, name: str, content: bytes, n_docs: int) -> None:
        self.files[name] = {"docs": n_docs, "sha256": sha256(content)}
        self._write(None)

    def finish(self, counts: Dict[str, int]) -> None:
        self._write(counts)

    def _write(self, counts: Optional[Dict[str, int]]) -> None:
        told = {"asked": self.asked, "files": self.files, "counts": counts}
        write_atomically(self.path, json.dumps(told, indent=2) + "\n")


def checksum(path: Path) -> str:
    """Get a checksum of a file, or of all files of a folder.

    path (Path): The file or the folder; or the name of an installed pipeline.
    RETURNS (str): The checksum; that of an installed pipeline is its name and version.
    RAISES (WeltError): If the file can't be read.
    """
    try:
        if path.exists():
            return str(get_checksum(path))
        return f"{path} {package_version(str(path))}"
    except PackageNotFoundError:
        raise WeltError(f"{path}: no such file or installed pipeline") from None
    except OSError as err:
        raise WeltError(f"{path}: can't read this file: {err.strerror}") from None
