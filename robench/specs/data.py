"""Which images: name of the data set, where it lies, how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robench.errors import SpecError
from robench.specs.base import NonNegativeInt, Spec

Split = Literal["train", "validation", "test"]
Subset = Literal["first", "draw"]


@dataclass(frozen=True, kw_only=True)
class DataSpec(Spec):
    """A data set by name, and a subset of one of its splits.

    Fields:
        name: `two-moons`, `digits`, `mnist`, `fashion-mnist`, `cifar10`, `celeba`, `npz:PATH`, `folder:PATH`; a
            binary view of a multi-class set is `mnist:0-8` (class 1 is the second).
        subset: `first` takes the first images of the split; `draw` a seeded draw without replacement, in the order
            drawn, so that a larger limit keeps the images of a smaller one.
        subset_seed: seed of that draw, 0 or more.
    """

    name: str
    subset: Subset = "first"
    subset_seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        """Refuse an empty name."""
        super().__post_init__()
        if not self.name:
            raise SpecError("the data set has no name", hint="give one, such as `mnist`")
