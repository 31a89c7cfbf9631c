"""Shards: each image is in one of them, whatever is asked beside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robench.errors import SpecError
from robench.specs.shard import Shard, parse_shard


@given(of=st.integers(1, 40), n=st.integers(1, 300))
def test_each_image_is_in_one_shard(of, n):
    counts = sum(Shard(number, of).holds(np.arange(n)).astype(int) for number in range(1, of + 1))
    assert (counts == 1).all()


@given(
    shard=st.integers(1, 9).flatmap(lambda of: st.builds(Shard, st.integers(1, of), st.just(of))),
    more=st.integers(0, 200),
)
def test_more_images_move_none(shard, more):
    few, many = np.arange(100), np.arange(100 + more)
    assert (shard.holds(many)[:100] == shard.holds(few)).all()


def test_shards_are_of_like_size_for_any_pattern_of_classes():
    """By chance alone: within five standard deviations of a draw."""
    index = np.arange(10_000)
    for of in (2, 10, 32):
        for stride in (1, 2, 10):
            part = index[::stride]
            sizes = [Shard(number, of).holds(part).sum() for number in range(1, of + 1)]
            expected = len(part) / of
            assert max(abs(size - expected) for size in sizes) <= 5 * np.sqrt(expected)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "a/b", "1", "1/2/3", "", "-1/4", "1 / 2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(SpecError):
        parse_shard(text, {})


@pytest.mark.parametrize(
    ("task", "first", "last", "step", "shard"),
    [(0, 0, 3, 1, Shard(1, 4)), (3, 0, 3, 1, Shard(4, 4)), (5, 5, 6, 1, Shard(1, 2)), (6, 2, 8, 2, Shard(3, 4))],
)
def test_the_task_of_an_array_is_a_shard(task, first, last, step, shard):
    count = (last - first) // step + 1
    names = {"ID": task, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    assert parse_shard("slurm", {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}) == shard


@pytest.mark.parametrize("names", [{}, {"ID": 3, "MIN": 0, "STEP": 2, "COUNT": 4}, {"ID": 9, "MIN": 1, "COUNT": 3}])
def test_no_array_or_one_with_gaps_is_refused(names):
    with pytest.raises(SpecError, match="array"):
        parse_shard("slurm", {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()})
