"""Networks of layers of deel-torchlip and orthogonium, which must be installed: eight blocks, constant 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.published.one_lipschitz import BLOCKS, CHANNELS, Lift


class LipschitzSum(nn.Module):
    """torchlip's residual layer around a branch."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        from deel.torchlip import LipResidual

        self.branch, self.sum = nn.Sequential(*branch), LipResidual()

    def forward(self, x: Tensor) -> Tensor:
        """The weighted sum."""
        return self.sum(x, self.branch(x))


def _settled(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """After some steps of training mode, in which the layers find their norms and means."""
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(5):
        network(torch.rand(16, *shape, generator=generator))
    return network.eval()


def torchlip_dense() -> nn.Module:
    """Spectral dense layers and GroupSort2, as they are after `vanilla_export`."""
    from deel import torchlip

    layers: list[nn.Module] = [nn.Flatten(), torchlip.SpectralLinear(3072, 256)]
    for _ in range(BLOCKS):
        layers += [torchlip.GroupSort2(), torchlip.SpectralLinear(256, 256)]
    network = torchlip.Sequential(
        *layers, torchlip.GroupSort2(), torchlip.FrobeniusLinear(256, 10, disjoint_neurons=False)
    )
    return _settled(network, (3, 32, 32)).vanilla_export()


def torchlip_residual() -> nn.Module:
    """Spectral convolutions in weighted sums, batch centering, pooling by L2 norms."""
    from deel import torchlip

    layers: list[nn.Module] = [Lift()]
    for _ in range(BLOCKS):
        block = (
            torchlip.SpectralConv2d(CHANNELS, CHANNELS, 3, padding=1),
            torchlip.BatchCentering(CHANNELS),
            torchlip.GroupSort2(),
        )
        layers.append(LipschitzSum(*block))
    last = torchlip.SpectralLinear(CHANNELS * 64, 10)
    return _settled(nn.Sequential(*layers, torchlip.ScaledL2NormPool2d(4), nn.Flatten(), last), (3, 32, 32))


def orthogonium_aoc() -> nn.Module:
    """Adaptive orthogonal convolutions (Boissin et al. 2025), strides among them, and MaxMin."""
    from orthogonium.layers import AdaptiveOrthoConv2d, BatchCentering2D, MaxMin, OrthoLinear

    layers: list[nn.Module] = [AdaptiveOrthoConv2d(3, CHANNELS, 3, padding=1, padding_mode="circular"), MaxMin()]
    inner = CHANNELS
    for place in range(BLOCKS):
        stride = 2 if place % 3 == 2 else 1
        out = inner * stride
        layers += [
            AdaptiveOrthoConv2d(inner, out, 3, stride=stride, padding=1, padding_mode="circular"),
            BatchCentering2D(out),
            MaxMin(),
        ]
        inner = out
    side = 32 // (inner // CHANNELS)
    return _settled(nn.Sequential(*layers, nn.Flatten(), OrthoLinear(inner * side * side, 10)), (3, 32, 32))
