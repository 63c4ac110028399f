"""A connection to a Ray cluster."""

import contextlib
import logging
from typing import Any, Iterator

from .errors import WeltError, extra_needed, first_line

OLDEST = (2, 40)


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
