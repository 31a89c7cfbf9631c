"""Random layers of every class that has a rule, each with the shape of an input without the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from robench.layers import FullSort, GroupSort2, HouseHolder, InputNormalization, L2NormPool2d, ScaledAvgPool2d
from robench.models.networks.input_copy import Copy
from tests.lipschitz.draws import Draws

Drawn = tuple[nn.Module, tuple[int, ...]]
CONVOLUTIONS: list[Any] = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
NORMS: list[Any] = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d]
MODES = ("zeros", "reflect", "replicate", "circular")


def pixels(d: Draws, channels: int | None = None) -> tuple[int, ...]:
    return (channels or d.randint(1, 4), d.randint(2, 4), d.randint(2, 3))


def convolution(d: Draws, axes: int) -> Drawn:
    groups = d.choice([1, 1, 2])
    inner, out = groups * d.randint(1, 2), groups * d.randint(1, 2)
    slide = (d.randint(1, 3), d.randint(1, 2), d.randint(0, 1), d.randint(1, 2), groups)
    layer = CONVOLUTIONS[axes - 1](inner, out, *slide, bias=d.random() < 0.5, padding_mode=d.choice(MODES))
    return layer, (inner, *d.some(axes, 3, 6 if axes < 3 else 3))


def norm(d: Draws, axes: int) -> Drawn:
    count = d.randint(1, 3)
    layer = NORMS[axes - 1](count, eps=d.choice([1e-5, 0.1]), affine=d.random() < 0.7)
    layer.running_mean, layer.running_var = d.tensor(count), d.tensor(count).abs()
    if layer.affine:
        layer.weight.data, layer.bias.data = d.tensor(count), d.tensor(count)
    return layer, (count, *d.some(axes, 1, 3))


def pool(d: Draws, kind: Any) -> Drawn:
    side = d.randint(1, 3)
    slide = (side, d.choice([None, 1, 2]), d.randint(0, side // 2))
    return kind(*slide, ceil_mode=d.random() < 0.5), (d.randint(1, 2), d.randint(3, 5), d.randint(3, 5))


def root_pool(d: Draws) -> Drawn:
    return nn.LPPool2d(2, d.randint(1, 3), d.choice([None, 1, 2]), d.random() < 0.5), (1, 4, 3)


def reflection(d: Draws, package: str) -> Drawn:
    layer = pytest.importorskip(package).HouseHolder(4)
    for weight in layer.parameters():
        weight.data = d.tensor(*weight.shape)
    return layer, (4, 2, 2)


def plain(name: str) -> Callable[[Draws], Drawn]:
    return lambda d: (getattr(nn, name)(), pixels(d)[: 2 if name == "Dropout1d" else 3])


LAYERS: dict[str, Callable[[Draws], Drawn]] = {
    **{f"torch.nn.modules.dropout.{kind}": plain(kind)
       for kind in ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout")},
    **{f"torch.nn.modules.activation.{kind}": plain(kind) for kind in ("ReLU", "Tanh", "Sigmoid", "Softsign")},
    **{f"torch.nn.modules.conv.Conv{axes}d": lambda d, axes=axes: convolution(d, axes) for axes in (1, 2, 3)},
    **{f"torch.nn.modules.batchnorm.BatchNorm{axes}d": lambda d, axes=axes: norm(d, axes) for axes in (1, 2, 3)},
    "torch.nn.modules.linear.Identity": plain("Identity"),
    "torch.nn.modules.linear.Linear": lambda d: (nn.Linear(3, d.randint(1, 4), d.random() < 0.5), (2, 3)),
    "torch.nn.modules.flatten.Flatten": lambda d: (nn.Flatten(d.randint(1, 2), d.choice([-1, -2])), pixels(d)),
    "torch.nn.modules.activation.LeakyReLU": lambda d: (nn.LeakyReLU(d.choice([0.1, -2.0, 3.0])), pixels(d)),
    "torch.nn.modules.pooling.MaxPool2d": lambda d: pool(d, nn.MaxPool2d),
    "torch.nn.modules.pooling.AvgPool2d": lambda d: pool(d, nn.AvgPool2d),
    "torch.nn.modules.pooling.LPPool2d": root_pool,
    "robench.layers.activations.GroupSort2": lambda d: (GroupSort2(), pixels(d, 4)),
    "robench.models.networks.input_copy.Copy": lambda d: (Copy(), pixels(d)),
    "robench.layers.activations.FullSort": lambda d: (FullSort(), pixels(d)),
    "robench.layers.activations.HouseHolder": lambda d: (HouseHolder(4), pixels(d, 4)),
    "robench.layers.pooling.L2NormPool2d": lambda d: (L2NormPool2d(2), (2, 4, 4)),
    "robench.layers.pooling.ScaledAvgPool2d": lambda d: (ScaledAvgPool2d(2), (2, 4, 4)),
    "robench.layers.normalization.InputNormalization": lambda d: (
        InputNormalization([0.5, 0.1], [0.2, 2.0]), (2, 3, 3)),
    **{f"{package}.HouseHolder": lambda d, package=package: reflection(d, package)
       for package in ("deel.torchlip.modules.activation", "orthogonium.layers.custom_activations")},
}  # fmt: skip
