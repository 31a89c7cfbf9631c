"""Networks as users of deel-torchlip and orthogonium write them, for `FILE.py:factory` too."""

import warnings

from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from deel import torchlip
    from orthogonium import layers as orthogonium

SHAPE = (1, 8, 8)
CLASSES = 10


def by_torchlip() -> nn.Module:
    return torchlip.Sequential(
        torchlip.SpectralConv2d(1, 8, 3, padding=1),
        torchlip.GroupSort2(),
        torchlip.ScaledL2NormPool2d(2),
        torchlip.SpectralConv2d(8, 8, 3, padding=1),
        torchlip.HouseHolder(8),
        torchlip.ScaledAvgPool2d(2),
        nn.Flatten(),
        torchlip.SpectralLinear(32, 16),
        torchlip.FullSort(),
        torchlip.MaxMin(),
        torchlip.FrobeniusLinear(32, CLASSES, disjoint_neurons=True),
    )


def by_orthogonium() -> nn.Module:
    return nn.Sequential(
        orthogonium.AdaptiveOrthoConv2d(1, 8, 3, padding=1, padding_mode="zeros"),
        orthogonium.MaxMin(),
        orthogonium.AdaptiveOrthoConv2d(8, 8, 4, stride=2, padding=1, padding_mode="zeros"),
        orthogonium.LayerCentering2D(8),
        orthogonium.HouseHolder(8),
        nn.Flatten(),
        orthogonium.OrthoLinear(128, 16),
        orthogonium.Abs(),
        orthogonium.UnitNormLinear(16, CLASSES),
    )
