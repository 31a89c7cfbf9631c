"""The deployed float32 network itself, run on each image that a certificate speaks of (docs/design/0008-float32.md §4).

A bound of rounding errors is proven on paper, for kernels that are assumed to do what their documentation says. Here it
is held against what the network computes: a class that the network does not give is not certified, and a bound that is
seen violated is no bound.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import nn

from robench.arrays import Array, Flags, Integers, Singles
from robench.devices import exact_arithmetic
from robench.errors import BoundError
from robench.lipschitz import in_float32, plain_copy
from robench.models.networks.tiles import Tiled


def classes(logits: Float64[Array, "n q"]) -> Int64[Integers, " n"]:
    """The class that logits stand for: the largest one, or for one logit whether it is above 0."""
    decided: Integers = (logits[:, 0] > 0).astype(np.int64)
    return decided if logits.shape[1] == 1 else np.argmax(logits, axis=1)


class Deployment:
    """A network as it runs in float32, and how far its logits may be from the float64 ones.

    Args:
        module: plain layers as loaded; a copy is made.
        shape: of one input.
        rounding: (a, b): logits in float64 and in float32 are within a·‖x‖ + b of each other, in the L2 norm.
        device: where it runs.
    """

    def __init__(
        self, module: nn.Module, shape: tuple[int, ...], rounding: tuple[float, float], device: torch.device | str
    ) -> None:
        self._network = in_float32(plain_copy(module)).to(device)
        self._tiled = Tiled(self._network, shape, torch.float32, torch.device(device))
        self._rounding = rounding
        self._device = device

    def gives(
        self,
        predicted: Int64[Integers, " n"],
        logits: Float64[Array, "n q"],
        inputs: Float32[Singles, "n ..."],
        norms: Float64[Array, " n"],
    ) -> Bool[Flags, " n"]:
        """Whether the network gives each input its class, alone and among others.

        Args:
            predicted: classes of the float64 network.
            logits: in float64.
            inputs: in float32.
            norms: upper bounds of the norms of the inputs.

        Raises:
            BoundError: the logits are further apart than was proven, so that the proof does not hold for this model.
        """
        given = np.ones(len(inputs), dtype=bool)
        for single in (self._together(inputs), self._alone(inputs)):
            single = single.reshape(logits.shape)
            given &= np.isfinite(single).all(axis=1) & (classes(single) == predicted)
            self._compare(single, logits, norms)
        return given

    def _together(self, inputs: Singles) -> Array:
        with exact_arithmetic():
            result: Array = self._tiled(torch.from_numpy(inputs)).double().cpu().numpy()
        return result

    def _alone(self, inputs: Singles) -> Array:
        with torch.no_grad(), exact_arithmetic():
            rows = [self._network(row[None].to(self._device)).double().cpu() for row in torch.from_numpy(inputs)]
        result: Array = torch.cat(rows).numpy()
        return result

    def _compare(self, single: Array, logits: Array, norms: Array) -> None:
        slope, offset = self._rounding
        apart = np.linalg.norm(single - logits, axis=1)
        allowed = slope * norms + offset
        worst = int(np.argmax(apart - allowed))
        if not apart[worst] <= allowed[worst] * (1 + 1e-9) and np.isfinite(single[worst]).all():
            raise BoundError(
                f"the float32 logits of the model are {apart[worst]:.3g} from the float64 ones, above the proven bound "
                f"{allowed[worst]:.3g}",
                hint="a layer computes something else in float32 than its rule says; certify for float64",
            )
