"""Shards on a Ray cluster: Ray places actors that hold the pipelines, and each gets a shard
at a time.

The driver gives out shards itself. A lost actor's shard goes to another one; since a shard
done twice gives the same files, that is all there is to it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import WeltError, first_line
from ..parallel.claims import Claims
from ..parallel.pool import INTERVAL
from ..parallel.processes import thread_variables
from ..parallel.ray import connect_ray
from .annotator import Pipelines
from .plan import Plan, read_plan
from .shards import CLAIMS, annotate_shard, done
from .status import Status, Watch
from .worker import Rejects, load_pipelines

# Seconds for the resources of an earlier run to be free again
SETTLE = 5.0
# How often a shard may take its process with it
MOST_DEATHS = 3


class Worker:
    """An actor: a process on some node, with the pipelines.

    folder (str): The folder of the output, which all nodes see.
    gpu (bool): Whether Ray has given it a GPU.
    """

    def __init__(self, folder: str, gpu: bool) -> None:
        self.folder = Path(folder)
        self.plan = read_plan(self.folder)
        self.claims = Claims(self.folder / CLAIMS)
        self.gpu = gpu
        self.pipelines: Pipelines | None = None

    def annotate(self, number: int) -> None:
        """Annotate a shard.

        number (int): Its number in the plan.
        """
        shard = self.plan.shards[number]
        # The driver knows that nobody else is at it: a claim is for who looks at the folder
        with self.claims.take(shard.name) as claim:
            if self.pipelines is None:
                # Here, so that what is wrong with them comes back as an error. Ray shows
                # the process its own GPU alone.
                self.pipelines = load_pipelines(self.plan, gpu_id=0 if self.gpu else -1)
            annotate_shard(
                self.plan,
                shard,
                self.pipelines,
                self.folder,
                report=lambda progress: (
                    claim.tell(**progress._asdict()) if claim else None
                ),
            )


def run_ray(
    folder: Path,
    plan: Plan,
    *,
    workers: int,
    address: str = "auto",
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    max_errors: int | None = None,
    show: Callable[[Status], None] = lambda status: None,
) -> None:
    """Annotate on a Ray cluster, until all shards are done.

    folder (Path): The folder of the output, which all nodes see under the same name.
    plan (Plan): Its plan.
    workers (int): How many actors.
    address (str): The cluster; "local" starts one on this machine. Not used where Ray is
        connected already.
    num_cpus, num_gpus (float): What each actor needs.
    max_errors (int | None): How many documents may be refused; None: any number.
    show (Callable[[Status], None]): Told how far the run is.
    RAISES (WeltError): If the cluster can't be reached, no actor would find room in it, or
        the work can't go on. What is done is kept.
    """
    with connect_ray(address) as ray:
        _check_room(ray, workers, num_cpus, num_gpus)
        make = ray.remote(Worker).options(
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            max_restarts=0,
            runtime_env={"env_vars": thread_variables(plan.settings.threads)},
        )
        run = _Run(
            ray,
            lambda: make.remote(str(folder.resolve()), num_gpus > 0),
            folder,
            plan,
            Rejects(folder, max_errors),
        )
        run.go(workers, show)


def _check_room(ray: Any, workers: int, num_cpus: float, num_gpus: float) -> None:
    """RAISES (WeltError): If actors would wait for ever: Ray does so without a word."""
    deadline = time.monotonic() + SETTLE
    while told := _lacking(ray, workers, {"CPU": num_cpus, "GPU": num_gpus}):
        # What an earlier run has given back is not counted at once
        if time.monotonic() > deadline:
            raise WeltError(told)
        time.sleep(INTERVAL)


def _lacking(ray: Any, workers: int, needs: dict[str, float]) -> str:
    for name, need in needs.items():
        free, total = (
            found.get(name, 0.0)
            for found in (ray.available_resources(), ray.cluster_resources())
        )
        if need * workers <= free:
            continue
        has = f"the cluster has {total:g}, of which {free:g} are free"
        if fit := int(free // need):
            return (
                f"{workers} actors need {need * workers:g} {name}s; {has}: use --workers "
                f"{fit}"
            )
        return (
            f"an actor needs {need:g} {name}s; {has}: wait, add nodes, or ask for less with "
            f"--num-{name.lower()}s"
        )
    return ""


class _Run:
    def __init__(
        self,
        ray: Any,
        make: Callable[[], Any],
        folder: Path,
        plan: Plan,
        rejects: Rejects,
    ) -> None:
        self.ray, self.make, self.rejects = ray, make, rejects
        finished = done(folder)
        self.plan = plan
        self.left = [
            i for i, shard in enumerate(plan.shards) if shard.name not in finished
        ][::-1]
        self.watch = Watch(folder, plan)
        self.deaths: dict[int, int] = {}

    def go(self, workers: int, show: Callable[[Status], None]) -> None:
        running: dict[Any, Any] = {}  # what is awaited -> actor, shard
        actors: list[Any] = []

        def give(actor: Any) -> None:
            if self.left:
                number = self.left.pop()
                running[actor.annotate.remote(number)] = (actor, number)
            else:
                self.ray.kill(actor)
                actors.remove(actor)

        try:
            for _ in range(min(workers, len(self.left))):
                actors.append(self.make())
                give(actors[-1])
            while running:
                ready, _ = self.ray.wait(list(running), timeout=INTERVAL)
                for result in ready:
                    actor, number = running.pop(result)
                    if self._ended_well(result, number):
                        give(actor)
                    else:
                        actors.remove(actor)
                        actors.append(self.make())
                        give(actors[-1])
                show(self.watch.look())
        finally:
            for actor in actors:
                self.ray.kill(actor)
        show(self.watch.look())

    def _ended_well(self, result: Any, number: int) -> bool:
        """Whether the shard is done; if its process was lost, it is given out again."""
        try:
            self.ray.get(result)
        except self.ray.exceptions.RayTaskError as err:
            cause = err.cause if isinstance(err.cause, Exception) else err
            raise WeltError(first_line(cause, 500)) from None
        except self.ray.exceptions.RayError as err:
            self.deaths[number] = self.deaths.get(number, 0) + 1
            if self.deaths[number] > MOST_DEATHS:
                raise WeltError(
                    f"shard {self.plan.shards[number].name}: its process ended "
                    f"{self.deaths[number]} times ({first_line(err)}). What is done is kept"
                ) from None
            self.left.append(number)
            return False
        self.rejects.check()
        return True
