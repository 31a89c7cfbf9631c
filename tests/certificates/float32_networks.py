"""Random networks that compute constants, cut off at decimal fractions, interpolate, and take roots next to 0."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 6

Piece = Callable[[Tensor, Tensor], Tensor]
"""(inputs (n, SIDE), matrix (SIDE, SIDE)) -> (n, SIDE)."""


def _polar(x: Tensor, w: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(w)
    return x @ (left @ right)


def _flat(x: Tensor, w: Tensor) -> Tensor:
    """The polar factor of a matrix of rank 2: any rounding turns four of its directions."""
    return _polar(x, w[:, :2] @ w[:2])


def _definite(w: Tensor) -> Tensor:
    return w @ w.T + torch.eye(SIDE, dtype=w.dtype)


def _cayley(x: Tensor, w: Tensor) -> Tensor:
    one, skew = torch.eye(SIDE, dtype=w.dtype), w - w.T
    return x @ torch.linalg.solve(one + skew, one - skew)


def _table(x: Tensor, w: Tensor) -> Tensor:
    place = torch.arange(SIDE, dtype=x.dtype)
    return x * torch.exp(-0.3 * place) + torch.cos(1000.7 * place)


def _counted(x: Tensor, w: Tensor) -> Tensor:
    """Integers times a number are of the default dtype, which is that of the network."""
    return x + torch.cos(torch.arange(SIDE) * 1000.1)


def _divided(x: Tensor, w: Tensor) -> Tensor:
    return x * torch.sin(torch.arange(1, SIDE + 1) / 7e-5) + torch.tensor([3, 1]).sqrt().sum() * 1e4


def _written(x: Tensor, w: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:3] = torch.cos(1e5 * w[0, 0])
    y[:, 4] = w[0].softmax(0)[0]
    return y


def _pairs(x: Tensor, w: Tensor) -> Tensor:
    return torch.sqrt(x[:, : SIDE // 2] ** 2 + x[:, SIDE // 2 :] ** 2).repeat(1, 2)


def _regularised(x: Tensor, w: Tensor) -> Tensor:
    return torch.sqrt((x**2).sum(1, keepdim=True) * 0.3 + 0.1).expand(-1, SIDE)


def _there_and_back(x: Tensor, w: Tensor, sides: tuple[int, int] = (37, 6), align: bool = False) -> Tensor:
    wide = functional.interpolate(x[:, None], size=sides[0], mode="linear", align_corners=align)
    return functional.interpolate(wide, size=sides[1], mode="linear", align_corners=align)[:, 0]


def _planes(x: Tensor, w: Tensor) -> Tensor:
    plane = functional.interpolate(x.reshape(-1, 1, 2, 3), size=(7, 5), mode="bilinear")
    return functional.adaptive_avg_pool2d(plane, (2, 3)).flatten(1)


def _scaled(x: Tensor, w: Tensor) -> Tensor:
    mean, variance = w[0], w[1].abs() * 1e-9 + 1e-12
    return functional.batch_norm(x, mean, variance, w[2], w[3], eps=1e-7)


PIECES: dict[str, Piece] = {
    "svd": _polar,
    "rank-deficient svd": _flat,
    "qr": lambda x, w: x @ torch.linalg.qr(w)[0],
    "cholesky": lambda x, w: x @ torch.linalg.cholesky(_definite(w)),
    "inverse": lambda x, w: x @ torch.inverse(_definite(w)),
    "cayley": _cayley,
    "matrix exponential": lambda x, w: x @ torch.matrix_exp(w - w.T),
    "norm": lambda x, w: x @ (w / w.norm()),
    "spectral norm": lambda x, w: x @ (w / torch.linalg.matrix_norm(w, 2)),
    "mask": lambda x, w: x @ (w * (w > 0.1)),
    "order": lambda x, w: x[:, (w @ w).sum(0).argsort()],
    "branch of eigh": lambda x, w: x @ torch.linalg.eigh(w + w.T)[1],
    "table": _table,
    "integer table": _counted,
    "integers divided": _divided,
    "written": _written,
    "residual": lambda x, w: x + 0.1 * (x @ (w / w.norm())),
    "kernel": lambda x, w: functional.conv1d(x[:, None], (w / w.norm())[:1, None, :3], padding=1)[:, 0],
    "clamp": lambda x, w: x.clamp(-0.1, 0.7),
    "hardtanh": lambda x, w: functional.hardtanh(x, -0.3, 0.1),
    "pad": lambda x, w: functional.pad(x[:, :-2], (1, 1), value=0.1),
    "full": lambda x, w: torch.minimum(x, torch.full((SIDE,), 0.1, dtype=x.dtype)),
    "full like": lambda x, w: torch.maximum(x, torch.full_like(x, 0.1)),
    "cast kernel": lambda x, w: x * w[0].float().to(x.dtype) / w.norm().to(x.dtype),
    "number": lambda x, w: (x / w.norm().item()).clamp(max=0.3 * w.abs().max().item()),
    "maximum": lambda x, w: torch.maximum(x, torch.cos(w[0])),
    "cat": lambda x, w: torch.cat((x[:, :4], torch.sin(w[:1, :2]).expand(len(x), 2)), 1),
    "threshold": lambda x, w: functional.threshold(x, 0.1, 0.1),
    "leaky": lambda x, w: functional.leaky_relu(x, 0.1) + 0.3,
    "softshrink": lambda x, w: functional.softshrink(x, 0.1) / 0.7,
    "celu": lambda x, w: functional.celu(x, 0.3),
    "gelu": lambda x, w: functional.gelu(x),
    "softplus": lambda x, w: functional.softplus(x, 3.3),
    "interpolation": _there_and_back,
    "wide interpolation": lambda x, w: _there_and_back(x, w, (1999, 6)),
    "aligned interpolation": lambda x, w: _there_and_back(x, w, (333, 6), True),
    "planes": _planes,
    "pairs": _pairs,
    "root": _regularised,
    "length": lambda x, w: x.norm(dim=1, keepdim=True).expand(-1, SIDE),
    "batch norm": _scaled,
    "mean": lambda x, w: x - x.mean(1, keepdim=True),
}


class Bare(nn.Module):
    """One piece alone."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.matrix = nn.Parameter(torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        return PIECES[self.name](x, self.matrix)


class Widen(nn.Module):
    """A long row, interpolated."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x[:, None], size=523, mode="linear")[:, 0]


class Network(nn.Module):
    """Some pieces one after the other, and a head."""

    def __init__(self, names: tuple[str, ...], seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.names = names
        self.matrices = nn.ParameterList(torch.randn(SIDE, SIDE, generator=generator) / math.sqrt(SIDE) for _ in names)
        self.head = nn.Parameter(torch.randn(3, SIDE, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        for name, matrix in zip(self.names, self.matrices, strict=True):
            x = PIECES[name](x, matrix)
        return functional.linear(x, self.head)


def network(*names: str, seed: int = 0) -> Network:
    return Network(names, seed).eval().requires_grad_(False)


def random_network(seed: int, depth: int = 3) -> Network:
    generator = torch.Generator().manual_seed(seed)
    names = list(PIECES)
    chosen = torch.randint(len(names), (depth,), generator=generator).tolist()
    return network(*(names[each] for each in chosen), seed=seed)
