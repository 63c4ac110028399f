"""A connection to a Ray cluster."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ..errors import WeltError, extra_needed, first_line

OLDEST = (2, 40)
# Seconds between two looks
INTERVAL = 0.5

Item = TypeVar("Item")


@contextlib.contextmanager
def connected(address: str = "auto") -> Iterator[Any]:
    """Connect to a Ray cluster, unless this process is connected already.

    address (str): The cluster; "auto" for the one that Ray finds, "local" to start one on
        this machine.
    YIELDS (Any): The module `ray`, while it is connected.
    RAISES (WeltError): If Ray is missing or too old, or there is no such cluster.
    """
    with extra_needed("--engine ray", "ray"):
        import ray
    if tuple(map(int, ray.__version__.split(".")[:2])) < OLDEST:
        raise WeltError(
            f"Ray {ray.__version__} is too old: at least {'.'.join(map(str, OLDEST))} is "
            'needed: pip install -U "welt-spacy[ray]"'
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
            f"no Ray cluster at {address!r} ({first_line(err)}): start one with 'ray start "
            "--head', or use --ray-address local"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def fits(ray: Any, needs: dict[str, float]) -> bool:
    """Tell whether a node has what a task needs. If none has, Ray waits for one, without a
    word.

    ray (Any): The connected module.
    needs (dict[str, float]): "CPU", "GPU" -> how many.
    RETURNS (bool): Whether one has, free or not.
    """
    return any(
        node["Alive"]
        and all(node["Resources"].get(name, 0.0) >= n for name, n in needs.items())
        for node in ray.nodes()
    )


def in_window(
    ray: Any,
    submit: Callable[[Item], Any],
    items: Sequence[Item],
    needs: dict[str, float],
) -> Iterator[tuple[Item, Any]]:
    """Give out tasks, not all at once: as many as the cluster can hold now, and as many
    again, so that a cluster that can grow has a reason to.

    ray (Any): The connected module.
    submit (Callable[[Item], Any]): Gives out the task of an item, and returns what is awaited.
    items (Sequence[Item]): The items, in their order.
    needs (dict[str, float]): "CPU", "GPU" -> what each task needs.
    YIELDS (tuple[Item, Any]): Each item when its task has ended, with what that returned, or
        with the reason in one line if the task was lost.
    """
    left = list(items)[::-1]
    waiting: dict[Any, Item] = {}
    while left or waiting:
        window = 2 * _places(ray, needs)
        while left and len(waiting) < window:
            item = left.pop()
            waiting[submit(item)] = item
        ready, _ = ray.wait(list(waiting), timeout=INTERVAL)
        for result in ready:
            item = waiting.pop(result)
            try:
                told = ray.get(result)
            except ray.exceptions.RayError as err:
                told = first_line(err)
            yield item, told


def _places(ray: Any, needs: dict[str, float]) -> int:
    resources = ray.cluster_resources()
    places = [
        int(resources.get(name, 0.0) // need) for name, need in needs.items() if need
    ]
    return max(1, min(places, default=1))
