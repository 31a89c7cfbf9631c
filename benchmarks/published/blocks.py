"""Parts that many published architectures share."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """Shortcut + branch, and what follows."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, last: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut, self.last = branch, shortcut or nn.Identity(), last or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return self.last(self.shortcut(x) + self.branch(x))


class SqueezeExcitation(nn.Module):
    """Channels times a gate in [0, 1] that depends on their means."""

    def __init__(self, channels: int, inner: int, bend: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), bend, nn.Conv2d(inner, channels, 1), gate
        )

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return x * self.gate(x)


def conv(inner: int, out: int, side: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size, and batch normalisation."""
    return [nn.Conv2d(inner, out, side, stride, side // 2, groups=groups, bias=False), nn.BatchNorm2d(out)]


def head(channels: int, classes: int = 10) -> list[nn.Module]:
    """The mean of each channel, and a linear map."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
