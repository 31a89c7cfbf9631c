"""Certificates: exact on linear classifiers, true in the plane, sound in floating point."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robench.certificates.certify import certify_records
from robench.certificates.radii import radii
from robench.errors import BoundError, ModelError
from robench.layers import GroupSort2
from robench.lipschitz import bound_module
from robench.numerics import gamma
from robench.records.record import Status
from tests.certificates import checks


@pytest.mark.parametrize("seed", range(4))
def test_linear_radius_is_exact_from_below(seed: int) -> None:
    checks.check_linear_radius(seed=seed)


@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_no_point_in_the_radius_is_of_another_class(seed: int, outputs: int) -> None:
    checks.check_plane(seed, outputs)


def test_opposed_rows() -> None:
    checks.check_opposed_rows()


def test_division_rounds_down() -> None:
    checks.check_division()


def test_changed_weights_are_refused() -> None:
    checks.check_changed_weights()


def test_one_logit_is_the_papers_rule() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), GroupSort2(), nn.Linear(4, 1)).eval()
    inputs = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    bounds = bound_module(network, (4,))
    for record, x in zip(checks.records(network, inputs, 1, bounds), inputs, strict=True):
        value = float(copy.deepcopy(network).double()(torch.from_numpy(x[None]).double()).detach())
        assert record.predicted == int(value > 0)
        assert record.runner_up == 1 - record.predicted
        assert record.radius_paper == record.radius_pairwise
        assert abs(value) / bounds.upper * (1 - 1e-9) <= record.radius_paper
        assert record.radius_paper <= abs(value) / bounds.upper


def test_unit_rows_and_joint_heads_take_their_own_rule() -> None:
    rows = nn.Linear(3, 3, bias=False)
    rows.weight.data = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [-1.0, 0, 0]])
    joint = nn.Linear(3, 3, bias=False)
    joint.weight.data = torch.eye(3)
    for head, kind, factor in ((rows, "unit_rows", 2.0), (joint, "joint", 2**0.5)):
        bounds = bound_module(head.eval(), (3,))
        assert bounds.head is not None
        assert bounds.head.kind == kind
        assert bounds.paper == pytest.approx(factor, rel=1e-9)
        (record,) = checks.records(head, np.array([[3.0, 1.0, 0.0]], dtype=np.float32), 3, bounds)
        assert record.radius_paper == pytest.approx(record.margin / factor, rel=1e-9)


def test_a_tie_is_not_certified() -> None:
    head = nn.Linear(2, 2, bias=False)
    head.weight.data = torch.eye(2)
    (record,) = checks.records(head, np.array([[1.0, 1.0]], dtype=np.float32), 2)
    assert (record.radius_pairwise, record.radius_paper, record.margin) == (0.0, 0.0, 0.0)
    assert record.status is Status.NOT_CERTIFIED


def test_status_and_skip() -> None:
    layer, inputs = checks.linear_classifier(0)
    found = checks.records(layer, inputs, 5)
    assert {record.status for record in found} == {Status.CERTIFIED, Status.MISCLASSIFIED}
    for record in found:
        assert (record.status is Status.MISCLASSIFIED) == (record.predicted != record.label)
    rest = checks.records(layer, inputs, 5, skip=range(17))
    assert [record.index for record in rest] == [17, 18, 19]
    again = checks.records(layer, inputs, 5, batch_size=7)
    for one, other in zip(found, again, strict=True):
        assert one.radius_pairwise == pytest.approx(other.radius_pairwise, rel=1e-12)


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_forward_errors_are_within_their_bounds(seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), GroupSort2(), nn.AvgPool2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 5)
    ).eval()
    bounds = bound_module(network, (2, 6, 6))
    x = torch.randn(4, 2, 6, 6) * scale
    with torch.no_grad():
        single = network(x).double()
        double = network.double()(x.double())
    slope, offset = bounds.rounding["float32"]
    for a, b, z in zip(single, double, x.double(), strict=True):
        assert float((a - b).norm()) <= slope * float(z.norm()) + offset


def test_float32_deployment_costs_some_radius() -> None:
    layer, inputs = checks.linear_classifier(0)
    plain = checks.records(layer, inputs, 5)
    wide = checks.records(layer, inputs, 5, deploy_dtype="float32")
    assert all(b.radius_pairwise < a.radius_pairwise for a, b in zip(plain, wide, strict=True) if a.radius_pairwise > 0)


def test_deployed_float32_class_does_not_change_within_the_radius() -> None:
    network = checks.plane_network(3, 3)
    inputs = np.random.default_rng(0).uniform(-2, 2, (20, 2)).astype(np.float32)
    generator = np.random.default_rng(1)
    for record, x in zip(checks.records(network, inputs, 3, deploy_dtype="float32"), inputs, strict=True):
        direction = generator.standard_normal((500, 2))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        points = (x + record.radius_pairwise * direction * (1 - 1e-6)).astype(np.float32)
        with torch.no_grad():
            assert (network(torch.from_numpy(points)).argmax(1) == record.predicted).all()


def test_misfits_are_refused() -> None:
    layer, inputs = checks.linear_classifier(0)
    bounds = bound_module(layer.eval(), (40,))
    with pytest.raises(ModelError, match="shape"):
        data = checks.dataset(inputs[:, :10], [0] * 20, 5)
        list(certify_records(checks.Model(layer, (40,), 5), bounds, data))
    with pytest.raises(BoundError, match="classes"):
        checks.records(layer, inputs, 7, bounds)
    with pytest.raises(BoundError, match="finite"):
        checks.records(layer, inputs, 5, dataclasses.replace(bounds, upper=float("inf")))


def test_pairwise_is_never_below_the_papers_rule() -> None:
    generator = np.random.default_rng(0)
    for seed in range(5):
        bounds = bound_module(checks.plane_network(seed, 4), (2,))
        found = radii(bounds, generator.standard_normal((50, 4)), np.full(50, 3.0))
        assert (found.by_rule["pairwise"] >= found.by_rule["paper"]).all()


def test_gamma_is_what_the_bounds_are_made_of() -> None:
    bounds = bound_module(nn.Linear(100, 3, bias=False).eval(), (100,))
    assert bounds.rounding["float64"][0] < 20 * gamma(100) * 3**0.5
