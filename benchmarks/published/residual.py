"""Residual networks and their relatives, each with the first layer of its CIFAR variant."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.published.blocks import Residual, SqueezeExcitation, conv, head

Branch = Callable[[int, int, int], nn.Module]
"""Of inner and outer channels and a stride."""
STAGES = ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))


def stages(branch: Branch, inner: int, plan: tuple[tuple[int, int], ...]) -> Iterator[nn.Module]:
    """Blocks with ReLU behind the sum, and a convolution as the shortcut where the shape changes."""
    for out, stride in plan:
        same = stride == 1 and inner == out
        yield Residual(
            branch(inner, out, stride), None if same else nn.Sequential(*conv(inner, out, 1, stride)), nn.ReLU()
        )
        inner = out


def _basic(inner: int, out: int, stride: int) -> nn.Module:
    return nn.Sequential(*conv(inner, out, 3, stride), nn.ReLU(), *conv(out, out))


def resnet18() -> nn.Module:
    """He et al. 2016."""
    return nn.Sequential(*conv(3, 64), nn.ReLU(), *stages(_basic, 64, STAGES), *head(512))


def se_resnet18() -> nn.Module:
    """Squeeze and excitation of Hu et al. 2018."""

    def branch(inner: int, out: int, stride: int) -> nn.Module:
        return nn.Sequential(_basic(inner, out, stride), SqueezeExcitation(out, out // 16, nn.ReLU(), nn.Sigmoid()))

    return nn.Sequential(*conv(3, 64), nn.ReLU(), *stages(branch, 64, STAGES), *head(512))


def resnext29() -> nn.Module:
    """ResNeXt-29, 8×16d, of Xie et al. 2017."""

    def branch(inner: int, out: int, stride: int) -> nn.Module:
        wide = out // 2
        return nn.Sequential(
            *conv(inner, wide, 1), nn.ReLU(), *conv(wide, wide, 3, stride, 8), nn.ReLU(), *conv(wide, out, 1)
        )

    plan = tuple((out, stride) for out, first in ((256, 1), (512, 2), (1024, 2)) for stride in (first, 1, 1))
    return nn.Sequential(*conv(3, 64), nn.ReLU(), *stages(branch, 64, plan), *head(1024))


def regnet(gated: bool) -> nn.Module:
    """RegNetX-200MF and RegNetY-200MF of Radosavovic et al. 2020: the latter with squeeze and excitation."""
    plan = ((24, 1, 1), (56, 1, 2), (152, 4, 2), (368, 7, 2))

    def branch(inner: int, out: int, stride: int) -> nn.Module:
        gate = [SqueezeExcitation(out, max(1, inner // 4), nn.ReLU(), nn.Sigmoid())] if gated else []
        middle = conv(out, out, 3, stride, out // 8)
        return nn.Sequential(*conv(inner, out, 1), nn.ReLU(), *middle, nn.ReLU(), *gate, *conv(out, out, 1))

    each = tuple((out, stride if k == 0 else 1) for out, count, stride in plan for k in range(count))
    return nn.Sequential(*conv(3, 32), nn.ReLU(), *stages(branch, 32, each), *head(368))


class PreActivated(nn.Module):
    """Normalisation and ReLU first; a shortcut that changes the shape starts behind them."""

    def __init__(self, inner: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inner), nn.ReLU())
        self.branch = nn.Sequential(
            *conv(inner, out, 3, stride), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(out, out, 3, padding=1, bias=False)
        )
        same = stride == 1 and inner == out
        self.shortcut = None if same else nn.Conv2d(inner, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        inner = self.first(x)
        return self.branch(inner) + (x if self.shortcut is None else self.shortcut(inner))


def _pre_activated(widths: tuple[int, ...], count: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1, bias=False)]
    for place, (inner, out) in enumerate(itertools.pairwise(widths)):
        layers += [PreActivated(inner if k == 0 else out, out, 2 if place and k == 0 else 1) for k in range(count)]
    return nn.Sequential(*layers, nn.BatchNorm2d(widths[-1]), nn.ReLU(), *head(widths[-1]))


def preact_resnet18() -> nn.Module:
    """He et al. 2016b."""
    return _pre_activated((64, 64, 128, 256, 512), 2)


def wide_resnet10() -> nn.Module:
    """WRN-10-2 of Zagoruyko and Komodakis 2016."""
    return _pre_activated((16, 32, 64, 128), 1)


class DenseBlock(nn.Module):
    """Each layer reads all before it."""

    def __init__(self, inner: int, growth: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(inner + k * growth), nn.ReLU(), *conv(inner + k * growth, 4 * growth, 1), nn.ReLU(),
                nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
            )
            for k in range(count)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """All channels."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


def densenet121() -> nn.Module:
    """Huang et al. 2017, growth 32."""
    layers: list[nn.Module] = [*conv(3, 64), nn.ReLU()]
    inner = 64
    for count in (6, 12, 24, 16):
        layers.append(DenseBlock(inner, 32, count))
        inner += 32 * count
        if count != 16:
            layers += [nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, inner // 2, 1, bias=False), nn.AvgPool2d(2)]
            inner //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(inner), nn.ReLU(), *head(inner))
