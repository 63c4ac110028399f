"""Run commands of project.yml for several corpora.

A project file has no loops, and `project.lock` remembers the last run of each
command only. So each corpus gets a lock of its own, in the same form, and what
is up to date is skipped.
"""

import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import piece_vectors
import srsly
import typer
from wasabi import msg
from weasel.cli.run import get_lock_entry, run_commands
from weasel.util.config import load_project_config
from weasel.util.hashing import get_checksum

from welt_spacy import __version__
from welt_spacy.training.weighting import SCHEMES

STEPS = ("train", "calibrate", "evaluate", "package")


def run_steps(
    corpus: str, variables: Dict[str, Any], steps: Sequence[str] = STEPS
) -> None:
    """Run commands of project.yml for one corpus, unless they are up to date.

    corpus (str): A converted corpus.
    variables (Dict[str, Any]): Values for `vars` of project.yml.
    steps (Sequence[str]): The names of the commands.
    """
    root = Path.cwd()
    # Abstracts are what a pipeline is used on
    whole = root / "corpus" / f"{corpus}_docs" / "corpus.json"
    documents = "_docs" if whole.is_file() else ""
    variables = {"documents": documents, **variables, "corpus": corpus}
    project = _load(root, variables)
    commands = {command["name"]: command for command in project["commands"]}
    vectors = project["vars"]["piece_vectors"]
    config = project["vars"]["config"]
    if vectors != piece_vectors.NONE and config in piece_vectors.CPU_CONFIGS:
        commands["train"]["deps"].append(vectors)
    lock_path = root / "training" / config / f"{corpus}.lock"
    lock = srsly.read_yaml(lock_path) if lock_path.exists() else {}
    for step in steps:
        command = commands[step]
        missing = [dep for dep in command["deps"] if not (root / dep).exists()]
        if missing:
            sys.exit(
                f"✘ {corpus}: {missing[0]} is missing. Can the corpus be reached? "
                "'python -m spacy project run corpora' fetches and converts them."
            )
        entry = _entry(root, command)
        if entry is not None and entry == lock.get(step):
            print(f"✔ {corpus}: {step} is up to date", flush=True)
            continue
        print(f"\n{'=' * 20} {corpus}: {step} {'=' * 20}", flush=True)
        run_commands(command["script"])
        lock[step] = _entry(root, command)
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        srsly.write_yaml(lock_path, lock)


def find_vectors(variables: Dict[str, Any]) -> Dict[str, Any]:
    """Make the static vectors that the small CPU model has beside its own, or say that
    it is trained without them.

    variables (Dict[str, Any]): Values for `vars` of project.yml.
    RETURNS (Dict[str, Any]): The same, and "piece_vectors" as it is to be.
    """
    found = _load(Path.cwd(), variables)["vars"]
    path = found["piece_vectors"]
    if found["config"] not in piece_vectors.CPU_CONFIGS or path == piece_vectors.NONE:
        return {**variables, "piece_vectors": piece_vectors.NONE}
    if not piece_vectors.make(Path(path)):
        msg.warn(
            "No vectors of word pieces: their encoder can't be fetched. The model is "
            "trained without them, and finds fewer of the names that are not in its "
            "training data (test F1 on BC5CDR: 1.3 lower)."
        )
        path = piece_vectors.NONE
    return {**variables, "piece_vectors": path}


def _load(root: Path, variables: Dict[str, Any]) -> Dict[str, Any]:
    overrides = {f"vars.{name}": value for name, value in variables.items()}
    project = load_project_config(root, overrides=overrides)
    # Overrides are put into the commands; "vars" are as they are in the file.
    return {**project, "vars": {**project["vars"], **variables}}


def _entry(root: Path, command: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    outputs = [*command.get("outputs", []), *command.get("outputs_no_cache", [])]
    if not all((root / output).exists() for output in outputs):
        return None
    entry = get_lock_entry(root, command)
    entry["welt_spacy_version"] = __version__
    for row in entry["outs"]:  # left out by weasel where there is no cache
        row["md5"] = get_checksum(root / row["path"])
    return entry


def main(corpora: str, set: List[str] = typer.Option([])) -> None:
    variables = dict(item.split("=", 1) for item in set)
    names = corpora.split()
    if not names:
        sys.exit("✘ vars.corpora is empty: name one or more corpora, e.g. bc5cdr")
    if (scheme := variables.get("scheme")) not in (None, *SCHEMES):
        sys.exit(
            f"✘ vars.scheme: no weighting scheme is called {scheme!r}: use one of "
            f"{', '.join(SCHEMES)}"
        )
    variables = find_vectors(variables)
    for corpus in names:
        run_steps(corpus, variables)
    print(f"\n✔ Packages of {', '.join(names)} are in packages/")


if __name__ == "__main__":
    typer.run(main)
