"""Classifiers whose smoothed answer is known in closed form."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

PIXEL, EDGE = 128, 102.5
DISTANCE = (PIXEL - EDGE) / 255
"""Of the images of `beside` from the boundary of `half_space`."""


def half_space(inputs: int = 2) -> nn.Module:
    """Class 1 where the first input is above `EDGE`, half a pixel off the grid: rounding to it changes no class.

    Its smoothed classifier says class 1 with probability Φ((x − EDGE) / σ), cut off pixels or not, and its boundary is
    that of the half space.
    """
    model = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 1))
    weight = torch.zeros(1, inputs)
    weight[0, 0] = 1.0
    model[1].weight.data.copy_(weight)
    model[1].bias.data.fill_(-EDGE / 255)
    return model.eval()


def beside(count: int) -> np.ndarray:
    """Images of two inputs at `DISTANCE` from the boundary, no two of them equal."""
    rest = np.arange(count)
    pixels = np.stack([np.full(count, PIXEL), rest % 256, rest // 256], axis=1)
    return (pixels / 255).astype(np.float32)
