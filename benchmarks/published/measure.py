"""One row of the table, as JSON on stdout: run in a process of its own, which may be ended."""

from __future__ import annotations

import json
import sys
import time
import warnings

import torch
from torch import nn

from benchmarks.published.rows import ROWS
from benchmarks.published.slopes import largest_slope
from robench.errors import BoundError
from robench.lipschitz import LipschitzBound, bound_module

SLOPE_SECONDS = 10.0


def calibrated(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """In evaluation mode; batch norms have the statistics of random images, so that signals do not vanish."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for layer in norms:
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        module(torch.rand(32, *shape, generator=torch.Generator().manual_seed(0)))
    return module.eval()


def measured(name: str) -> dict[str, object]:
    """Bound, slope, seconds."""
    row = ROWS[name]
    torch.manual_seed(0)
    module = calibrated(row.make().eval(), row.shape)
    found: dict[str, object] = {"parameters": sum(weight.numel() for weight in module.parameters())}
    for space, box in (("whole space", None), ("box [0, 1]", (0.0, 1.0))):
        start = time.process_time()
        try:
            bound: LipschitzBound | None = bound_module(module, row.shape, box)
        except BoundError as error:
            found[f"refused, {space}"] = str(error)
            bound = None
        if bound is not None:
            found |= {"inputs": space, "bound": bound.upper, "cpu_seconds": time.process_time() - start}
            break
    slope, points = largest_slope(module, row.shape, found.get("inputs") == "box [0, 1]", SLOPE_SECONDS)
    return found | {"slope": slope, "points": points}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(json.dumps(measured(sys.argv[1])))
