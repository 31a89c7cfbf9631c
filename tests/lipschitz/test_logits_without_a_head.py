"""Pairs of logits that no linear map gives: Lip(f_i − f_j) ≤ Lip(f_i) + Lip(f_j), never below a slope."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robench import lipschitz
from robench.lipschitz import bound
from robench.lipschitz.bound import bound_module
from tests.lipschitz.forms import Form

CENTERS = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "ReLU": torch.relu,
    "leaky ReLU": lambda x: nn.functional.leaky_relu(x, -1.5),
    "some of them": lambda x: torch.relu(x)[:, [2, 0, 1, 1]],
    "distances": lambda x: torch.cdist(x, CENTERS.to(x.dtype), compute_mode="donot_use_mm_for_euclid_dist"),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    linear = nn.Linear(4, 4)
    linear.weight.data *= torch.tensor([[0.1], [1.0], [0.1], [2.0]])
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), linear, Form(ENDS[name])).eval()


def slopes(model: nn.Module) -> Tensor:
    """The largest slopes of the differences of logits at random points."""
    model = model.double()
    generator = torch.Generator().manual_seed(3)
    found = []
    for size in (0.3, 3.0, 30.0) * 30:
        x = size * torch.randn(4, dtype=torch.float64, generator=generator)
        jacobian = torch.autograd.functional.jacobian(lambda z: model(z[None])[0], x)
        found.append((jacobian[:, None] - jacobian).norm(dim=-1))
    return torch.stack(found).amax(0)


@pytest.mark.parametrize("name", ENDS)
def test_each_pair_holds_and_gains(name: str) -> None:
    found = bound_module(network(name), (4,))
    assert found.pairwise is not None
    pairs = torch.from_numpy(found.pairwise)
    assert bool((slopes(network(name)) <= pairs + 1e-12).all())
    assert found.paper is not None
    assert found.paper >= float(pairs.max())
    assert float(pairs[pairs > 0].min()) < 0.8 * math.sqrt(2) * found.upper


def test_planted_halves_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    each = bound._of_each
    monkeypatch.setattr(bound, "_of_each", lambda output: each(output) / 2)
    pairs = torch.from_numpy(lipschitz.bound_module(network("leaky ReLU"), (4,)).pairwise)
    assert not bool((slopes(network("leaky ReLU")) <= pairs + 1e-12).all())


def test_a_model_that_is_nothing_but_a_link_has_constant_1() -> None:
    assert lipschitz.lipschitz_bound(Form(lambda x: torch.softmax(x, dim=1)).eval(), (3,)).upper == 1.0
