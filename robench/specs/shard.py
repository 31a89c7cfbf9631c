"""A part of the images of a run, for one of several machines."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robench.errors import SpecError

SLURM = "slurm"
"""Says that the shard is the task of a SLURM array."""
_PATTERN = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class Shard:
    """The images whose index, hashed, falls into one of some classes: no others when more images are asked for.

    Args:
        number: which shard, from 1 up.
        of: how many there are.

    Raises:
        SpecError: there is no such shard.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        """Check that there is such a shard."""
        if not 1 <= self.number <= self.of:
            raise SpecError(f"there is no shard {self}", hint="shards are counted from 1: `1/4` to `4/4`")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def folder(self) -> str:
        """Name of its folder, in which all shards sort by their number."""
        return f"shard-{self.number:0{len(str(self.of))}d}-of-{self.of}"

    def holds(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which images are of this shard.

        Args:
            index: (N,) positions in the split.
        """
        return np.array([_hashed(position) % self.of == self.number - 1 for position in index.tolist()], dtype=bool)


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard that a text such as `2/4` names; `slurm` is the running task of a SLURM array.

    Args:
        text: as written by the user.
        environment: where SLURM's variables are.

    Raises:
        SpecError: it names no shard, or no task of an array is running.
    """
    if text == SLURM:
        return _array_task(environment)
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise SpecError(f"`{text}` is no shard", hint="write `2/4` for the second of four, or `slurm` in an array job")
    return Shard(int(found[1]), int(found[2]))


def _array_task(environment: Mapping[str, str]) -> Shard:
    """The task of an array whose numbers may begin anywhere and have any step."""
    names = [f"SLURM_ARRAY_TASK_{part}" for part in ("ID", "MIN", "STEP", "COUNT")]
    given = [environment.get(name, "1" if name.endswith("STEP") else "") for name in names]
    if missing := [name for name, value in zip(names, given, strict=True) if not value.isdecimal()]:
        raise SpecError(
            f"no task of a SLURM array is running here: {missing[0]} is not set", hint="write the shard, such as `2/4`"
        )
    task, first, step, count = map(int, given)
    number, rest = divmod(task - first, max(step, 1))
    if rest or number >= count:
        raise SpecError(
            f"the task {task} of the SLURM array is none of {count} from {first} in steps of {step}",
            hint="give the array one range of numbers, such as `--array=1-32`, or write the shard, such as `2/4`",
        )
    return Shard(number + 1, count)


@functools.cache
def _hashed(position: int) -> int:
    return int.from_bytes(hashlib.blake2b(str(position).encode(), digest_size=8).digest(), "big")
