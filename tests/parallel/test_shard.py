"""Shards of work."""

import pytest

from welt_spacy.errors import WeltError
from welt_spacy.parallel.shard import parse_shard, take_shard


def test_shards_divide_the_work():
    items = list(range(10))
    shards = [take_shard(items, f"{i}/3") for i in (1, 2, 3)]
    assert shards == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    assert take_shard(items, None) == items == take_shard(items, "1/1")
    assert take_shard([1], "2/2") == []


def test_numbers_of_a_shard():
    assert parse_shard(None) == (0, 1) and parse_shard("3/16") == (2, 16)


@pytest.mark.parametrize(
    "value", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/2/3", "²/3", ""]
)
def test_a_shard_that_is_none(value):
    with pytest.raises(WeltError, match="is not a shard"):
        parse_shard(value)
