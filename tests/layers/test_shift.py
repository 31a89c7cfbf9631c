"""Shifts are permutations, and nets of shifts and 1x1 convolutions have constant 1."""

from __future__ import annotations

import pytest
import torch

from robench import lipschitz_bound
from robench.layers import CircularShift
from robench.models.architectures import PAIR_SORT, shift_layers
from robench.models.build import build_constrained, export
from robench.specs.model import ModelSpec


@pytest.mark.parametrize(("channels", "moved", "size"), [(8, 1, (3, 5)), (11, 2, (2, 2)), (16, 3, (1, 4))])
def test_each_group_moves_by_one_pixel_on_the_torus(channels, moved, size):
    x = torch.randn(2, channels, *size)
    out, group = CircularShift(channels, moved)(x), moved
    directions = [(1, 0), (-1, 0), (0, 1), (0, -1)] + [(0, 0)] * channels
    for channel in range(channels):
        down, right = directions[channel // group] if channel < 4 * group else (0, 0)
        for row in range(size[0]):
            for column in range(size[1]):
                source = x[:, channel, (row - down) % size[0], (column - right) % size[1]]
                assert torch.equal(out[:, channel, row, column], source)


def test_a_shift_net_is_audited_to_1():
    spec = ModelSpec(
        input_shape=(3, 8, 8),
        classes=3,
        outputs=3,
        layers=shift_layers((3, 8, 8), PAIR_SORT, [(16, 1), (24, 1)], [16]),
    )
    trained = build_constrained(spec, constraint="polar", conv_scheme="orthogonal", head="joint")
    bound = lipschitz_bound(export(trained, spec), (3, 8, 8)).upper
    assert 1.0 <= bound < 1.0001
