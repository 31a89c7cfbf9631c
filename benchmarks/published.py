"""Architectures as they are published, for 32-pixel images: re-implemented, so that no library of models is needed."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Shortcut + branch, and what follows."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut, self.last = branch, shortcut, last

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return self.last(self.shortcut(x) + self.branch(x))


def conv(inner: int, out: int, side: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inner, out, side, stride, side // 2, groups=groups, bias=False), nn.BatchNorm2d(out)]


def resnet18() -> nn.Module:
    """He et al. 2016, with the first layers of the CIFAR variant."""
    layers: list[nn.Module] = [*conv(3, 64), nn.ReLU()]
    inner = 64
    for out, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        branch = nn.Sequential(*conv(inner, out, 3, stride), nn.ReLU(), *conv(out, out))
        same = stride == 1 and inner == out
        shortcut = nn.Identity() if same else nn.Sequential(*conv(inner, out, 1, stride))
        layers.append(Residual(branch, shortcut, nn.ReLU()))
        inner = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def vgg11() -> nn.Module:
    """Simonyan and Zisserman 2015, configuration A with batch normalisation, one linear layer."""
    layers: list[nn.Module] = []
    inner = 3
    for out in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        layers += [nn.MaxPool2d(2)] if out == 0 else [*conv(inner, out), nn.ReLU()]
        inner = out or inner
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


def mobilenet_v2() -> nn.Module:
    """Sandler et al. 2018, with the strides of the CIFAR variant."""
    layers: list[nn.Module] = [*conv(3, 32), nn.ReLU6()]
    inner = 32
    for wide, out, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for place in range(count):
            step, middle = stride if place == 0 else 1, inner * wide
            expand = [*conv(inner, middle, 1), nn.ReLU6()] if wide > 1 else []
            block = nn.Sequential(*expand, *conv(middle, middle, 3, step, middle), nn.ReLU6(), *conv(middle, out, 1))
            layers.append(Residual(block, nn.Identity(), nn.Identity()) if step == 1 and inner == out else block)
            inner = out
    return nn.Sequential(
        *layers, *conv(inner, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10)
    )


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
    """Huang et al. 2017, growth 32, with the first layer of the CIFAR variant."""
    layers: list[nn.Module] = [*conv(3, 64), nn.ReLU()]
    inner = 64
    for count in (6, 12, 24, 16):
        layers.append(DenseBlock(inner, 32, count))
        inner += 32 * count
        if count != 16:
            layers += [nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, inner // 2, 1, bias=False), nn.AvgPool2d(2)]
            inner //= 2
    last = [nn.BatchNorm2d(inner), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, 10)]
    return nn.Sequential(*layers, *last)
