"""Networks of patches: convolutions or dense maps between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.published.blocks import Residual


class ChannelsLast(nn.Module):
    """A module of channels that are the last axis, for images."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """There and back."""
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scaled(nn.Module):
    """A factor for each channel of the last axis."""

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return x * self.factors


def convnext() -> nn.Module:
    """ConvNeXt (Liu et al. 2022) of the smallest size that is common, atto: 40 to 320 channels; patches of 2 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 40, 2, 2), ChannelsLast(nn.LayerNorm(40, eps=1e-6))]
    for out, count in ((40, 2), (80, 2), (160, 6), (320, 2)):
        if out > 40:
            layers += [ChannelsLast(nn.LayerNorm(out // 2, eps=1e-6)), nn.Conv2d(out // 2, out, 2, 2)]
        for _ in range(count):
            dense = nn.Sequential(
                nn.LayerNorm(out, eps=1e-6),
                nn.Linear(out, 4 * out),
                nn.GELU(),
                nn.Linear(4 * out, out),
                Scaled(out, 1e-6),
            )
            layers.append(Residual(nn.Sequential(nn.Conv2d(out, out, 7, padding=3, groups=out), ChannelsLast(dense))))
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(320, eps=1e-6), nn.Linear(320, 10)
    )


class Patches(nn.Module):
    """Patches as rows: (N, 3, H, W) -> (N, patches, width)."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, side, side)

    def forward(self, x: Tensor) -> Tensor:
        """One row a patch."""
        return self.conv(x).flatten(2).transpose(1, 2)


class Across(nn.Module):
    """A module that acts between patches."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """There and back."""
        return self.inner(x.transpose(1, 2)).transpose(1, 2)


class Mean(nn.Module):
    """Of all patches."""

    def forward(self, x: Tensor) -> Tensor:
        """One row."""
        return x.mean(1)


def _dense(width: int, inner: int) -> list[nn.Module]:
    return [nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)]


def mixer() -> nn.Module:
    """MLP-Mixer of Tolstikhin et al. 2021: 8 blocks of width 128 on 64 patches."""
    layers: list[nn.Module] = [Patches(128, 4)]
    for _ in range(8):
        layers += [
            Residual(nn.Sequential(nn.LayerNorm(128), Across(nn.Sequential(*_dense(64, 64))))),
            Residual(nn.Sequential(nn.LayerNorm(128), *_dense(128, 512))),
        ]
    return nn.Sequential(*layers, nn.LayerNorm(128), Mean(), nn.Linear(128, 10))


class Affine(nn.Module):
    """A factor and a shift for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.factors, self.shifts = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """The affine map."""
        return self.factors * x + self.shifts


def resmlp() -> nn.Module:
    """ResMLP-S12 (Touvron et al. 2021) with width 128: no normalisation, so bounded on the whole space."""
    layers: list[nn.Module] = [Patches(128, 4)]
    for _ in range(12):
        layers += [
            Residual(nn.Sequential(Affine(128), Across(nn.Linear(64, 64)), Scaled(128, 0.1))),
            Residual(nn.Sequential(Affine(128), *_dense(128, 512), Scaled(128, 0.1))),
        ]
    return nn.Sequential(*layers, Affine(128), Mean(), nn.Linear(128, 10))


class Pooled(nn.Module):
    """The mean of neighbours, less the pixel itself."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The difference."""
        return self.pool(x) - x


class PoolFormerBlock(nn.Module):
    """Both branches with a factor for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(1, width), Pooled())
        self.second = nn.Sequential(
            nn.GroupNorm(1, width), nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1)
        )
        self.scales = nn.ParameterList(torch.full((width, 1, 1), 1e-5) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Two sums."""
        x = x + self.scales[0] * self.first(x)
        return x + self.scales[1] * self.second(x)


def poolformer() -> nn.Module:
    """PoolFormer-S12 (Yu et al. 2022), with patches of 2 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2, 1)]
    inner = 64
    for out, count in ((64, 2), (128, 2), (320, 6), (512, 2)):
        layers += [nn.Conv2d(inner, out, 3, 2, 1)] if out != inner else []
        layers += [PoolFormerBlock(out) for _ in range(count)]
        inner = out
    return nn.Sequential(*layers, nn.GroupNorm(1, 512), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
