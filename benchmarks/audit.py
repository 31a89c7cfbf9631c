"""Time and tightness of the audit: layer kinds and whole nets, beside deel-torchlip's and orthogonium's own estimates.

    OMP_NUM_THREADS=1 python benchmarks/audit.py [--nets] [--layers]

Published architectures have a table of their own: `python -m benchmarks.published`.

Tightness of a layer is bound / exact norm, the exact norm from a power iteration of 400 steps (a lower bound of it, so
the ratio shown is pessimistic). An estimate of another library below 1 in the same column is an *under*-estimate.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from robench.layers import GroupSort2, L2NormPool2d
from robench.lipschitz import bound_module

warnings.simplefilter("ignore")

LAYERS: list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = [
    ("dense 1568->128", lambda: nn.Linear(1568, 128), (1568,)),
    ("dense 3072->1024", lambda: nn.Linear(3072, 1024), (3072,)),
    ("conv 1->16 3x3 @28", lambda: nn.Conv2d(1, 16, 3, padding=1), (1, 28, 28)),
    ("conv 16->32 3x3 @14", lambda: nn.Conv2d(16, 32, 3, padding=1), (16, 14, 14)),
    ("conv 32->32 3x3 @32", lambda: nn.Conv2d(32, 32, 3, padding=1), (32, 32, 32)),
    ("conv 64->64 3x3 @16", lambda: nn.Conv2d(64, 64, 3, padding=1), (64, 16, 16)),
    ("conv 128->128 3x3 @16", lambda: nn.Conv2d(128, 128, 3, padding=1), (128, 16, 16)),
    ("conv 256->256 3x3 @8", lambda: nn.Conv2d(256, 256, 3, padding=1), (256, 8, 8)),
    ("conv 16->16 5x5 @16", lambda: nn.Conv2d(16, 16, 5, padding=2), (16, 16, 16)),
    ("conv 16->16 7x7 @16", lambda: nn.Conv2d(16, 16, 7, padding=3), (16, 16, 16)),
    ("conv 32->64 4x4 s2 @32", lambda: nn.Conv2d(32, 64, 4, stride=2, padding=1), (32, 32, 32)),
    ("conv 32->32 3x3 g4 @16", lambda: nn.Conv2d(32, 32, 3, padding=1, groups=4), (32, 16, 16)),
    ("conv 16->16 3x3 d2 @32", lambda: nn.Conv2d(16, 16, 3, padding=2, dilation=2), (16, 32, 32)),
    ("conv 16->16 3x3 circular @16", lambda: nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular"), (16, 16, 16)),
    ("conv 16->16 3x3 reflect @16", lambda: nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), (16, 16, 16)),
    ("conv 16->16 3x3 replicate @16", lambda: nn.Conv2d(16, 16, 3, padding=1, padding_mode="replicate"), (16, 16, 16)),
    ("transposed 32->16 4x4 s2 @16", lambda: nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), (32, 16, 16)),
    ("avg pool 3x3 s2 p1 @32", lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True), (16, 32, 32)),
    ("conv+bn+avg pool @16", lambda: _block(), (16, 16, 16)),
    ("residual x + conv @16", lambda: _Residual(nn.Conv2d(16, 16, 3, padding=1)), (16, 16, 16)),
]


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def _block() -> nn.Module:
    return nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.AvgPool2d(2))


def exact_norm(module: nn.Module, shape: tuple[int, ...], steps: int = 400) -> float:
    """Norm of the linear part by power iteration, until it stands still."""
    network = module.double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, *shape, dtype=torch.float64, generator=generator)
    norm = before = 0.0
    for step in range(steps):
        x = (x / x.norm()).requires_grad_(True)
        zero = network(torch.zeros_like(x)).detach()
        image = network(x) - zero
        norm = float(image.norm().detach())
        (x,) = torch.autograd.grad(image, x, image.detach())
        if step % 20 == 19:
            if abs(norm - before) < 1e-5 * norm:
                break
            before = norm
    return norm


def others(module: nn.Module, shape: tuple[int, ...], exact: float) -> str:
    """Estimates of the other libraries, as ratios to the exact norm."""
    found = []
    if isinstance(module, nn.Conv2d) and module.groups == 1 and module.dilation == (1, 1):
        kernel = module.weight.detach()
        windows = math.prod(math.ceil(k / s) for k, s in zip(module.kernel_size, module.stride, strict=True))
        reshaped = float(torch.linalg.matrix_norm(kernel.flatten(1), 2)) * math.sqrt(windows)
        found.append(f"torchlip {reshaped / exact:.3f}")
        found.append(f"orthogonium {_orthogonium(module, shape) / exact:.3f}")
    if isinstance(module, nn.Linear):
        found.append(f"torchlip power x10 {_power(module.weight.detach()) / exact:.4f}")
    return ", ".join(found)


def _orthogonium(module: nn.Conv2d, shape: tuple[int, ...]) -> float:
    from orthogonium.layers.conv.singular_values import get_conv_sv

    if max(module.weight.shape[:2]) > 32 or module.stride != (1, 1):
        return math.nan  # minutes, or meant for its own strided layers only
    try:
        largest = get_conv_sv(module.float(), n_iter=4, return_stab_rank=False, imsize=shape[-1])
    except Exception:
        return math.nan
    return float(largest)


def _power(weight: Tensor) -> float:
    vector = torch.randn(weight.shape[1], dtype=weight.dtype, generator=torch.Generator().manual_seed(0))
    for _ in range(10):
        vector = weight.T @ (weight @ vector)
        vector = vector / vector.norm()
    return float((weight @ vector).norm())


def _mlp() -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in ((784, 512), (512, 512), (512, 256)):
        layers += [nn.Linear(a, b), GroupSort2()]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def _cnn(channels: list[int], widths: list[int], shape: tuple[int, int, int], double: bool = False) -> nn.Module:
    layers: list[nn.Module] = []
    before, side = shape[0], shape[1]
    for width in channels:
        for _ in range(2 if double else 1):
            layers += [nn.Conv2d(before, width, 3, padding=1), GroupSort2()]
            before = width
        layers.append(L2NormPool2d(2))
        side //= 2
    layers.append(nn.Flatten())
    before *= side * side
    for width in widths:
        layers += [nn.Linear(before, width), GroupSort2()]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, 10))


NETS: list[tuple[str, Callable[[], nn.Module], tuple[int, int, int]]] = [
    ("MNIST 784-512-512-256-10", _mlp, (1, 28, 28)),
    ("MNIST conv 16-32 dense 100", lambda: _cnn([16, 32], [100], (1, 28, 28)), (1, 28, 28)),
    ("CIFAR conv 32-64-128 dense 256", lambda: _cnn([32, 64, 128], [256], (3, 32, 32)), (3, 32, 32)),
    ("CIFAR paper 128-256-512 dense 512-512", lambda: _cnn([128, 256, 512], [512, 512], (3, 32, 32)), (3, 32, 32)),
    ("64x64 conv 16-32-64-128-256 dense 512-512", lambda: _cnn([16, 32, 64, 128, 256], [512, 512], (3, 64, 64)),
     (3, 64, 64)),
]  # fmt: skip


def timed(module: nn.Module, shape: tuple[int, ...]) -> tuple[float, float, float]:
    """Upper and lower bound, seconds."""
    start = time.perf_counter()
    result = bound_module(module.eval(), shape)
    return result.upper, result.lower, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", action="store_true", help="layer kinds only")
    parser.add_argument("--nets", action="store_true", help="whole nets only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    everything = not (given.layers or given.nets)
    if given.layers or everything:
        print(f"{'layer':<32}{'seconds':>8}{'bound/exact':>12}  other estimates / exact")
        for name, make, shape in LAYERS:
            torch.manual_seed(0)
            module = make().eval()
            upper, _, seconds = timed(module, shape)
            exact = exact_norm(module, shape)
            print(f"{name:<32}{seconds:8.2f}{upper / exact:12.4f}  {others(module, shape, exact)}", flush=True)
    if given.nets or everything:
        print(f"{'net (random weights)':<44}{'seconds':>8}{'upper':>10}{'lower':>10}")
        for name, make, shape in NETS:
            torch.manual_seed(0)
            upper, lower, seconds = timed(make(), shape)
            print(f"{name:<44}{seconds:8.2f}{upper:10.4g}{lower:10.4g}", flush=True)


if __name__ == "__main__":
    main()
