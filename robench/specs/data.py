"""Which images: name of the data set, where it lies, how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robench.errors import SpecError
from robench.specs.base import Spec

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class DataSpec(Spec):
    """A data set by name, and a subset of one of its splits.

    Fields:
        name: `two-moons`, `digits`, `mnist`, `fashion-mnist`, `cifar10`, `celeba`, `npz:PATH`, `folder:PATH`; a
            binary view of a multi-class set is `mnist:0-8` (class 1 is the second).
        subset: `first` takes the first images of the split; `draw` a seeded draw without replacement, in index order.
        subset_seed: seed of that draw.
    """

    name: str
    subset: Literal["first", "draw"] = "first"
    subset_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty name."""
        if not self.name:
            raise SpecError("the data set has no name", hint="give one, such as `mnist`")
