"""Each planted fault must turn a check red that is green without it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from robench.certificates import certify as certify_module
from robench.certificates import radii as radii_module
from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.lipschitz.norms import convolution as convolution_module
from robench.lipschitz.norms import lags as lags_module
from robench.lipschitz.norms import section as section_module
from robench.lipschitz.norms import torus as torus_module
from robench.lipschitz.norms import windows as windows_module
from robench.lipschitz.rules.table import RULES
from robench.lipschitz.trace.nonlinear import Function
from tests.certificates import checks

RED = (AssertionError, BoundError)


def test_lipschitz_constant_halved() -> None:
    layer, _ = checks.linear_classifier(0)
    bounds = bound_module(layer.eval(), (40,))
    halved = dataclasses.replace(bounds, upper=bounds.upper / 2, pairwise=bounds.pairwise / 2, paper=bounds.paper / 2)
    checks.check_linear_radius(bounds)
    with pytest.raises(RED):
        checks.check_linear_radius(halved)


def test_group_norms_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    def product(kernel: Any, geometry: Any) -> float:
        return math.prod(convolution_module.group_bound(group, geometry) for group in kernel)

    checks.check_grouped_convolution()
    monkeypatch.setattr(windows_module, "convolution_norm_upper", product)
    with pytest.raises(RED):
        checks.check_grouped_convolution()


def test_torus_one_row_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torus_module.torus_sides
    checks.check_torus()
    monkeypatch.setattr(convolution_module, "LOOSE", math.inf)
    checks.check_torus()
    monkeypatch.setattr(torus_module, "torus_sides", lambda *given: tuple(side - 1 for side in right(*given)))
    with pytest.raises(RED):
        checks.check_torus()


def test_stride_aliases_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torus_module.Torus.phases

    def dropped(*given: Any) -> torch.Tensor:
        phases = right(*given).clone()
        phases[:, 1:] = 0
        return phases

    checks.check_stride()
    monkeypatch.setattr(convolution_module, "LAGS", 0)
    checks.check_stride()
    monkeypatch.setattr(torus_module.Torus, "phases", dropped)
    with pytest.raises(RED):
        checks.check_stride()


def test_products_of_taps_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lags_module._products

    def halved(kernel: Any, distance: tuple[int, ...]) -> torch.Tensor:
        return right(kernel, distance) / (2.0 if any(distance) else 1.0)

    monkeypatch.setattr(convolution_module, "LAGS", math.inf)
    checks.check_stride()
    monkeypatch.setattr(lags_module, "_products", halved)
    with pytest.raises(RED):
        checks.check_stride()


def test_section_to_windows_along_one_axis_and_pixels_along_another(monkeypatch: pytest.MonkeyPatch) -> None:
    right = section_module.box_lengths

    def mixed(taps: Any, geometry: Any) -> tuple[int, ...]:
        axes = range(len(taps))
        return tuple(
            right(taps[axis : axis + 1], dataclasses.replace(geometry, **_axis(geometry, axis)))[0] for axis in axes
        )

    checks.check_section()
    monkeypatch.setattr(section_module, "box_lengths", mixed)
    with pytest.raises(RED):
        checks.check_section()


def _axis(geometry: Any, axis: int) -> dict[str, Any]:
    names = ("size", "stride", "dilation", "padding")
    return {name: getattr(geometry, name)[axis : axis + 1] for name in names}


def test_radius_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    checks.check_division()
    monkeypatch.setattr(radii_module, "_divide_down", lambda margin, constant: np.nextafter(margin / constant, np.inf))
    with pytest.raises(RED):
        checks.check_division()


def test_stale_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a weight cache that evaluation mode does not renew: the audit saw other weights than the forward pass."""
    checks.check_changed_weights()
    layer, _ = checks.linear_classifier(1)
    known = bound_module(layer.eval(), (40,)).fingerprint
    monkeypatch.setattr(certify_module, "fingerprint", lambda module: known)
    with pytest.raises(RED):
        checks.check_changed_weights()


def test_joint_rule_on_a_unit_row_head() -> None:
    checks.check_opposed_rows()
    bounds = bound_module(_opposed(), (2,))
    root = math.sqrt(2) * bounds.body_upper
    faulty = dataclasses.replace(bounds, paper=root, pairwise=np.array([[0.0, root], [root, 0.0]]))
    with pytest.raises(RED):
        checks.check_opposed_rows(faulty)


def _opposed() -> torch.nn.Module:
    head = torch.nn.Linear(2, 2, bias=False)
    head.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    return head.eval()


def test_largest_std_for_the_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(trace: Any, module: Any, view: Any) -> Any:
        return trace.nonlinear(
            Function("normalisation", 1 / float(module.std.max()), terms=4), [view], module(view.zero)
        )

    checks.check_normalisation()
    monkeypatch.setitem(RULES.modules, "robench.layers.normalization.InputNormalization", faulty)
    with pytest.raises(RED):
        checks.check_normalisation()


def test_plane_check_finds_a_constant_that_is_too_small() -> None:
    def check(shrink: float) -> None:
        for seed in range(6):
            bounds = bound_module(checks.plane_network(seed, 1), (2,))
            checks.check_plane(seed, 1, dataclasses.replace(bounds, upper=bounds.upper / shrink))

    check(1.0)
    with pytest.raises(RED):
        check(4.0)
