"""Small networks of depthwise convolutions, with the strides of their CIFAR variants."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.published.blocks import Residual, SqueezeExcitation, conv, head


class HardGate(nn.Module):
    """ReLU6(x + 3) / 6, as the paper of MobileNetV3 writes it: torch's own cannot be differentiated twice."""

    def forward(self, x: Tensor) -> Tensor:
        """In [0, 1]."""
        return functional.relu6(x + 3) / 6


def mobilenet_v2() -> nn.Module:
    """Sandler et al. 2018."""
    layers: list[nn.Module] = [*conv(3, 32), nn.ReLU6()]
    inner = 32
    for wide, out, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for place in range(count):
            step, middle = stride if place == 0 else 1, inner * wide
            expand = [*conv(inner, middle, 1), nn.ReLU6()] if wide > 1 else []
            block = nn.Sequential(*expand, *conv(middle, middle, 3, step, middle), nn.ReLU6(), *conv(middle, out, 1))
            layers.append(Residual(block) if step == 1 and inner == out else block)
            inner = out
    return nn.Sequential(*layers, *conv(inner, 1280, 1), nn.ReLU6(), *head(1280))


def mobilenet_v3() -> nn.Module:
    """MobileNetV3-Small of Howard et al. 2019."""
    layers: list[nn.Module] = [*conv(3, 16), nn.Hardswish()]
    inner = 16
    for side, middle, out, gated, soft, stride in (
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 1),
        (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
    ):  # fmt: skip
        bend = nn.Hardswish if soft else nn.ReLU
        gate = [SqueezeExcitation(middle, max(8, middle // 4 // 8 * 8), nn.ReLU(), HardGate())] if gated else []
        block = nn.Sequential(
            *conv(inner, middle, 1), bend(), *conv(middle, middle, side, stride, middle), bend(), *gate,
            *conv(middle, out, 1),
        )  # fmt: skip
        layers.append(Residual(block) if stride == 1 and inner == out else block)
        inner = out
    last = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(576, 1024),
        nn.Hardswish(),
        nn.Dropout(0.2),
        nn.Linear(1024, 10),
    ]
    return nn.Sequential(*layers, *conv(inner, 576, 1), nn.Hardswish(), *last)


def efficientnet_b0() -> nn.Module:
    """Tan and Le 2019."""
    layers: list[nn.Module] = [*conv(3, 32), nn.SiLU()]
    inner = 32
    for wide, out, count, stride, side in (
        (1, 16, 1, 1, 3), (6, 24, 2, 1, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ):  # fmt: skip
        for place in range(count):
            step, middle = stride if place == 0 else 1, inner * wide
            expand = [*conv(inner, middle, 1), nn.SiLU()] if wide > 1 else []
            gate = SqueezeExcitation(middle, max(1, inner // 4), nn.SiLU(), nn.Sigmoid())
            depthwise = conv(middle, middle, side, step, middle)
            block = nn.Sequential(*expand, *depthwise, nn.SiLU(), gate, *conv(middle, out, 1))
            layers.append(Residual(block) if step == 1 and inner == out else block)
            inner = out
    return nn.Sequential(*layers, *conv(inner, 1280, 1), nn.SiLU(), *head(1280))


class Shuffled(nn.Module):
    """Half of the channels pass, or all are used twice where the size changes; then channels are shuffled."""

    def __init__(self, inner: int, out: int, stride: int) -> None:
        super().__init__()
        half = out // 2
        given = inner if stride > 1 else half
        self.branch = nn.Sequential(
            *conv(given, half, 1), nn.ReLU(), *conv(half, half, 3, stride, half), *conv(half, half, 1), nn.ReLU()
        )
        self.other = (
            nn.Sequential(*conv(inner, inner, 3, stride, inner), *conv(inner, half, 1), nn.ReLU())
            if stride > 1
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Two halves."""
        first, second = (self.other(x), x) if self.other is not None else x.chunk(2, dim=1)
        return functional.channel_shuffle(torch.cat((first, self.branch(second)), dim=1), 2)


def shufflenet_v2() -> nn.Module:
    """ShuffleNetV2 1× of Ma et al. 2018."""
    layers: list[nn.Module] = [*conv(3, 24), nn.ReLU()]
    inner = 24
    for out, count in ((116, 4), (232, 8), (464, 4)):
        layers += [Shuffled(inner if k == 0 else out, out, 2 if k == 0 else 1) for k in range(count)]
        inner = out
    return nn.Sequential(*layers, *conv(inner, 1024, 1), nn.ReLU(), *head(1024))
