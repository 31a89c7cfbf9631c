"""Complex numbers that are a linear function of one real view, such as its Fourier transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import LinearOp
from robench.lipschitz.trace.signals import BATCH, View

Map = Callable[[Tensor], Tensor]


@dataclass(eq=False)
class Spectrum:
    """A complex tensor s(x), linear in a view x over the reals, with ‖s(x)‖_w ≤ norm·‖x‖, ‖s‖_w² = Σ w_e |s_e|².

    Fields:
        base: the view x.
        run: what a batch of `BATCH` samples of x becomes.
        zero: value for the input 0 of the network.
        weights: w_e ≥ 1: how often an entry counts. Half a spectrum stands for all of it.
        sample: of the batch, by entry.
        norm, absolute: upper bounds of the norm, and of that of the absolute values.
        terms: roundings of an entry.
        frequency: by entry, which of half a spectrum of images it belongs to, where it is a complex-linear function of
            what the spectrum of x has at that frequency alone; None where it is not.
    """

    base: View
    run: Map
    zero: Tensor
    weights: Tensor
    sample: Tensor
    norm: float
    absolute: float
    terms: int
    frequency: Tensor | None = None


def spectrum_of(view: View) -> Spectrum:
    """A real view, as complex numbers without an imaginary part are."""
    sample = torch.arange(BATCH).repeat_interleave(view.size).reshape(view.shape)
    return Spectrum(view, lambda x: x, view.zero, torch.ones(view.shape), sample, 1.0, 1.0, 0)


@dataclass(eq=False)
class Transform(LinearOp):
    """A linear map that was computed by way of complex numbers, from one real vector to another.

    Fields:
        spectrum: what leads to the result, which is real.
        torus: sides of the images (channels, H, W) that x and the result are, if the map commutes with circular shifts.
    """

    spectrum: Spectrum
    torus: tuple[int, int] | None = None
    operation: str = "by Fourier transform"

    def __post_init__(self) -> None:
        """Count the terms of a sum."""
        self.terms = self.spectrum.terms

    def apply(self, x: Tensor) -> Tensor:
        """Run it on the rows, as many at once as the batch that was traced has."""
        left = -len(x) % BATCH
        rows = torch.cat((x, x.new_zeros(left, x.shape[1]))) if left else x
        batches = rows.reshape(-1, *self.spectrum.base.shape)
        return torch.cat([self.spectrum.run(batch).reshape(BATCH, -1) for batch in batches])[: len(x)]

    def _norm(self) -> float:
        return self.spectrum.norm

    def _absolute_norm(self) -> float:
        return self.spectrum.absolute
