"""Convolutional networks without shortcuts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.published.blocks import conv, head


def lenet5() -> nn.Module:
    """LeCun et al. 1998, on 28 pixels, with ReLU and maxima."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def vgg11() -> nn.Module:
    """Simonyan and Zisserman 2015, configuration A with batch normalisation, one linear layer."""
    layers: list[nn.Module] = []
    inner = 3
    for out in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        layers += [nn.MaxPool2d(2)] if out == 0 else [*conv(inner, out), nn.ReLU()]
        inner = out or inner
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


def all_convolutional() -> nn.Module:
    """All-CNN-C of Springenberg et al. 2015."""
    layers: list[nn.Module] = [nn.Dropout(0.2)]
    inner = 3
    for out, side, stride in ((96, 3, 1), (96, 3, 1), (96, 3, 2), (192, 3, 1), (192, 3, 1), (192, 3, 2), (192, 3, 1),
                              (192, 1, 1), (10, 1, 1)):  # fmt: skip
        layers += [nn.Conv2d(inner, out, side, stride, side // 2), nn.ReLU()]
        inner = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def network_in_network() -> nn.Module:
    """Lin et al. 2014, the CIFAR-10 network."""

    def block(inner: int, out: int, side: int, *more: int) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Conv2d(inner, out, side, padding=side // 2), nn.ReLU()]
        for a, b in zip((out, *more), more, strict=False):
            layers += [nn.Conv2d(a, b, 1), nn.ReLU()]
        return layers

    return nn.Sequential(
        *block(3, 192, 5, 160, 96), nn.MaxPool2d(3, 2, 1), nn.Dropout(), *block(96, 192, 5, 192, 192),
        nn.AvgPool2d(3, 2, 1), nn.Dropout(), *block(192, 192, 3, 192, 10), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class Side(nn.Module):
    """Branches of one signal, their channels put side by side."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """All channels."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1 of Iandola et al. 2016; its first layer keeps the size."""

    def fire(inner: int, squeezed: int, out: int) -> list[nn.Module]:
        narrow = nn.Sequential(nn.Conv2d(squeezed, out, 1), nn.ReLU())
        wide = nn.Sequential(nn.Conv2d(squeezed, out, 3, padding=1), nn.ReLU())
        return [nn.Conv2d(inner, squeezed, 1), nn.ReLU(), Side(narrow, wide)]

    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), pool, *fire(64, 16, 64), *fire(128, 16, 64), pool,
        *fire(128, 32, 128), *fire(256, 32, 128), pool, *fire(256, 48, 192), *fire(384, 48, 192), *fire(384, 64, 256),
        *fire(512, 64, 256), nn.Dropout(), nn.Conv2d(512, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def googlenet() -> nn.Module:
    """Szegedy et al. 2015 with batch normalisation; its first layer keeps the size, as in the CIFAR variant."""

    def inception(inner: int, a: int, b: tuple[int, int], c: tuple[int, int], d: int) -> nn.Module:
        return Side(
            nn.Sequential(*conv(inner, a, 1), nn.ReLU()),
            nn.Sequential(*conv(inner, b[0], 1), nn.ReLU(), *conv(b[0], b[1]), nn.ReLU()),
            nn.Sequential(*conv(inner, c[0], 1), nn.ReLU(), *conv(c[0], c[1], 5), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), *conv(inner, d, 1), nn.ReLU()),
        )

    return nn.Sequential(
        *conv(3, 192), nn.ReLU(),
        inception(192, 64, (96, 128), (16, 32), 32), inception(256, 128, (128, 192), (32, 96), 64),
        nn.MaxPool2d(3, 2, 1),
        inception(480, 192, (96, 208), (16, 48), 64), inception(512, 160, (112, 224), (24, 64), 64),
        inception(512, 128, (128, 256), (24, 64), 64), inception(512, 112, (144, 288), (32, 64), 64),
        inception(528, 256, (160, 320), (32, 128), 128), nn.MaxPool2d(3, 2, 1),
        inception(832, 256, (160, 320), (32, 128), 128), inception(832, 384, (192, 384), (48, 128), 128), *head(1024),
    )  # fmt: skip
