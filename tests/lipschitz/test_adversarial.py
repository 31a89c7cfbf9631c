"""Models that were made to find a bound below the truth, and once did. Each is bounded from above, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError
from robench.layers import GroupSort2
from robench.lipschitz import bound_module, register
from tests.lipschitz.oracles import largest_slope


class Function(nn.Module):
    """A function of modules and an input."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def dense(*rows: tuple[float, ...]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer


MINUS = dense((-1.0, 0.0), (0.0, -1.0))


def shared_activation() -> nn.Module:
    relu = nn.ReLU()
    return nn.Sequential(MINUS, relu, dense((1.0, 0.0), (-1.0, 0.0)), relu, dense((1.0, 1.0)))


def shared_weights() -> nn.Module:
    layer = dense((-3.0, 0.0), (0.0, -3.0))
    return nn.Sequential(MINUS, nn.ReLU(), layer, nn.Identity(), layer)


@pytest.mark.parametrize(("make", "true"), [(shared_activation, 1.0), (shared_weights, 9.0)])
def test_a_module_used_twice_counts_twice(make: Callable[[], nn.Module], true: float) -> None:
    assert bound_module(make().eval(), (2,)).upper >= true


def reshaped_convolutions() -> nn.Module:
    first, second = nn.Conv2d(1, 2, (2, 1), bias=False), nn.Conv2d(2, 1, (2, 1), bias=False)
    first.weight.data = torch.tensor([1.0, -1.0]).reshape(1, 1, 2, 1) * torch.ones(2, 1, 1, 1)
    second.weight.data = torch.ones(1, 2, 2, 1)
    return Function(lambda x, a, b: b(a(functional.relu(-x)).reshape(-1, 2, 9, 4)), first, second)


def reshaped_pool() -> nn.Module:
    first = nn.Conv2d(1, 2, (2, 1), bias=False)
    first.weight.data = torch.tensor([1.0, -1.0]).reshape(1, 1, 2, 1) * torch.ones(2, 1, 1, 1)
    return Function(lambda x, a: functional.avg_pool2d(a(functional.relu(-x)).reshape(-1, 2, 12, 3), (2, 1)), first)


def channels_in_other_numbers() -> nn.Module:
    return Function(
        lambda x, a, b: b(a(x).reshape(-1, 4, 4, 4)), nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(4, 1, 1, bias=False)
    )


@pytest.mark.parametrize(
    ("make", "shape"),
    [(reshaped_convolutions, (1, 5, 9)), (reshaped_pool, (1, 5, 9)), (channels_in_other_numbers, (1, 4, 8))],
)
def test_what_is_reshaped_in_between_is_not_joined(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    network = make().eval()
    bound = bound_module(network, shape).upper
    x = -torch.rand(1, *shape, dtype=torch.float64) - 0.5  # where the ReLU of −x is open
    jacobian = torch.autograd.functional.jacobian(network.double(), x).flatten(-4).flatten(0, -2)
    assert bound >= float(torch.linalg.matrix_norm(jacobian, 2))


def largest_and_where(x: Tensor) -> Tensor:
    value, index = x.max(1, keepdim=True)
    return torch.cat([x, value, index], dim=1)


@pytest.mark.parametrize(
    "function",
    [
        largest_and_where,
        lambda x: torch.cat([x, x.relu(), torch.sign(x.pow(2))], dim=1),
        lambda x: torch.cat([x, functional.max_pool1d(x[:, None], 2, return_indices=True)[1][:, 0]], dim=1),
        lambda x: x.sum(1, keepdim=True, dtype=torch.int64).double(),
        lambda x: x.mean(1, keepdim=True, dtype=torch.float16).double(),
        lambda x: torch.softmax(x, 1, dtype=torch.float16).double(),
        lambda x: (functional.relu(-x) * torch.tensor(1 + 100j)).abs(),
        lambda x: functional.celu(x, -1.0),
        lambda x: x if x.shape[0] == 2 else 10 * x,
    ],
    ids=["index", "sign", "pool index", "integer sum", "half mean", "half softmax", "complex", "celu", "batch of two"],
)
def test_what_has_no_constant_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(BoundError):
        bound_module(Function(function).eval(), (4,))


def test_a_forward_of_the_instance_is_what_counts() -> None:
    layer: Any = nn.Linear(2, 2, bias=False)
    layer.forward = lambda x: 5 * torch.relu(-x)
    network = nn.Sequential(layer).eval()
    assert largest_slope(network, (2,), points=9) > 4
    assert bound_module(network, (2,)).upper >= 5


def hidden(x: Tensor) -> Tensor:
    """Nothing within [0, 1], where inputs usually lie; elsewhere steep."""
    return x + 50 * torch.relu(-x)


class Doubled(nn.Sequential):
    def __call__(self, x: Tensor) -> Tensor:
        return hidden(super().__call__(x))


def pixel() -> nn.Module:
    layer = nn.Conv2d(1, 1, 1)
    nn.init.ones_(layer.weight)
    return layer


def patched(name: str, layer: nn.Module) -> nn.Module:
    original = getattr(layer, name)
    setattr(layer, name, lambda *given: hidden(original(*given)))
    return layer


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (Doubled(nn.Identity()), (4,)),
        (nn.Sequential(patched("_conv_forward", pixel())), (1, 3, 3)),
        (Function(lambda x, layer: layer(x), patched("forward", GroupSort2())), (4, 1, 1)),
        (Function(lambda x: x if x.shape[0] == 2 else hidden(x)), (4,)),
        (Function(lambda x: hidden(x) if x.shape[0] == 1 else x), (4,)),
        (Function(lambda x: hidden(x) if torch.is_grad_enabled() else x), (4,)),
    ],
    ids=["call", "conv_forward", "inner forward", "batch of two", "batch of one", "gradient mode"],
)
def test_what_hides_outside_of_the_unit_box_is_found(network: nn.Module, shape: tuple[int, ...]) -> None:
    try:
        bound = bound_module(network.eval(), shape).upper
    except BoundError:
        return
    assert bound >= 49


def test_a_rule_is_for_a_class_and_not_for_its_name() -> None:
    def make(factor: float) -> type[nn.Module]:
        class Layer(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return factor * torch.relu(-x)

        return Layer

    gentle, steep = make(1.0), make(50.0)
    register(gentle)(lambda layer, shape: 1.0)
    assert bound_module(nn.Sequential(gentle()).eval(), (4,)).upper == 1
    assert bound_module(nn.Sequential(steep()).eval(), (4,)).upper >= 50
    assert bound_module(Function(lambda x, layer: layer(x), steep()).eval(), (4,)).upper >= 50


def test_a_registered_class_cannot_pass_for_an_operation() -> None:
    class relu(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * torch.relu(x - 1)

    register(relu)(lambda layer, shape: 3.0)
    network = Function(lambda x, layer: torch.cat([layer(x), layer(x), torch.relu(-x)], dim=1), relu()).eval()
    assert bound_module(network, (4,)).upper >= 18**0.5


def test_global_hooks_are_refused() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, result: None)
    try:
        with pytest.raises(BoundError, match="global forward hooks"):
            bound_module(nn.Sequential(nn.Tanh()).eval(), (4,))
    finally:
        handle.remove()
