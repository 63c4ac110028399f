"""The work of one process: shard after shard, until none is left.

python -m welt_spacy.annotation.worker PARENT FOLDER GPU_ID PART MAX_ERRORS
"""

import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import WeltError
from ..parallel.claims import Claim, Claims, part, share_work
from ..parallel.processes import end_with_parent
from ..util.pipelines import load_pipeline
from .annotator import Pipeline, Pipelines
from .plan import Plan, read_plan
from .shards import CLAIMS, annotate_shard, done, is_done, read_record


class TooManyErrors(WeltError):
    """More documents were refused than are allowed."""


def load_pipelines(plan: Plan, *, gpu_id: int = -1) -> Pipelines:
    """Load the pipelines of a plan.

    plan (Plan): The plan.
    gpu_id (int): The GPU; -1 for the CPU.
    RETURNS (Pipelines): The pipelines.
    RAISES (WeltError): If one can't be loaded.
    """
    loaded = [
        Pipeline(told["name"], load_pipeline(Path(told["place"]), gpu_id=gpu_id))
        for told in plan.settings.pipelines
    ]
    return Pipelines(loaded, max_chars=plan.settings.max_chars)


class Rejects:
    """Counts the documents that were refused in all shards that are done.

    folder (Path): The folder of the output.
    most (int | None): How many are allowed; None: any number.
    """

    def __init__(self, folder: Path, most: int | None) -> None:
        self.folder, self.most = folder, most
        self._known: dict[str, int] = {}

    def check(self) -> None:
        """RAISES (TooManyErrors): If there are more than allowed."""
        if self.most is None:
            return
        for name in done(self.folder) - set(self._known):
            self._known[name] = read_record(self.folder, name).get("rejects", 0)
        n = sum(self._known.values())
        if n > self.most:
            raise TooManyErrors(
                f"{n:,} documents were refused, more than --max-errors {self.most:,}: see "
                f"{self.folder / 'rejects'}. Raise it, and the run goes on where it is"
            )


def work(
    folder: Path,
    plan: Plan,
    load: Callable[[], Pipelines],
    *,
    own: str | None = None,
    max_errors: int | None = None,
) -> None:
    """Annotate shards that nobody else is at, until all are done.

    folder (Path): The folder of the output.
    plan (Plan): Its plan.
    load (Callable[[], Pipelines]): Loads the pipelines; called if there is anything to do.
    own (str | None): Which part of the shards, such as "3/16"; None: all.
    max_errors (int | None): How many documents may be refused; None: any number.
    RAISES (WeltError): If the work can't go on.
    """
    number, n_parts = part(own)
    shards = {shard.name: shard for shard in plan.shards[number::n_parts]}
    rejects = Rejects(folder, max_errors)
    pipelines: Pipelines | None = None

    def annotate(name: str, claim: Claim) -> None:
        nonlocal pipelines
        rejects.check()
        if pipelines is None:
            claim.tell(state="loading")
            pipelines = load()
        annotate_shard(
            plan,
            shards[name],
            pipelines,
            folder,
            report=lambda progress: claim.tell(**progress._asdict()),
        )

    finished = done(folder)
    left = [name for name in shards if name not in finished]
    share_work(
        Claims(folder / CLAIMS), left, lambda name: is_done(folder, name), annotate
    )
    rejects.check()


def main() -> None:
    """Work as a process of its own, which ends with the one that started it."""
    parent, told, gpu_id, own, most = sys.argv[1:]
    end_with_parent(int(parent))
    folder = Path(told)
    try:
        plan = read_plan(folder)
        work(
            folder,
            plan,
            lambda: load_pipelines(plan, gpu_id=int(gpu_id)),
            own=own or None,
            max_errors=int(most) if most else None,
        )
    except WeltError as err:
        sys.exit(f"✘ {err}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
