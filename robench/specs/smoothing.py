"""What `certify --method smoothing` computes: everything that decides a record, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robench.specs.base import NonNegativeInt, PositiveFloat, PositiveInt, Range, Spec
from robench.specs.data import DataSpec, Split

Chance = Annotated[float, Range(above=0.0, below=1.0)]


@dataclass(frozen=True, kw_only=True)
class Sampling(Spec):
    """How the smoothed classifier is asked about one image.

    Fields:
        sigma: standard deviation of the noise, in the units of the image.
        n: draws that estimate how frequent the chosen class is.
        n0: draws that choose the class.
        alpha: chance at most that the certificate of one image is false, over all draws.
        seed: of the draws; each image has draws of its own.
    """

    sigma: PositiveFloat
    n: PositiveInt = 10_000
    n0: PositiveInt = 100
    alpha: Chance = 0.001
    seed: NonNegativeInt = 0


@dataclass(frozen=True, kw_only=True)
class SmoothingSpec(Spec):
    """Certificates of a smoothed classifier on a split.

    Fields:
        data: which images.
        split: part of the data set.
        sampling: how the smoothed classifier is asked.
    """

    data: DataSpec
    split: Split = "test"
    sampling: Sampling
