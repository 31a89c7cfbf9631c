"""What is certified of an image depends on the image alone: not on the batch, its order, or what is asked beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import robench
from robench.layers import GroupSort2
from robench.models.networks.tiles import Tiled, stable_sizes


def dense():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 5))


def narrow():
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


def conv():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16, 5))


def sorting():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 40), GroupSort2(), nn.Linear(40, 1))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (dense, {}),
        (narrow, {"rules": ["local"]}),
        (dense, {"deploy_dtype": "float32"}),
        (dense, {"box": (0.0, 1.0)}),
        (conv, {}),
        (conv, {"deploy_dtype": "float32"}),
        (sorting, {}),
    ],
    ids=lambda item: getattr(item, "__name__", str(item)),
)
def test_the_same_bits_in_any_batch(make, options):
    torch.manual_seed(0)
    model = make().eval()
    n = 5 if "rules" in options else 45  # `local` takes its time
    x = torch.rand(n, 3, 8, 8)
    bound = robench.lipschitz_bound(model, (3, 8, 8), box=options.get("box"))

    def radii(rows, **more):
        found = robench.certify(model, x[rows], bound=bound, **options, **more)
        return {**found.by_rule, "margin": found.margin, "runner_up": found.runner_up}

    whole = radii(slice(None))
    assert any((lengths > 0).any() for lengths in whole.values())
    order = np.random.default_rng(0).permutation(n)
    for rows, batch_size in ((slice(None), 7), (order, 500), (order[: n // 3], 4), (slice(3, 4), 1)):
        for name, lengths in radii(rows, batch_size=batch_size).items():
            assert np.array_equal(lengths, whole[name][rows]), name


class Crowded(nn.Module):
    """Rounds by the number of rows and the place in the batch, as some matrix products do."""

    def forward(self, x):
        """The sum of each row, and a last bit."""
        place = torch.arange(len(x), dtype=x.dtype).reshape(-1, 1)
        return x.flatten(1).sum(1, keepdim=True) * (1 + 2.0**-50 * (place + len(x)))


def test_a_network_whose_rounding_depends_on_the_place_runs_alone():
    tiled = Tiled(Crowded(), (4,), torch.float64, torch.device("cpu"))
    x = torch.rand(9, 4, dtype=torch.float64)
    assert tiled.size > 1
    assert not torch.equal(tiled(x).roll(1, 0), tiled(x.roll(1, 0)))  # the fault is there
    assert tiled.stable().size == 1
    assert torch.equal(tiled(x).roll(1, 0), tiled(x.roll(1, 0)))


def test_sizes_that_round_otherwise_are_left_out():
    probe = torch.rand(8, 3, dtype=torch.float64)
    assert stable_sizes(lambda part: part.sum(1), probe, (1, 2, 4, 8)) == (1, 2, 4, 8)
    assert stable_sizes(Crowded(), probe, (1, 2, 4, 8)) == (1,)
    odd = stable_sizes(lambda part: part.sum(1) * (1 + 2.0**-50 * (len(part) == 2)), probe, (1, 2, 4, 8))
    assert odd == (1, 4, 8)
