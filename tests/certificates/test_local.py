"""The rule `local`: exact where the network is linear, true against brute force, and red where a fault is planted."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robench
from robench.certificates import local as local_module
from robench.certificates.local import local_radii
from robench.errors import BoundError
from robench.layers import FullSort
from robench.lipschitz.local import ball as balls
from robench.lipschitz.local import graph as graphs
from robench.lipschitz.local.ball import Limits, Within
from robench.specs.evaluation import DeployDtype
from tests.certificates import local_networks as networks


def inputs_of(shape: tuple[int, ...], seed: int, count: int = 6) -> Tensor:
    """Random inputs."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64)


def false_radii(kind: str, seed: int, count: int = 6) -> int:
    """Certificates that an attack refutes."""
    network, shape = networks.drawn(kind, seed)
    inputs = inputs_of(shape, seed, count)
    found, known, predicted = networks.radii(network, shape, inputs)
    assert bool((found >= known).all())
    return int(networks.attacked(network, inputs, predicted, found * (1 - 1e-9)).sum())


@pytest.mark.parametrize("kind", networks.KINDS)
def test_values_of_the_graph_are_those_of_the_network(kind: str) -> None:
    network, shape = networks.drawn(kind, 0)
    wide, own = networks.graph(network, shape)
    inputs = inputs_of(shape, 1)
    ball = balls.Ball(own, inputs.flatten(1))
    apart = (ball.values[-1] - wide(inputs).flatten(1)).norm(dim=1)
    assert bool((apart <= ball.distances[-1]).all())
    assert float(ball.distances[-1].max()) < 1e-8


@pytest.mark.parametrize("kind", ["relu", "one logit"])
def test_no_attack_finds_another_class_in_the_ball(kind: str) -> None:
    assert false_radii(kind, 0, 3) == 0


@pytest.mark.parametrize("kind", networks.KINDS)
def test_no_descent_falls_by_more_than_is_allowed(kind: str) -> None:
    network, shape = networks.drawn(kind, 5)
    assert networks.below_least(network, shape, inputs_of(shape, 2, 2), 1.0) == (0, 0)


@pytest.mark.parametrize("kind", networks.KINDS)
def test_limits_and_reach_hold_at_drawn_points(kind: str) -> None:
    network, shape = networks.drawn(kind, 3)
    for radius in (0.05, 1.0):
        assert networks.beyond_limits(network, shape, inputs_of(shape, 2, 3), radius) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("kind", networks.KINDS)
def test_no_radius_or_limit_is_false_in_a_sweep(kind: str, seed: int) -> None:
    assert false_radii(kind, seed + 100) == 0
    network, shape = networks.drawn(kind, seed + 100)
    radius = 10.0 ** (seed % 5 - 3)
    assert networks.below_least(network, shape, inputs_of(shape, seed, 3), radius) == (0, 0)
    assert networks.beyond_limits(network, shape, inputs_of(shape, seed, 3), radius) == 0


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_radius_is_below_the_exact_one_in_the_plane_and_near_it(seed: int) -> None:
    """The nearest point of another class among 200 on each of 3000 rays."""
    network, shape = networks.drawn("relu", seed, size=2)
    inputs = inputs_of(shape, seed, 2)
    found, known, predicted = networks.radii(network, shape, inputs)
    wide = networks.graph(network, shape)[0]
    angles = torch.arange(3000, dtype=torch.float64) * (2 * math.pi / 3000)
    rays = torch.stack((angles.cos(), angles.sin()), dim=1)
    gained = []
    for image, x in enumerate(inputs):
        steps = torch.linspace(0, 2 * float(found[image]) + 1e-3, 200, dtype=torch.float64)
        points = x + steps[:, None, None] * rays
        other = (networks.classes(wide(points.reshape(-1, 2))) != predicted[image]).reshape(200, -1).any(1)
        exact = float(steps[other][0]) if bool(other.any()) else math.inf
        assert float(found[image]) < exact
        gained.append(float(found[image] / known[image]))
    assert sum(gained) / len(gained) > 1.5


def test_radius_is_the_exact_distance_where_the_network_is_linear() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.LeakyReLU(0.1), nn.Linear(6, 3)).eval()
    network[0].bias.data.copy_(torch.tensor([40.0, 40, -40, 40, 40, -40, 40]))
    network[2].bias.data.copy_(torch.tensor([-300.0, 300, 300, 300, -300, 300]))
    network[4].bias.data.sub_(network(torch.zeros(1, 5))[0].detach())
    inputs = inputs_of((5,), 4)
    found, _, predicted = networks.radii(network, (5,), inputs)
    wide = networks.graph(network, (5,))[0]
    for image, x in enumerate(inputs):
        jacobian = torch.autograd.functional.jacobian(lambda z: wide(z[None])[0], x)
        logits, own = wide(x[None])[0], int(predicted[image])
        distances = [
            float((logits[own] - logits[j]) / (jacobian[own] - jacobian[j]).norm()) for j in range(3) if j != own
        ]
        assert float(found[image]) <= min(distances)
        assert float(found[image]) >= min(distances) * (1 - 1e-5)


def test_nothing_is_tried_where_nothing_is_known() -> None:
    network, shape = networks.drawn("relu", 1)
    inputs = inputs_of(shape, 1)
    wide, own = networks.graph(network, shape)
    predicted = networks.classes(wide(inputs))
    errors = torch.zeros(len(inputs), 3, dtype=torch.float64)
    assert not local_radii(own, inputs, predicted, errors, 0.0, torch.zeros(len(inputs), dtype=torch.float64)).any()


def test_an_error_of_the_logits_costs_its_part_of_the_margin() -> None:
    network, shape = nn.Linear(3, 2).eval(), (3,)
    inputs = inputs_of(shape, 1)
    wide, own = networks.graph(network, shape)
    logits = wide(inputs)
    predicted, margins = networks.classes(logits), (logits[:, 0] - logits[:, 1]).abs()
    slope = float((wide.weight[0] - wide.weight[1]).norm())  # type: ignore[index, operator]
    known = torch.full_like(margins, 1e-9)
    for error, growth in ((0.0, 0.0), (1e-3, 0.0), (0.0, 0.5)):
        errors = torch.full_like(logits, error)
        found = local_radii(own, inputs, predicted, errors, growth, known)
        wanted = (margins - error) / (slope + growth)
        assert bool((found <= wanted).all())
        assert bool((found >= wanted * 0.97)[wanted > 1e-6].all())


@pytest.mark.parametrize("deploy_dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_certify_gives_radii_that_attacks_do_not_contradict(deploy_dtype: DeployDtype) -> None:
    network, shape = networks.drawn("relu", 7)
    x = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))
    found = robench.certify(network, x, rules=["local"], deploy_dtype=deploy_dtype)
    assert list(found.by_rule)[-1] == "local"
    assert bool((found.by_rule["local"] >= found.by_rule["pairwise"]).all())
    assert found.by_rule["local"].sum() > 1.5 * found.by_rule["pairwise"].sum()
    labels = found.predicted
    attacked = robench.attack(network, x, labels, eps=[2.0], attacks="paper", certificates=found)
    assert not robench.crosscheck(found.labelled(labels), attacked)


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.Softmax(dim=1), nn.GELU()])
def test_other_functions_are_refused_by_name(layer: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 2)).eval()
    with pytest.raises(BoundError, match=f"`{type(layer).__name__.lower()}`"):
        networks.graph(network, (4,))


def test_a_sort_of_more_than_two_is_refused_with_its_size() -> None:
    with pytest.raises(BoundError, match="`sort` in `1`, which puts 6 entries in order"):
        networks.graph(nn.Sequential(nn.Linear(4, 6), FullSort()).eval(), (4,))


def test_a_large_network_is_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(BoundError, match="has 3 units"):
        patch.setattr(graphs, "MOST_UNITS", 2)
        networks.graph(network, (2,))


def test_a_graph_that_is_another_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network, shape = networks.drawn("relu", 7)
    other = networks.graph(networks.drawn("relu", 8)[0], shape)[1]
    monkeypatch.setattr(local_module, "network_graph", lambda *given: other)
    with pytest.raises(BoundError, match="from those of the network"):
        robench.certify(network, torch.rand(2, *shape), rules=["local"])


def test_written_out_bends_are_known() -> None:
    class Written(nn.Module):
        """Clamp and PReLU with a slope a channel."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.bend, self.last = nn.Linear(3, 4), nn.PReLU(4, init=0.3), nn.Linear(4, 2)
            self.bend.weight.data[0] = -0.5

        def forward(self, x: Tensor) -> Tensor:
            """Logits."""
            logits: Tensor = self.last(self.bend(self.first(x)).clamp(min=0))
            return logits

    torch.manual_seed(0)
    network = Written().eval()
    wide, own = networks.graph(network, (3,))
    inputs = inputs_of((3,), 0)
    ball = balls.Ball(own, inputs)
    assert bool(((ball.values[-1] - wide(inputs)).norm(dim=1) <= ball.distances[-1]).all())
    assert networks.beyond_limits(network, (3,), inputs, 1.0) == 0


class TestPlantedFaults:
    """Each of these makes the checks above red."""

    def refuted(self) -> int:
        """Rows that fall by more than is allowed, of a few networks."""
        count = 0
        for kind in ("relu", "groupsort"):
            network, shape = networks.drawn(kind, 5)
            count += sum(networks.below_least(network, shape, inputs_of(shape, 2, 3), 1.0))
        return count

    def test_limits_that_are_too_small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        own = Within._limits

        def smaller(self: Within, node: Any) -> tuple[Tensor, Tensor]:
            low, high = own(self, node)
            return low / 3, high / 3

        monkeypatch.setattr(Within, "_limits", smaller)
        assert self.refuted() > 0
        network, shape = networks.drawn("relu", 3)
        assert networks.beyond_limits(network, shape, inputs_of(shape, 2, 3), 1.0) > 0

    def test_a_unit_that_is_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def all_but_one(center: Tensor, low: Tensor, high: Tensor) -> Tensor:
            found = torch.where(center >= 0, center < low, -center < high)
            found[:, :1] = False
            return found

        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 1), nn.ReLU(), nn.Linear(1, 2)).eval()
        inputs = inputs_of((3,), 1)
        assert networks.below_least(network, (3,), inputs, 1.0) == (0, 0)
        monkeypatch.setattr(balls, "bends", all_but_one)
        assert min(networks.below_least(network, (3,), inputs, 1.0)) > 0

    def test_a_joint_norm_that_is_too_small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        own = Within._jointly
        monkeypatch.setattr(Within, "_jointly", lambda *given: own(*given) / 10)
        assert self.refuted() > 0

    def test_a_square_that_is_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        own = balls.unit_minima

        def free(limits: Limits, row: Tensor, kept: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor]:
            least, slack = own(limits, row, kept, multiplier)
            return least + multiplier * limits.joint.square() / 2, slack

        monkeypatch.setattr(balls, "unit_minima", free)
        assert self.refuted() > 0


def test_one_logit_has_local_radii_too() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)).eval()
    x = torch.rand(6, 4)
    found = robench.certify(network, x, rules=["local"])
    assert found.by_rule["local"].sum() > 1.2 * found.by_rule["pairwise"].sum()
    attacked = robench.attack(network, x, found.predicted, eps=[2.0], certificates=found)
    assert not robench.crosscheck(found.labelled(found.predicted), attacked)
