"""Malformed input, threads and kills: does anything break, is anything lost?

    python benchmarks/fuzz.py --cases 10000 --kills 200 --output training/benchmarks/fuzz.json

Cases are numbered: `--seed 7 --only readers` makes the same ones again. tests/fuzz runs a
few of them.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import string
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import spacy
import typer
from spacy.tokens import DocBin
from typer.testing import CliRunner

from welt_spacy.cli import app
from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.convert import convert_file
from welt_spacy.corpora.corpus_folder import convert_corpus, is_converted
from welt_spacy.errors import WeltError
from welt_spacy.experiments.grid import read_grid
from welt_spacy.experiments.jobs import make_jobs
from welt_spacy.experiments.results import read_results
from welt_spacy.experiments.workspace import Workspace
from welt_spacy.formats.problems import Report
from welt_spacy.packaging.push import read_package, write_repository
from welt_spacy.tokens.docs import read_docs
from welt_spacy.util.pipelines import load_pipeline

# Seconds that a single case may take
LIMIT = 20

IOB = "Selegiline\tB-Chemical\n-\tO\ninduced\tO\npostural\tB-Disease\nhypotension\tI-Disease\n\nNo\tO\nnausea\tB-Disease\n"
PUBTATOR = "1|t|Aspirin helps.\n1|a|Less chest pain.\n1\t0\t7\tAspirin\tChemical\tD1\n1\t20\t30\tchest pain\tDisease\n1\tCID\tD1\tD2\n\n2|t|Nothing\n2|a|\n"
BIOC = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>x</source><date/><key/><document><id>1</id>
<passage><offset>0</offset><text>Aspirin helps.</text><annotation id="1">
<infon key="type">Chemical</infon><location offset="0" length="7"/><text>Aspirin</text>
</annotation></passage><passage><offset>15</offset><text>Less chest pain.</text></passage>
</document></collection>
"""
ANN = "T1\tChemical 0 7\tAspirin\nT2\tDisease 20 30;32 33\tchest pain\nR1\tTreats Arg1:T1 Arg2:T2\n"
TXT = "Aspirin helps. Less chest pain."
GRID = """config: welt_cpu.cfg
corpora: [bc5cdr]
schemes:
  vanilla: {"@misc": welt_spacy.vanilla_weights.v1}
  ens: {"@misc": welt_spacy.ens_weights.v1, beta: 0.3}
seeds: [0, 1]
overrides: {training.max_steps: 2}
tuned: {vanilla: [o_bias]}
"""

SNIPPETS = [
    *(
        "\x00",
        "\ufeff",
        "\u2028",
        "\u200b",
        "𝛽",
        "é",
        "漢",
        "\r",
        "\t",
        "\n",
        "\n\n",
        " ",
    ),
    *("-1", "²", "٣", "9" * 30, "9" * 5000, "1e309", "nan", "inf", "-0", "0x10", "1_0"),
    *(
        "[/x]",
        "[bold]",
        "{",
        "}",
        "[",
        "]",
        "&amp;",
        "&lol;",
        "<a>",
        "</passage>",
        "<!--",
    ),
    *(
        "../../x",
        "${x}",
        "%s",
        "\\",
        '"',
        "'",
        "B-",
        "I-X",
        "|t|",
        "null",
        "true",
        "!!",
    ),
    '<!DOCTYPE x [<!ENTITY lol "lol"><!ENTITY a "&lol;&lol;&lol;">]>',
    '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>',
    'encoding="klingon"',
    'encoding="utf-16"',
    "<x>" * 2000,
]


GOOD = (
    *("taken", "refused in one line"),
    *("killed, and made good", "ended before it was killed"),
)


class Case(NamedTuple):
    """What came of one case.

    part (str): Which kind of input.
    seed (int): Makes the case again.
    outcome (str): "taken", "refused in one line", or what broke.
    told (str): The message, or the traceback of what broke.
    """

    part: str
    seed: int
    outcome: str
    told: str = ""

    @property
    def broke(self) -> bool:
        return self.outcome not in GOOD


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damage some content: the more seldom the worse."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        kind = rng.randrange(9)
        at = rng.randrange(len(data) + 1)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind in (2, 3, 4):
            snippet = rng.choice(SNIPPETS).encode("utf8")
            data = data[:at] + snippet + data[at + rng.choice([0, 0, 1, 5]) :]
        elif kind == 5:
            end = min(len(data), at + rng.randrange(40))
            data = data[:end] + data[at:end] * rng.choice([1, 2, 50]) + data[end:]
        elif kind == 6:
            lines = data.split(b"\n")
            rng.shuffle(lines)
            data = b"\n".join(lines)
        elif kind == 7:
            end = min(len(data), at + rng.randrange(40))
            data = data[:at] + data[end:]
        else:
            digits = [i for i, byte in enumerate(data) if chr(byte).isdigit()]
            if digits:
                i = rng.choice(digits)
                new = rng.choice(["-1", "²", "99999999999", "9" * 4500, "", "x"])
                data = data[:i] + new.encode("utf8") + data[i + 1 :]
    return data


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Where the main thread runs: a case that hangs is one that broke."""

    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(part: str, seed: int, call: Callable[[], Any]) -> Case:
    """Run a case: it may be taken, or refused with one line."""
    try:
        with time_limit(LIMIT):
            call()
    except WeltError as err:
        lines = len(str(err).splitlines())
        if lines != 1 or len(str(err)) > 1500:
            return Case(part, seed, "long message", str(err)[:2000])
        return Case(part, seed, "refused in one line", str(err))
    except BaseException as err:
        return Case(part, seed, type(err).__name__, traceback.format_exc()[-3000:])
    return Case(part, seed, "taken")


class Workplace:
    """A folder with a trained pipeline, data, a package and an experiment."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model = folder / "model"
        nlp = spacy.blank("en")
        nlp.add_pipe("welt_ner", config={"spans_key": "welt_ner", "model": _MODEL})
        for name, text in (("x.tsv", IOB), ("x.pubtator", PUBTATOR), ("x.xml", BIOC)):
            (folder / name).write_text(text, encoding="utf8")
        (folder / "brat").mkdir()
        (folder / "brat" / "x.txt").write_text(TXT, encoding="utf8")
        (folder / "brat" / "x.ann").write_text(ANN, encoding="utf8")
        docs = convert_file(folder / "x.tsv", "iob", vocab=nlp.vocab).docs * 8
        examples = [spacy.training.Example(doc.copy(), doc) for doc in docs]
        optimizer = nlp.initialize(lambda: examples)
        optimizer.learn_rate = 0.01
        for _ in range(10):
            nlp.update(examples, sgd=optimizer)
        nlp.to_disk(self.model)
        self.data = folder / "gold.spacy"
        DocBin(docs=docs, store_user_data=True).to_disk(self.data)
        self.wheel = folder / "en_x-0.1.0-py3-none-any.whl"
        meta = {**nlp.meta, "name": "x", "version": "0.1.0"}
        with zipfile.ZipFile(self.wheel, "w") as wheel:
            for path in sorted(self.model.rglob("*")):
                if path.is_file() and path.name != "meta.json":
                    wheel.write(path, f"en_x/en_x-0.1.0/{path.relative_to(self.model)}")
            wheel.writestr("en_x/en_x-0.1.0/meta.json", json.dumps(meta))
        self.corpus = get_corpus("bc5cdr")
        self.files = {}
        for split in ("train", "dev", "test"):
            self.files[split] = folder / f"{split}.tsv"
            self.files[split].write_text(IOB * 4, encoding="utf8")
        convert_corpus(self.corpus, self.files, folder / "data" / "bc5cdr")
        CliRunner().invoke(app, ["config", str(folder / "welt_cpu.cfg"), "-e", "cpu"])
        (folder / "grid.yml").write_text(GRID, encoding="utf8")
        with (
            contextlib.chdir(folder) if sys.version_info >= (3, 11) else _chdir(folder)
        ):
            self.grid = read_grid(folder / "grid.yml")
        (folder / "out").mkdir()
        self.wanted = results(nlp, _texts(60))
        self.backup = shutil.copytree(folder, folder.parent / "backup")
        self.sums = _sums(folder)

    def restore(self) -> set[str]:
        """Put everything back as it was at first.

        RETURNS (set[str]): What was there and has changed.
        """
        now = _sums(self.folder)
        changed = {name for name, told in self.sums.items() if now.get(name) != told}
        if now != self.sums:
            shutil.rmtree(self.folder)
            shutil.copytree(self.backup, self.folder)
        return changed


_MODEL = {
    "@architectures": "welt_spacy.TokenClassifier.v1",
    "tok2vec": {
        "@architectures": "spacy.HashEmbedCNN.v2",
        **{"pretrained_vectors": None, "width": 32, "depth": 1, "embed_size": 200},
        **{"window_size": 1, "maxout_pieces": 2, "subword_features": True},
    },
}


@contextlib.contextmanager
def _chdir(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _texts(n: int) -> list[str]:
    rng = random.Random(0)

    def word() -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9)))

    return [" ".join(word() for _ in range(rng.randint(1, 40))) for _ in range(n)]


def results(nlp: Any, texts: list[str]) -> list[Any]:
    """What the pipeline finds, to the bit."""
    found = []
    for text in texts:
        doc = nlp(text)  # a group does not keep its doc
        spans = doc.spans["welt_ner"]
        ents = [(ent.label_, ent.start, ent.end) for ent in spans]
        found.append((ents, spans.attrs["scores"].tobytes()))
    return found


# Readers


def fuzz_reader(place: Workplace, seed: int) -> Case:
    """Damage one input of one reader."""
    rng = random.Random(seed)
    part, make = rng.choice(list(_readers(place).items()))
    with tempfile.TemporaryDirectory() as folder:
        return attempt(f"reader of {part}", seed, make(Path(folder), rng))


Maker = Callable[[Path, random.Random], Callable[[], Any]]


def _readers(place: Workplace) -> dict[str, Maker]:
    def file(name: str, format: str) -> Maker:
        def make(folder: Path, rng: random.Random) -> Callable[[], Any]:
            path = folder / name
            path.write_bytes(mutate((place.folder / name).read_bytes(), rng))
            settings = {
                "n_sents": rng.choice([0, 1, 3]),
                "types": rng.choice([None, {"Chemical": "X"}]),
                "label": rng.choice([None, "L"]),
                "report": Report(strict=rng.random() < 0.2),
            }
            return lambda: convert_file(path, format, **settings)  # type: ignore[arg-type]

        return make

    def brat(folder: Path, rng: random.Random) -> Callable[[], Any]:
        for name in ("x.ann", "x.txt"):
            data = (place.folder / "brat" / name).read_bytes()
            (folder / name).write_bytes(mutate(data, rng))
        return lambda: convert_file(folder, "brat")

    def docs(folder: Path, rng: random.Random) -> Callable[[], Any]:
        path = folder / "x.spacy"
        path.write_bytes(mutate(place.data.read_bytes(), rng))
        return lambda: read_docs(path, spacy.blank("en").vocab)

    def pipeline(folder: Path, rng: random.Random) -> Callable[[], Any]:
        shutil.copytree(place.model, folder / "model")
        files = sorted(p for p in (folder / "model").rglob("*") if p.is_file())
        path = rng.choice(files)
        path.write_bytes(mutate(path.read_bytes(), rng))

        def load() -> None:
            load_pipeline(folder / "model")("Aspirin helps.")

        return load

    def grid(folder: Path, rng: random.Random) -> Callable[[], Any]:
        path = folder / "grid.yml"
        path.write_bytes(mutate(GRID.encode("utf8"), rng))

        def read() -> None:
            with _chdir(place.folder):
                read_grid(path).runs()

        return read

    def package(folder: Path, rng: random.Random) -> Callable[[], Any]:
        path = folder / place.wheel.name
        path.write_bytes(mutate(place.wheel.read_bytes(), rng))
        return lambda: write_repository(read_package(path), folder / "hub")

    def corpus(folder: Path, rng: random.Random) -> Callable[[], Any]:
        output = shutil.copytree(place.folder / "data" / "bc5cdr", folder / "corpus")
        path = rng.choice(sorted(output.iterdir()))
        before = path.read_bytes()
        path.write_bytes(mutate(before, rng))
        same = path.read_bytes() == before

        def check() -> None:
            found = is_converted(place.corpus, place.files, output)
            assert not found or same or path.name == "welt.json", path.name

        return check

    def run(folder: Path, rng: random.Random) -> Callable[[], Any]:
        workspace = Workspace(folder, place.folder / "data")
        with _chdir(place.folder):
            job = make_jobs(place.grid, workspace)[0]
        scores = {f"{way}_{key}": 0.5 for way in ("strict", "fair") for key in "prf"}
        keys = ("corpus", "encoder", "selection", "scheme", "seed")
        row = {key: getattr(job.run, key) for key in keys}
        row.update(scores, tuned="", by_doc=[[1, 2, 2]], train_seconds=1.0, peak_mb=1)
        row.update(docs=1, seconds=2.0)
        with workspace.get_run(job.name).open() as output:
            output.start(job.fingerprint)
            data = json.dumps([row]).encode("utf8")
            output.add("metrics.json", mutate(data, rng))
            output.finish()
        record = output.path / "run.json"
        if rng.random() < 0.5:
            record.write_bytes(mutate(record.read_bytes(), rng))

        def read() -> None:
            with _chdir(place.folder):
                read_results(place.grid, workspace)

        return read

    return {
        "IOB": file("x.tsv", "iob"),
        "PubTator": file("x.pubtator", "pubtator"),
        "BioC": file("x.xml", "bioc"),
        "brat": brat,
        ".spacy": docs,
        "pipelines": pipeline,
        "experiments": grid,
        "packages": package,
        "converted corpora": corpus,
        "results": run,
    }


# Options of all commands


VALUES = [
    *("", "-", "--", "x", "0", "1", "-1", "1e9", "nan", "inf", "-inf", "9" * 400, "²"),
    *(
        "[/x]",
        "a=b",
        "beta=nan",
        "=",
        "f1",
        "f0",
        "f1e400",
        "recall>=2",
        "precision>=.9",
    ),
    *(
        "o_bias",
        "threshold",
        "int8",
        "welt",
        "explicit",
        "cpu",
        "${x}",
        "𝛽",
        "\n",
        "a\tb",
    ),
    *(
        "bc5cdr",
        "iob",
        "bioc",
        "model",
        "gold.spacy",
        "x.tsv",
        "x.xml",
        "brat",
        "grid.yml",
    ),
    *(".", "..", "/dev/null", "none/x", "out", "out/x", "gold.spacy/x", "model/x"),
    *(
        "en_x-0.1.0-py3-none-any.whl",
        "org/name",
        "corpus",
        "../x",
        "~",
        "model/config.cfg",
    ),
]
SENSIBLE = {
    "convert": ["x.tsv", "out/{n}.spacy"],
    "config": ["out/{n}.cfg"],
    "evaluate": ["model", "gold.spacy"],
    "compare": ["model", "gold.spacy", "gold.spacy"],
    "tune": ["decoding", "model", "gold.spacy", "out/{n}"],
    "optimize": ["model", "out/{n}"],
    "annotate": ["model", "x.tsv", "out/{n}"],
    "push": [
        "en_x-0.1.0-py3-none-any.whl",
        "--repo",
        "a/b",
        "--dry-run",
        "-o",
        "out/{n}",
    ],
    "experiment run": ["grid.yml"],
    "experiment plan": ["grid.yml"],
    "experiment status": ["grid.yml"],
    "experiment results": ["grid.yml"],
    "experiment compare-paper": ["grid.yml"],
    "corpora list": [],
    "corpora fetch": ["bc5cdr", "--offline"],
    "corpora convert": ["bc5cdr", "--offline"],
    "corpora stats": ["bc5cdr", "--offline"],
}


def fuzz_options(place: Workplace, seed: int) -> Case:
    """A command with arguments and options that are partly nonsense. What is there
    before is there afterwards."""
    rng = random.Random(seed)
    command = rng.choice(list(SENSIBLE))
    words = [word.format(n=seed) for word in SENSIBLE[command]]
    for i in range(len(words)):
        if rng.random() < 0.3:
            words[i] = rng.choice(VALUES)
    options = [
        param.opts[-1]
        for param in _command(command).params
        if param.opts[0].startswith("-")
    ]
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        option = rng.choice([*options, "--help"])
        if option != "--help" and not (command == "push" and option == "--dry-run"):
            words += [option, rng.choice(VALUES)]
    if command == "push" and "--dry-run" not in words:
        words.append("--dry-run")
    if command.startswith("corpora ") and "--offline" not in words and words:
        words.append("--offline")
    if command in ("experiment run", "experiment plan"):
        words += ["--corpora", "none"]  # no trainings here
    told = f"{command} {words}"
    with _chdir(place.folder), time_limit(6 * LIMIT):
        try:
            result = CliRunner().invoke(app, [*command.split(), *words])
        except TimeoutError:
            return Case("options of commands", seed, "TimeoutError", told)
    if changed := place.restore() - set(words):
        return Case("options of commands", seed, f"{sorted(changed)} changed", told)
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        trace = "".join(traceback.format_exception(error))
        return Case(
            "options of commands", seed, type(error).__name__, f"{told}\n{trace}"
        )
    outcome = "taken" if result.exit_code == 0 else "refused in one line"
    return Case("options of commands", seed, outcome, told)


def _command(name: str) -> Any:
    found: Any = typer.main.get_command(app)
    for part in name.split():
        found = found.commands[part]
    return found


def _sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Threads


def hammer(
    model: Path,
    wanted: list[Any],
    threads: int,
    calls: int,
    texts: list[str] | None = None,
) -> Counter:
    """Call one loaded pipeline from many threads, and compare with one thread.

    wanted (list[Any]): What `results` gives in one thread.
    texts (list[str] | None): For these texts; random words if not set.
    RETURNS (Counter): How often the result was equal, different or an error.
    """
    nlp = spacy.load(model)
    texts = _texts(len(wanted)) if texts is None else texts
    outcomes: Counter = Counter()
    lock = threading.Lock()

    def call(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(calls):
            i = rng.randrange(len(texts))
            try:
                told = "equal" if results(nlp, [texts[i]]) == [wanted[i]] else "differs"
            except Exception as err:
                told = repr(err)[:200]
            with lock:
                outcomes[told] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(call, range(threads)))
    finally:
        sys.setswitchinterval(interval)
    told = "equal" if results(nlp, texts) == wanted else "differs"
    outcomes[f"afterwards, one thread: {told}"] += 1
    return outcomes


# Kills


class Killed(NamedTuple):
    """A command that is killed and run again.

    words (list[str]): Its arguments.
    outputs (list[str]): What it writes, from the folder of the workplace.
    """

    words: list[str]
    outputs: list[str]


KILLED = {
    "convert": Killed(["convert", "x.pubtator", "kill/x.spacy"], ["kill/x.spacy"]),
    "corpora convert": Killed(
        [*("corpora", "convert", "biored_disease", "--offline", "--output", "kill")],
        ["kill/biored_disease"],
    ),
    "corpora fetch": Killed(
        ["corpora", "fetch", "biored_disease", "--offline", "--cache", "kill/cache"],
        ["kill/cache"],
    ),
    "config": Killed(["config", "kill/x.cfg", "-e", "cpu"], ["kill/x.cfg"]),
    "evaluate": Killed(
        [
            *("evaluate", "model", "gold.spacy", "--json", "kill/x.json"),
            *("--html", "kill/x.html"),
        ],
        ["kill/x.html"],  # speeds are in the figures
    ),
    "tune --force": Killed(
        ["tune", "decoding", "model", "gold.spacy", "kill/tuned", "--force"],
        ["kill/tuned"],
    ),
    "push --dry-run": Killed(
        [
            *("push", "en_x-0.1.0-py3-none-any.whl", "--repo", "a/b", "--dry-run"),
            *("--output", "kill/hub"),
        ],
        ["kill/hub"],
    ),
}


# They write several files, each of them whole; corpus.json, the last one of a corpus, says
# that all are there
SEVERAL = ("corpora convert", "corpora fetch")


def kill_and_rerun(place: Workplace, seed: int, span: dict[str, float]) -> Case:
    """Kill a command at a random moment. Whatever was there is there, old or new but
    whole; run again, it ends as if nothing had happened."""
    rng = random.Random(seed)
    name = rng.choice(list(KILLED))
    killed = KILLED[name]
    folder = place.folder / "kill"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if name not in span:
        started = time.perf_counter()
        _run_child(place, killed.words)
        span[name] = time.perf_counter() - started
        shutil.rmtree(folder)
        folder.mkdir()
    had_before = rng.random() < 0.5 and name != "push --dry-run"
    if had_before:
        _run_child(place, killed.words)
    old = {out: _tree(place.folder / out) for out in killed.outputs}
    before = _inputs(place)
    finished = _run_child(place, killed.words, after=rng.uniform(0, span[name]))
    if _inputs(place) != before:
        return Case(f"kill of {name}", seed, "inputs changed")
    between = {out: _tree(place.folder / out) for out in killed.outputs}
    words = list(killed.words)
    if name == "push --dry-run" and between["kill/hub"] is not None:
        shutil.rmtree(place.folder / "kill/hub")
    if not _run_child(place, words):
        return Case(f"kill of {name}", seed, "fails when run again", str(words))
    after = {out: _tree(place.folder / out) for out in killed.outputs}
    for out in killed.outputs:
        whole = (None, old[out], after[out])
        if between[out] not in whole and name not in SEVERAL:
            return Case(f"kill of {name}", seed, "half-written", out)
        if had_before and between[out] is None and name not in SEVERAL:
            aside = folder / ".tuned.welt-old"
            if name != "tune --force" or _tree(aside) not in (None, old[out]):
                return Case(f"kill of {name}", seed, "lost", out)
        if had_before and after[out] != old[out]:
            return Case(f"kill of {name}", seed, "another result", out)
    left = [
        p.name for p in folder.iterdir() if p.name.endswith((".lock", "-new", "-old"))
    ]
    if left:
        return Case(f"kill of {name}", seed, "leftovers", str(left))
    outcome = "ended before it was killed" if finished else "killed, and made good"
    return Case(f"kill of {name}", seed, outcome)


def _inputs(place: Workplace) -> dict[str, str]:
    sums = _sums(place.folder).items()
    return {name: told for name, told in sums if not name.startswith("kill/")}


def _tree(path: Path) -> dict[str, str] | None:
    if not path.exists():
        return None
    files = (
        [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    )
    return {
        str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.name != "meta.json"  # has the speed
    }


def _run_child(place: Workplace, words: list[str], after: float | None = None) -> bool:
    """Run a command in a fork of this process, which has all imports done.

    after (float | None): Seconds until it is killed.
    RETURNS (bool): Whether it ended by itself, with status 0.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.chdir(place.folder)
            silent = io.StringIO()
            with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
                try:
                    status = int(app(words, standalone_mode=False) or 0)
                except SystemExit as err:
                    status = int(err.code or 0)
        finally:
            os._exit(status)
    limit = time.perf_counter() + (LIMIT if after is None else after)
    while time.perf_counter() < limit:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def run_cases(
    place: Workplace, kind: str, n: int, seed: int, show: bool = False
) -> list[Case]:
    """Run numbered cases of one kind: "readers", "options" or "kills"."""
    found = []
    span: dict[str, float] = {}
    for i in range(seed, seed + n):
        if kind == "readers":
            found.append(fuzz_reader(place, i))
        elif kind == "options":
            found.append(fuzz_options(place, i))
        else:
            found.append(kill_and_rerun(place, i, span))
        if show and found[-1].broke:
            print(f"✘ seed {i}: {found[-1]}", file=sys.stderr)
    return found


def main(
    cases: int = 10_000,
    kills: int = 200,
    threads: int = 16,
    calls: int = 1_000,
    seed: int = 0,
    only: str = "readers,options,kills,threads",
    output: Path | None = None,
) -> None:
    kinds = only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("WELT_CORPORA_CACHE", str(Path(folder) / "cache"))
        (Path(folder) / "work").mkdir()
        place = Workplace(Path(folder) / "work")
        found: list[Case] = []
        started = time.perf_counter()
        for kind, n in (
            ("readers", cases // 2),
            ("options", cases - cases // 2),
            ("kills", kills),
        ):
            if kind in kinds:
                found += run_cases(place, kind, n, seed, show=True)
        told: dict[str, Any] = {
            part: dict(Counter(c.outcome for c in found if c.part == part))
            for part in sorted({case.part for case in found})
        }
        if "threads" in kinds:
            outcomes = hammer(place.model, place.wanted, threads, calls)
            told[f"{threads} threads x {calls} calls"] = dict(outcomes)
    print(json.dumps(told, indent=2))
    print(f"{time.perf_counter() - started:.0f} s, {sum(c.broke for c in found)} broke")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        broken = [case._asdict() for case in found if case.broke]
        output.write_text(json.dumps({"table": told, "broken": broken}, indent=2))
    if any(case.broke for case in found):
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
