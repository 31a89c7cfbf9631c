"""Classes that are masked by a huge constant cost the others nothing; a constant that the others share does."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench import lipschitz
from robench.certificates.radii import radii as radii_of_logits

FMIN = float(torch.finfo(torch.float32).min)
FEATURES = 8


class Masked(nn.Module):
    """Three classes, and three more under a mask that is added."""

    def __init__(self, net: nn.Module, mask: list[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mask", torch.tensor(mask))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.mask


def body() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, 6)).eval().requires_grad_(False)


def in_bias(mask: list[float]) -> nn.Module:
    net = body()
    net[2].bias += torch.tensor(mask)
    return net


def added(mask: list[float]) -> nn.Module:
    return Masked(body(), mask).eval()


def points(n: int = 50) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, FEATURES)).astype(np.float32)


def radii(module: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    bounds = lipschitz.bound_module(module, (FEATURES,))
    x = points()
    with torch.no_grad():
        z = copy.deepcopy(module).double()(torch.from_numpy(x).double()).numpy()
    found = radii_of_logits(bounds, z, np.linalg.norm(x.astype(float), axis=1) * (1 + 1e-12))
    return found.predicted, found.by_rule["pairwise"]


@pytest.mark.parametrize("make", [in_bias, added])
@pytest.mark.parametrize("value", [-1e5, -1e9, -1e30, FMIN])
def test_the_size_of_a_mask_changes_no_radius(make, value):
    predicted, radius = radii(make([0.0] * 3 + [-1e2] * 3))
    assert (radius > 0).mean() > 0.9
    masked_predicted, masked = radii(make([0.0] * 3 + [value] * 3))
    np.testing.assert_array_equal(masked_predicted, predicted)
    np.testing.assert_allclose(masked, radius, rtol=1e-6)


@pytest.mark.parametrize("make", [in_bias, added])
def test_a_constant_that_two_classes_share_is_counted(make):
    """Above 2^60 the gap of the two is rounded to a multiple of 2^8: what is left of it proves nothing."""
    _, radius = radii(make([2.0**60] * 2 + [0.0] * 4))
    assert not radius.any()


@pytest.mark.parametrize("make", [in_bias, added])
@pytest.mark.parametrize("mask", [[0.0, 3.0, -1e4, -1e9, 1e6, -1e12], [1e3] * 6, [0.0] * 5 + [-1e18]])
def test_the_error_of_each_logit_is_within_its_own_bound(make, mask):
    """Against long double, whose roundoff is 2^11 times smaller."""
    module = make(mask)
    slope, offset, own = lipschitz.bound_module(module, (FEATURES,)).by_class
    net = module.net if isinstance(module, Masked) else module
    (a, b), (c, d) = (
        (layer.weight.numpy().astype(np.longdouble), layer.bias.numpy().astype(np.longdouble))
        for layer in (net[0], net[2])
    )
    x = points(200) * np.logspace(-3, 6, 200)[:, None].astype(np.float32)
    exact = np.maximum(x.astype(np.longdouble) @ a.T + b, 0) @ c.T + d
    if isinstance(module, Masked):
        exact = exact + module.mask.numpy().astype(np.longdouble)
    computed = copy.deepcopy(module).double()(torch.from_numpy(x).double()).numpy()
    error = np.abs(computed - exact)
    shared = slope * np.linalg.norm(x.astype(float), axis=1) + offset
    assert (np.linalg.norm(np.maximum(error - own, 0), axis=1) <= shared).all()
    assert (own <= 1e-13 * (np.abs(mask) + 1)).all()  # and it is no looser than rounding


def test_the_part_of_each_class_is_needed():
    """Rounding to a multiple of 2^7 at -1e18 is far above what the classes share."""
    slope, offset, own = lipschitz.bound_module(added([0.0] * 5 + [-1e18]), (FEATURES,)).by_class
    x = points(200)
    z = body().double()(torch.from_numpy(x).double()).numpy()[:, 5]
    mask = np.float64(np.float32(-1e18))
    error = np.abs((z + mask).astype(np.longdouble) - (z.astype(np.longdouble) + np.longdouble(mask)))
    shared = slope * np.linalg.norm(x.astype(float), axis=1) + offset
    assert error.max() > 1e6 * shared.max()
    assert error.max() <= own[5]
