"""Entries that are used several times: broadcast against a constant, as twins, in concatenations of each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.lipschitz.rules import activations
from robench.lipschitz.rules.table import RULES
from robench.lipschitz.trace import joint
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.trace import Trace
from tests.lipschitz.forms import Form
from tests.lipschitz.oracles import largest_slope

LEVELS = torch.arange(9, dtype=torch.float64) / 8


def levels(x: Tensor) -> Tensor:
    return LEVELS.to(x.dtype)


BROADCASTS: list[Callable[[Tensor], Tensor]] = [
    lambda x: torch.clamp(x[..., None], max=levels(x) * 100 + 50),
    lambda x: torch.clamp(x[..., None], min=-levels(x) * 100 - 50, max=levels(x) * 100 + 50),
    lambda x: torch.clamp_min(x[..., None], -levels(x) * 100 - 50),
    lambda x: torch.clamp_max(x[:, None], levels(x)[:, None] * 100 + 50),
    lambda x: torch.maximum(x[..., None], -levels(x) * 100 - 50),
    lambda x: torch.minimum(levels(x) * 100 + 50, x[..., None]),
    lambda x: torch.fmax(x[..., None], -levels(x) * 100 - 50),
    lambda x: x[..., None] + levels(x),
    lambda x: levels(x) - x[..., None],
    lambda x: x[..., None] * torch.ones_like(levels(x)),
    lambda x: x[..., None] / torch.ones_like(levels(x)),
]


@pytest.mark.parametrize("form", BROADCASTS)
def test_what_broadcasts_against_a_constant_is_repeated(form: Callable[[Tensor], Tensor]) -> None:
    network = Form(form).eval()
    bound = bound_module(network, (4,)).upper
    assert bound == pytest.approx(3.0, rel=1e-9)
    assert bound >= largest_slope(network, (4,), points=6)


def test_saturating_levels_are_bounded_from_above() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Form(lambda x: torch.clamp(x[..., None], max=levels(x)).flatten(1)), nn.Linear(36, 3))
    assert bound_module(network.eval(), (4,)).upper >= largest_slope(network, (4,), points=24)


@pytest.mark.parametrize("rule", ["nonlinear", "pointwise"])
def test_a_rule_that_forgets_to_repeat_is_refused(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(RULES)
    view = trace.start((4,))
    wide = torch.zeros(2, 4, 9, dtype=torch.float64)
    monkeypatch.setattr(Trace, "spread", lambda self, view, result: view)
    inputs: Any = [view] if rule == "nonlinear" else view
    with pytest.raises(BoundError, match="repeats its input"):
        getattr(trace, rule)(Function("clamp", 1.0), inputs, wide)


def positive(x: Tensor) -> Tensor:
    return torch.relu(x)


def negative(x: Tensor) -> Tensor:
    return torch.relu(-x)


def root_of_a_part_used_twice(x: Tensor) -> Tensor:
    r, n = positive(x), negative(x)
    return torch.sqrt(r**2 + n**2 + n**2)


def joined_twice(x: Tensor) -> Tensor:
    r, n = positive(x), negative(x)
    return torch.cat([r, n, n], dim=1)


def joined_three_times(x: Tensor) -> Tensor:
    r, n = positive(x), negative(x)
    return torch.cat([n, r, r, r, n], dim=1)


def twice_computed(x: Tensor) -> Tensor:
    return torch.cat([positive(x), negative(x), negative(x)], dim=1)


def weighted(x: Tensor) -> Tensor:
    r, n = positive(x), negative(x)
    return torch.sqrt(0.5 * r**2 + 3 * n**2)


def of_the_twin(x: Tensor) -> Tensor:
    r, n = positive(x), negative(x)
    return torch.cat([r, n, torch.tanh(r)], dim=1)


def parts_of_twins(x: Tensor) -> Tensor:
    r, n = positive(x), negative(x)
    return torch.cat([r[:, :3], n[:, 1:], n[:, 2:]], dim=1)


TWINS = [
    (root_of_a_part_used_twice, math.sqrt(2)),
    (joined_twice, math.sqrt(2)),
    (joined_three_times, math.sqrt(3)),
    (twice_computed, math.sqrt(2)),
    (weighted, math.sqrt(3)),
    (of_the_twin, math.sqrt(2)),
    (parts_of_twins, math.sqrt(2)),
    (lambda x: torch.cat([positive(x), negative(x)], dim=1), 1.0),
]


@pytest.mark.parametrize(("form", "true"), TWINS)
def test_twins_count_as_often_as_they_are_used(form: Callable[[Tensor], Tensor], true: float) -> None:
    network = Form(form).eval()
    bound = bound_module(network, (4,)).upper
    assert bound >= largest_slope(network, (4,), points=12)
    assert bound == pytest.approx(true, rel=1e-6)


def planted(network: nn.Module, shape: tuple[int, ...]) -> float:
    """The bound, or the refusal by a slope that was found above it, as a bound of 0."""
    try:
        return bound_module(network.eval(), shape).upper
    except BoundError:
        return 0.0


def test_planted_twins_that_are_counted_once_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(pending: dict[int, Any], view: View, weights: Tensor) -> None:
        add(pending, view, weights)
        pending[view.signal.order] = pending[view.signal.order]._replace(
            weights=pending[view.signal.order].weights.clamp_max(1.0)
        )

    add = joint._add
    monkeypatch.setattr(joint, "_add", once)
    network = Form(root_of_a_part_used_twice).eval()
    assert planted(network, (4,)) < largest_slope(network, (4,), points=12)


def test_planted_slopes_of_a_hardsigmoid_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Form(functional.hardsigmoid).eval()
    true = largest_slope(network, (1,), points=24)
    assert bound_module(network, (1,)).upper >= true
    monkeypatch.setattr(activations, "SIXTH", 1 / 6)
    assert bound_module(network, (1,)).upper < true


class Dense(nn.Module):
    """Concatenations of concatenations, as in DenseNet."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2 * (k + 1), 2) for k in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], dim=1)
        return x


def test_dense_concatenations_are_bounded_and_take_one_step_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    before = joint._before
    monkeypatch.setattr(joint, "_before", lambda part: (steps.append(1), before(part))[1])
    torch.manual_seed(0)
    network = Dense(24).eval()
    bound = bound_module(network, (2,)).upper
    assert bound >= largest_slope(network, (2,), points=6)
    assert len(steps) < 24 * 24 * 4  # every path would be 2^24
