"""Random graphs of forms: no slope is above the bound, and no attack in float64 gets inside of a certified radius."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import robench
from robench.errors import BoundError
from robench.layers import GroupSort2
from robench.lipschitz import bound_module
from tests.lipschitz.oracles import largest_slope

SHAPE = (2, 4, 4)
CHANNELS = 4


class RandomGraph(nn.Module):
    """Steps that take any of the values so far: sums, concatenations, shared weights, broadcasts, limits by tensors."""

    def __init__(self, seed: int, steps: int, products: bool = False) -> None:
        super().__init__()
        d = random.Random(seed)
        torch.manual_seed(seed)
        self.first = nn.Conv2d(SHAPE[0], CHANNELS, 3, padding=1)
        self.convolutions = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, d.choice((1, 3)), padding="same") for _ in "ab")
        self.joining = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)
        self.sort = GroupSort2()
        self.limits = nn.Parameter(torch.randn(2, CHANNELS, 1, 1))
        self.last = nn.Linear(CHANNELS * (4 if d.random() < 0.5 else 1), 3)
        self.plan = [(d.randrange(16 if products else 15), d.random(), d.random()) for _ in range(steps)]

    def forward(self, x: Tensor) -> Tensor:
        values = [self.first(x)]
        for kind, left, right in self.plan:
            a, b = (values[int(place * len(values))] for place in (left, right))
            values.append(self._steps()[kind](a, b))
        y = values[-1]
        side = 2 if self.last.in_features > CHANNELS else 1
        return self.last(functional.adaptive_avg_pool2d(y, side).flatten(1))

    def _steps(self) -> list[Callable[[Tensor, Tensor], Tensor]]:
        low, high = self.limits.amin(0), self.limits.amax(0)
        return [
            lambda a, b: self.convolutions[0](a),  # weights that are shared
            lambda a, b: self.convolutions[1](torch.relu(a)),
            lambda a, b: a + torch.relu(b),
            lambda a, b: a - 0.5 * self.convolutions[0](torch.tanh(b)),
            lambda a, b: self.joining(torch.cat((a, b), dim=1)),
            lambda a, b: self.sort(a),
            lambda a, b: torch.clamp(a, low, high),
            lambda a, b: torch.maximum(a, b),
            lambda a, b: functional.max_pool2d(functional.pad(a, (1, 1, 1, 1), mode="reflect"), 3, 1),
            lambda a, b: a + b.mean(dim=(2, 3), keepdim=True),
            lambda a, b: functional.interpolate(a[:, :, ::2, 1::2], scale_factor=2, mode="bilinear"),
            lambda a, b: functional.prelu(a, self.limits[0].flatten()),
            lambda a, b: a.sort(dim=-1, descending=True).values.flip(2),
            lambda a, b: torch.where(a > 0, a, 0.2 * a) - b.amax(dim=1, keepdim=True),
            lambda a, b: a.cummax(dim=2).values * self.limits[1],
            lambda a, b: torch.sigmoid(a) * torch.tanh(b),  # over a box alone
        ]


def check_graph(seed: int, points: int) -> bool:
    """Whether there is a bound, which holds."""
    box = (0.0, 1.0) if seed % 4 == 0 else None
    network = RandomGraph(seed, steps=2 + seed % 7, products=box is not None).eval()
    try:
        bound = bound_module(network, SHAPE, box=box)
    except BoundError:
        if box is None:
            raise
        return False
    if box is None:
        assert largest_slope(network, SHAPE, points=points, seed=seed) <= bound.upper
    x = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(seed))
    certificate = robench.certify(network, x, network(x).argmax(1), bound=bound)
    assert not flipped_inside(network.double(), x.double(), torch.as_tensor(certificate.radius), box)
    return True


def flipped_inside(network: nn.Module, x: Tensor, radius: Tensor, box: tuple[float, float] | None) -> bool:
    """Whether a projected gradient descent in float64 finds another class within the radius (and the box)."""
    label, reach = network(x).argmax(1), radius.double().reshape(-1, 1, 1, 1)
    at = x.clone()
    for _ in range(20):
        at = at.detach().requires_grad_(True)
        logits = network(at)
        own = logits.gather(1, label[:, None])
        rest = logits.scatter(1, label[:, None], -torch.inf).amax(1, keepdim=True)
        (gradient,) = torch.autograd.grad((rest - own).sum(), at)
        step = gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-300).reshape(-1, 1, 1, 1)
        moved = at.detach() + 0.3 * reach * step - x
        size = moved.flatten(1).norm(dim=1).clamp_min(1e-300).reshape(-1, 1, 1, 1)
        at = x + moved * (0.999999 * reach / size).clamp_max(1.0)
        at = at if box is None else at.clamp(*box)  # towards x, so still within the radius
    return bool((network(at).argmax(1) != label)[radius > 0].any())


def test_a_few_random_graphs_hold() -> None:
    assert [check_graph(seed, points=3) for seed in range(1, 5)] == [True] * 4


@pytest.mark.slow
def test_three_thousand_random_graphs_hold() -> None:
    first = random.SystemRandom().randrange(10**9)
    assert sum(check_graph(seed, points=12) for seed in range(first, first + 3000)) > 2700
