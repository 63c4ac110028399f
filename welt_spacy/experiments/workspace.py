"""The places of an experiment: its folder, the corpora, and the storage of other machines."""

from dataclasses import dataclass
from pathlib import Path

import srsly

from ..errors import WeltError
from ..util.files import write_atomically
from ..util.fingerprint import get_versions
from . import layout
from .remote import Storage


@dataclass(frozen=True)
class Workspace:
    """The places of an experiment.

    output (Path): Its folder.
    corpora (Path): The folder of the converted corpora.
    remote (Storage | None): The storage that machines without a common file system share.
    """

    output: Path
    corpora: Path
    remote: Storage | None = None

    @property
    def plan(self) -> Path:
        """The file with the names of all runs."""
        return layout.get_plan(self.output)

    @property
    def results(self) -> Path:
        """The folder of the Parquet data set."""
        return self.output / "results"

    def get_split(self, corpus: str, split: str) -> Path:
        """Return the file of a split of a corpus."""
        return layout.get_split(self.corpora, corpus, split)

    def get_selected(self, corpus: str, digest: str) -> Path:
        """Return the file of selected training data."""
        return self.output / "selected" / f"{corpus}-{digest[:16]}.spacy"

    def get_run(self, name: str) -> layout.RunFolder:
        """Return the folder of a run."""
        return layout.get_run(self.output, name)

    def find_runs(self) -> list[layout.RunFolder]:
        """Return the folders of all runs that have a record."""
        paths = sorted(self.output.glob(f"runs/*/{layout.RECORD}"))
        return [layout.RunFolder(path.parent) for path in paths]

    def write_plan(self, names: list[str]) -> None:
        """Write the names of all runs, and the versions of packages that run them."""
        write_atomically(
            self.plan, layout.to_json({"runs": names, "versions": get_versions()})
        )

    def read_plan(self) -> tuple[list[str], dict[str, str]]:
        """Return the names of all runs, and versions of packages. Raise a `WeltError` if there
        is no plan.
        """
        try:
            plan = srsly.read_json(self.plan)
            return list(map(str, plan["runs"])), dict(plan["versions"])
        except (OSError, ValueError, KeyError, TypeError):
            raise WeltError(
                f"{self.output}: no experiment was started here. Start it with 'spacy welt "
                "experiment run'"
            ) from None
