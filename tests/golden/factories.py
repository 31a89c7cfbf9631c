"""Two networks as their users wrote them, for `FILE.py:factory` with weights beside this file."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 24


class Residual(nn.Module):
    """One residual block with a tanh, a leaky ReLU and an affine scale: operations robench itself never writes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, WIDTH)
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.norm = nn.BatchNorm1d(WIDTH)
        self.last = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(self.stem((x - 0.5).flatten(1)), 0.1)
        x = x + 0.5 * torch.tanh(self.inner(x)) * self.scale
        return self.last(self.norm(x)).log_softmax(1)


def by_torchlip() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from deel import torchlip
    return torchlip.Sequential(
        torchlip.SpectralConv2d(1, 4, 3, padding=1),
        torchlip.GroupSort2(),
        torchlip.ScaledL2NormPool2d(2),
        nn.Flatten(),
        torchlip.SpectralLinear(64, 16),
        torchlip.FullSort(),
        torchlip.FrobeniusLinear(16, 10, disjoint_neurons=True),
    )
