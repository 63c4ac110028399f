"""Shards of work for jobs that are numbered by a scheduler."""

import re
from collections.abc import Sequence
from typing import TypeVar

from ..errors import WeltError

Item = TypeVar("Item")


def take_shard(items: Sequence[Item], shard: str | None) -> list[Item]:
    """Return the items of one shard, such as "3/16"; all of them for None."""
    number, n_shards = parse_shard(shard)
    return list(items[number::n_shards])


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Return the number of a shard, from 0, and the number of shards; (0, 1) for None."""
    if shard is None:
        return 0, 1
    match = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", shard)
    number, n_shards = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= n_shards:
        raise WeltError(
            f"{shard!r} is not a shard. Use 1/8, 2/8, ... 8/8 for eight jobs"
        )
    return number - 1, n_shards
