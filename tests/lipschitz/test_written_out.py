"""Activations that a program or an export writes out: as tight as the operation that they are, never below a slope."""

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
from robench.lipschitz.trace import idioms
from tests.lipschitz.draws import Draws
from tests.lipschitz.forms import Form
from tests.lipschitz.oracles import largest_slope

RATE = torch.tensor([0.3, 2.0, -1.5, 1.0])


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, :2], x[:, 2:]


def minmax_by_where(x: Tensor) -> Tensor:
    a, b = halves(x)
    larger = a > b
    return torch.cat((torch.where(larger, a, b), torch.where(larger, b, a)), dim=1)


def minmax_by_mask(x: Tensor) -> Tensor:
    a, b = halves(x)
    larger = (a >= b).to(x.dtype)
    return torch.cat((a * larger + b * (1 - larger), b * larger + (1 - larger) * a), dim=1)


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


ANGLES = torch.tensor([0.7, 2.9])


def householder(x: Tensor, *, masks: bool = False, shift: float = 0.0) -> Tensor:
    """Reflections of pairs at lines; no longer continuous if one of the angles is shifted."""
    (a, b), t = halves(x), ANGLES.to(x.dtype)
    level = a * torch.sin(0.5 * t + shift) - b * torch.cos(0.5 * t + shift)
    c, s = a * torch.cos(t) + b * torch.sin(t), a * torch.sin(t) - b * torch.cos(t)
    if masks:
        return torch.cat([a * (level <= 0) + c * (level > 0), b * (level <= 0) + s * (level > 0)], dim=1)
    return torch.cat([torch.where(level <= 0, a, c), torch.where(level <= 0, b, s)], dim=1)


FORMS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "MinMax with where": (minmax_by_where, 1.0),
    "MinMax with masks": (minmax_by_mask, 1.0),
    "HouseHolder": (householder, 1.0),
    "HouseHolder with masks": (lambda x: householder(x, masks=True), 1.0),
    "ReLU with where": (lambda x: torch.where(x > 0, x, 0.0), 1.0),
    "ReLU with a mask": (lambda x: x * (x > 0), 1.0),
    "leaky ReLU with where": (lambda x: torch.where(x < 0, -3 * x, x), 3.0),
    "both sides scaled": (lambda x: torch.where(x >= 0, 2 * x, 0.5 * x), 2.0),
    "PReLU with where": (lambda x: torch.where(x > 0, x, RATE.to(x.dtype) * x), 2.0),
    "a floor": (lambda x: torch.where(x > RATE.to(x.dtype), x, RATE.to(x.dtype)), 1.0),
    "ELU": (lambda x: torch.where(x > 0, x, 1.5 * (torch.exp(x) - 1)), 1.5),
    "SELU": (lambda x: 1.0507 * torch.where(x > 0, x, 1.67326 * torch.expm1(x.clamp(max=0))), 1.7581),
    "SiLU": (lambda x: x * torch.sigmoid(x), 1.1),
    "SiLU of an export": (lambda x: x / (1 + torch.exp(-x)), 1.1),
    "swish": (lambda x: torch.sigmoid(1.7 * x) * x, 1.1),
    "swish with rates": (lambda x: x * torch.sigmoid(RATE.to(x.dtype) * x), 1.1),
    "sigmoid": (lambda x: 1 / (1 + torch.exp(-3 * x)), 0.75),
    "GELU": (lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))), 1.13),
    "GELU with tanh": (tanh_gelu, 1.13),
    "mish": (lambda x: x * torch.tanh(functional.softplus(x)), 1.09),
    "hardswish": (lambda x: x * functional.relu6(x + 3) / 6, 1.5),
    "hardswish with hardsigmoid": (lambda x: x * functional.hardsigmoid(x), 1.5),
    "hardswish with clamp": (lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1), 1.5),
    "softplus with a guard": (lambda x: torch.where(2 * x > 20, x, torch.log1p(torch.exp(2 * x)) / 2), 1.0),
    "softplus of what is not large": (lambda x: torch.log(1 + torch.exp(-functional.relu(x))), 1.0),
    "softsign": (lambda x: x / (1 + x.abs()), 1.0),
}


def network(function: Callable[[Tensor], Tensor]) -> nn.Module:
    """Between two rotations, so that no activation is at the end."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4, bias=False) for _ in range(2)]
    for layer in layers:
        layer.weight.data = torch.linalg.qr(layer.weight.data)[0]
    return nn.Sequential(layers[0], Form(function), layers[1]).eval()


@pytest.mark.parametrize("name", FORMS)
def test_a_written_out_activation_has_the_slope_of_the_operation(name: str) -> None:
    function, slope = FORMS[name]
    bound = bound_module(network(function), (4,))
    assert largest_slope(network(function), (4,), points=30) <= bound.upper <= slope * (1 + 1e-6)
    assert "float32" in bound.rounding


NOT_QUITE: list[Callable[[Tensor], Tensor]] = [
    lambda x: torch.where(x > 0, x, x + 1),
    lambda x: torch.where(x > 1, x, 0.2 * x),
    lambda x: householder(x, shift=0.1),
    lambda x: torch.cat([torch.atan2(*halves(x)), halves(x)[0]], dim=1),
    lambda x: torch.where(x > 0, x, -0.5),
    lambda x: torch.where(x > x.flip(1), x, 2 * x.flip(1)),
    lambda x: torch.where(x > 0, torch.exp(x) - 1, x),
    lambda x: torch.where(x > 0, x, torch.exp(-x) - 1),
    lambda x: torch.where(x > 0, x, torch.exp(x) - 2),
    lambda x: torch.where(x > 0, x, torch.expm1(x.clamp(min=0))),
    lambda x: torch.where(x > 0, x, torch.expm1(x.clamp(min=-1, max=0))),
    lambda x: x * (x.flip(1) > 0),
    lambda x: x * (x > 1),
    lambda x: x * (x > 0) + x.flip(1) * (x <= 1),
    lambda x: x * torch.sigmoid(x.flip(1)),
    lambda x: x * torch.sigmoid(x * x.flip(1)),
    lambda x: x / (1 + torch.exp(-x.flip(1))),
    lambda x: x / (1 - x.abs()),
    lambda x: x / (1 + x.flip(1).abs()),
    lambda x: x * (1 + torch.erf(x.flip(1))),
    lambda x: x * (2 + torch.tanh(x) * x),
    lambda x: x * functional.relu6(x.flip(1) + 3) / 6,
    lambda x: x * torch.clamp(x / 6 + 0.5, 0, 3),
    lambda x: torch.log(2 + torch.exp(x * x)),
    lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.1 * x**3))),
]


@pytest.mark.parametrize("place", range(len(NOT_QUITE)))
def test_what_only_looks_like_an_activation_is_refused(place: int) -> None:
    with pytest.raises(BoundError):
        bound_module(network(NOT_QUITE[place]), (4,))


def test_a_comparison_is_refused_with_what_robench_knows() -> None:
    with pytest.raises(BoundError, match="a comparison jumps"):
        bound_module(network(NOT_QUITE[0]), (4,))


def test_a_planted_reader_that_takes_all_nodes_for_the_same_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idioms._Reader, "same", lambda *_: True)
    with pytest.raises(BoundError, match=r"slope of|other logits"):
        bound_module(network(lambda x: torch.where(x > 0, x, -3 * x.flip(1))), (4,))


def drawn(d: Draws) -> Callable[[Tensor], Tensor]:
    """A form with numbers of its own, scaled in some way, of a view or a linear map of the input."""
    form: Any = FORMS[d.choice(list(FORMS))][0]
    before, after = (d.choice([0.25, 1.0, -1.0, 3.0, -0.7]) for _ in range(2))
    fall, turn = d.choice([-2.0, 0.1, 0.9, 4.0]), d.random() < 0.3
    forms = [
        form,
        lambda x: torch.where(x > 0, x, fall * x),
        lambda x: torch.where(x >= 0, abs(fall) * x, after * (torch.exp(x) - 1)),
        lambda x: x * torch.sigmoid(fall * x) * after,
        lambda x: (after * x) * (torch.erf(x * fall) + 1),
    ]
    chosen = d.choice(forms)
    return lambda x: after * chosen(before * (x.flip(1) if turn else x))


def check(draws: int, seed: int) -> None:
    d = Draws(seed)
    for k in range(draws):
        model = network(drawn(d))
        assert largest_slope(model, (4,), points=12, seed=k) <= bound_module(model, (4,)).upper


def test_drawn_forms_have_no_slope_above_their_bound() -> None:
    check(12, 1)


@pytest.mark.slow
def test_many_drawn_forms_have_no_slope_above_their_bound() -> None:
    check(400, Draws().getrandbits(30))
