"""Networks that give something else than logits of classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.published.blocks import conv
from benchmarks.published.residual import resnet18


class Unet(nn.Module):
    """Ronneberger et al. 2015 with 16 to 128 channels: one logit a pixel."""

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 64, 128)
        self.down = nn.ModuleList(self._pair(a, b) for a, b in zip((3, *widths), widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.wider = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, 2) for width in widths[-2::-1])
        self.up = nn.ModuleList(self._pair(2 * width, width) for width in widths[-2::-1])
        self.head = nn.Conv2d(16, 1, 1)

    @staticmethod
    def _pair(inner: int, out: int) -> nn.Module:
        return nn.Sequential(*conv(inner, out), nn.ReLU(), *conv(out, out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """A map of logits."""
        kept = []
        for place, layer in enumerate(self.down):
            x = layer(self.pool(x) if place else x)
            kept.append(x)
        for wider, layer, before in zip(self.wider, self.up, kept[-2::-1], strict=True):
            x = layer(torch.cat((before, wider(x)), dim=1))
        return self.head(x)


def features() -> nn.Module:
    """ResNet-18 without its last layer: 512 features."""
    return nn.Sequential(*list(resnet18().children())[:-1])


def regressor() -> nn.Module:
    """A number for a row of 13 measurements: two hidden layers of 64 units with tanh."""
    return nn.Sequential(nn.Linear(13, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
