"""Tasks on a Ray cluster. Ray places them, and runs those again whose node or process is lost."""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import WeltError, extra_needed, first_line
from .pool import INTERVAL, Event, call_with_errors
from .processes import thread_variables

OLDEST_VERSION = (2, 40)
# Seconds until the resources of an earlier run are free again
SETTLE = 5.0


@contextlib.contextmanager
def connect_ray(address: str = "auto") -> Iterator[Any]:
    """Connect to a Ray cluster, unless this process is connected already."""
    with extra_needed("--engine ray", "ray"):
        import ray
    if tuple(map(int, ray.__version__.split(".")[:2])) < OLDEST_VERSION:
        raise WeltError(
            f"Ray {ray.__version__} is too old: at least "
            f"{'.'.join(map(str, OLDEST_VERSION))} is needed. Use pip install -U "
            '"welt-spacy[ray]"'
        )
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(
            address=None if address == "local" else address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address == "local" else None,
        )
    except (ConnectionError, ValueError, RuntimeError, OSError) as err:
        raise WeltError(
            f"no Ray cluster at {address!r} ({first_line(err)}). Start one with 'ray start "
            "--head', or use --ray-address local"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def has_node(ray: Any, needs: dict[str, float]) -> bool:
    """Return whether a node has the resources of a task, free or not. If none has, Ray waits
    for one without a message.
    """
    return any(
        node["Alive"]
        and all(node["Resources"].get(name, 0.0) >= n for name, n in needs.items())
        for node in ray.nodes()
    )


def check_room(ray: Any, workers: int, needs: dict[str, float]) -> None:
    """Raise a `WeltError` if the cluster has no room for so many actors now, because Ray would
    wait for it without a message.
    """
    deadline = time.monotonic() + SETTLE
    while message := _describe_lack(ray, workers, needs):
        if time.monotonic() > deadline:
            raise WeltError(message)
        time.sleep(INTERVAL)


def _describe_lack(ray: Any, workers: int, needs: dict[str, float]) -> str:
    free, total = ray.available_resources(), ray.cluster_resources()
    for name, need in needs.items():
        n_free, n_total = free.get(name, 0.0), total.get(name, 0.0)
        if need * workers <= n_free:
            continue
        state = f"the cluster has {n_total:g}, of which {n_free:g} are free"
        if n_workers := int(n_free // need):
            return (
                f"{workers} actors need {need * workers:g} {name}s: {state}. Use --workers "
                f"{n_workers}"
            )
        return (
            f"an actor needs {need:g} {name}s: {state}. Wait, add nodes, or ask for less with "
            f"--num-{name.lower()}s"
        )
    return ""


class _RayPool:
    """The interface of `WorkerPool`, for a Ray cluster."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._waiting: deque[Any] = deque()
        self._running: dict[Any, Any] = {}  # reference to a result -> task

    def __enter__(self) -> "_RayPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def n_unfinished(self) -> int:
        """The number of tasks that have not ended."""
        return len(self._waiting) + len(self._running)

    @property
    def n_free(self) -> int:
        """The number of tasks that could be handed out now."""
        return max(0, self._get_capacity() - self.n_unfinished)

    def submit(self, task: Any) -> None:
        """Add a task, which must be picklable."""
        self._waiting.append(task)

    def wait(self, timeout: float = INTERVAL) -> list[Event]:
        """Submit tasks and return the events since the last call; an empty list if there
        were none for `timeout` seconds.
        """
        events = self._assign()
        if not self._running:
            time.sleep(timeout)
            return events
        ready, _ = self._ray.wait(
            list(self._running), num_returns=len(self._running), timeout=0
        )
        if not ready and not events:
            ready, _ = self._ray.wait(list(self._running), timeout=timeout)
        for reference in ready:
            task = self._running.pop(reference)
            try:
                kind, value = self._ray.get(reference)
            except self._ray.exceptions.RayError as err:
                kind, value = "lost", first_line(err)
            events.append(Event(kind, task, value))
            self._release(reference)
        return events + self._assign()

    def close(self) -> None:
        """Cancel all tasks that have not ended."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()

    def _assign(self) -> list[Event]:
        events = []
        while self._waiting and len(self._running) < self._get_capacity():
            task = self._waiting.popleft()
            self._running[self._start(task)] = task
            events.append(Event("started", task))
        return events

    def _get_capacity(self) -> int:
        raise NotImplementedError

    def _start(self, task: Any) -> Any:
        raise NotImplementedError

    def _release(self, reference: Any) -> None:
        pass


class RayTaskPool(_RayPool):
    """Tasks on a Ray cluster, each in a process of its own.

    As many are submitted as the cluster can hold, and as many again, so that a cluster that
    grows by itself has a reason to.

    ray (Any): The connected module.
    run (Callable[[Any], Any]): Runs a task and returns a result; both must be picklable.
    needs (dict[str, float]): "CPU" and "GPU" -> the number that a task needs.
    max_losses (int): Number of lost nodes or processes after which a task counts as lost.
    """

    def __init__(
        self,
        ray: Any,
        run: Callable[[Any], Any],
        *,
        needs: dict[str, float],
        max_losses: int = 3,
    ) -> None:
        super().__init__(ray)
        self._needs = needs
        options = {**_resources(needs), "max_retries": max_losses, "max_calls": 1}
        self._remote = ray.remote(**options)(call_with_errors)
        self._run = ray.put(run)

    def _get_capacity(self) -> int:
        resources = self._ray.cluster_resources()
        places = [
            int(resources.get(name, 0.0) // need)
            for name, need in self._needs.items()
            if need
        ]
        return 2 * max(1, min(places, default=1))

    def _start(self, task: Any) -> Any:
        return self._remote.remote(self._run, task)


class RayActorPool(_RayPool):
    """Actors on a Ray cluster: processes that keep what they have loaded, and get one task at
    a time. An actor without tasks is ended, because another may wait for its resources.

    ray (Any): The connected module.
    make_run (Callable[[], Callable[[Any], Any]]): Called by an actor before its first task.
        Returns the function that runs a task and returns a result; all must be picklable.
    workers (int): Number of actors.
    needs (dict[str, float]): "CPU" and "GPU" -> the number that an actor needs.
    threads (int): Threads of an actor, for what computes in it.
    max_losses (int): Number of lost nodes or processes after which a task counts as lost.
    """

    def __init__(
        self,
        ray: Any,
        make_run: Callable[[], Callable[[Any], Any]],
        *,
        workers: int,
        needs: dict[str, float],
        threads: int = 1,
        max_losses: int = 3,
    ) -> None:
        super().__init__(ray)
        check_room(ray, workers, needs)
        self._make_run, self._workers = make_run, workers
        self._actor_class = ray.remote(_Actor).options(
            **_resources(needs),
            max_restarts=-1,
            max_task_retries=max_losses,
            runtime_env={"env_vars": thread_variables(threads)},
        )
        self._idle: list[Any] = []
        self._busy: dict[Any, Any] = {}  # reference to a result -> actor

    def _get_capacity(self) -> int:
        return self._workers

    def close(self) -> None:
        """End all actors."""
        for actor in (*self._idle, *self._busy.values()):
            self._ray.kill(actor)
        self._idle.clear()
        self._busy.clear()
        self._running.clear()

    def _start(self, task: Any) -> Any:
        actor = (
            self._idle.pop() if self._idle else self._actor_class.remote(self._make_run)
        )
        reference = actor.run.remote(task)
        self._busy[reference] = actor
        return reference

    def _release(self, reference: Any) -> None:
        actor = self._busy.pop(reference)
        if self._waiting:
            self._idle.append(actor)
        else:
            self._ray.kill(actor)


class _Actor:
    def __init__(self, make_run: Callable[[], Callable[[Any], Any]]) -> None:
        self._make_run = make_run
        self._run: Callable[[Any], Any] | None = None

    def run(self, task: Any) -> tuple[str, Any]:
        return call_with_errors(self._run_task, task)

    def _run_task(self, task: Any) -> Any:
        # Here, so that an error in it is sent as a result
        if self._run is None:
            self._run = self._make_run()
        return self._run(task)


def _resources(needs: dict[str, float]) -> dict[str, float]:
    return {"num_cpus": needs.get("CPU", 0.0), "num_gpus": needs.get("GPU", 0.0)}
