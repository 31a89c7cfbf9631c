"""The constants of convolutions against closed forms and counted pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robench.errors import SpecError
from robench.layers.convolution import paper_factor, strict_factor


def duplication(conv: nn.Conv2d, size: tuple[int, int]) -> torch.Tensor:
    """How many times each pixel is read: by pushing a kernel of ones back."""
    counter = nn.Conv2d(1, 1, conv.kernel_size, conv.stride, conv.padding, bias=False)
    nn.init.ones_(counter.weight)
    image = torch.zeros(1, 1, *size, requires_grad=True)
    counter(image).sum().backward()
    return image.grad[0, 0]


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(8, 8), (28, 20)])
def test_the_paper_factor_is_equation_11(kernel, size):
    conv = nn.Conv2d(3, 4, kernel, padding=kernel // 2)
    half = (kernel - 1) // 2
    h, w = size
    expected = math.sqrt((kernel * w - half * (half + 1)) * (kernel * h - half * (half + 1)) / (h * w))
    assert paper_factor(conv, size) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("kernel", [1, 2, 3, (2, 5), 4])
@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize("padding", [0, 1, (2, 0), 4])
def test_both_factors_against_counted_pixels(kernel, stride, padding):
    conv, size = nn.Conv2d(2, 2, kernel, stride, padding), (9, 7)
    counts = duplication(conv, size)
    assert paper_factor(conv, size) ** 2 == pytest.approx(float(counts.mean()), rel=1e-6)
    assert strict_factor(conv) ** 2 >= float(counts.max()) - 1e-9


def test_no_output_is_refused():
    with pytest.raises(SpecError, match="no output"):
        paper_factor(nn.Conv2d(1, 1, 5), (4, 8))
