"""Bounds of families of layers with a theorem: bound, constant that is proven on paper, slope found, seconds.

    OMP_NUM_THREADS=1 python -m benchmarks.families [--large]

The slope is the largest norm of a Jacobian in float64 at small, large and signed points: a lower bound of the constant.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from robench.lipschitz import bound_module
from tests.lipschitz.families import (
    AOLDense,
    BRODense,
    CPLConv,
    CPLDense,
    Mixed,
    Sandwich,
    SLLConv,
    SLLDense,
    stack,
)
from tests.lipschitz.oracles import steepest

warnings.simplefilter("ignore")
Made = tuple[str, Callable[[], nn.Module], tuple[int, ...]]


def leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


def families(dense: int, channels: int, side: int) -> list[Made]:
    """Each of one size."""
    images = (channels, side, side)
    made: list[Made] = [
        ("SLL dense", lambda: SLLDense(dense, dense), (dense,)),
        ("SLL dense, tanh", lambda: SLLDense(dense, dense, torch.tanh), (dense,)),
        ("SLL conv", lambda: SLLConv(channels, channels), images),
        ("CPL dense", lambda: CPLDense(dense, dense), (dense,)),
        ("CPL conv, circular", lambda: CPLConv(channels, channels, side, circular=True), images),
        ("CPL conv, zeros", lambda: CPLConv(channels, channels, side), images),
        ("AOL dense", lambda: nn.Sequential(AOLDense(dense, dense), nn.ReLU()), (dense,)),
        ("BRO dense", lambda: nn.Sequential(BRODense(dense, dense // 2), nn.ReLU()), (dense,)),
        ("sandwich", lambda: Sandwich(dense, dense), (dense,)),
        ("sandwich, leaky", lambda: Sandwich(dense, dense, leaky), (dense,)),
        ("a x + (1 − a) SLL", lambda: Mixed(SLLDense(dense, dense)), (dense,)),
    ]
    try:
        from orthogonium.layers.conv.SLL.sll_layer import AOCLipschitzResBlock, SDPBasedLipschitzResBlock
    except ImportError:
        return made
    return [
        *made,
        ("orthogonium AOC-Lip", lambda: AOCLipschitzResBlock(channels, 2, 3), images),
        ("orthogonium SLL conv", lambda: SDPBasedLipschitzResBlock(channels, 2), images),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true", help="maps that are larger than a matrix")
    sizes = (512, 8, 20) if parser.parse_args().large else (48, 4, 8)
    print(f"{'family':24}{'blocks':>7}{'bound':>14}{'slope found':>14}{'seconds':>9}")
    for name, make, shape in families(*sizes):
        for blocks in (1, 4, 8):
            network = stack(make, blocks)
            start = time.perf_counter()
            upper = bound_module(network, shape).upper
            seconds = time.perf_counter() - start
            found = steepest(network, shape, points=6)
            print(f"{name:24}{blocks:7}{upper:14.8f}{found:14.8f}{seconds:9.2f}", flush=True)


if __name__ == "__main__":
    main()
