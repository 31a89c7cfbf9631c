"""Whole networks: no slope is ever above the bound; activations, sorts and pools cost what they should."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from robench.layers import FullSort, GroupSort2, HouseHolder, InputNormalization, L2NormPool2d, ScaledAvgPool2d
from robench.lipschitz import bound_module
from tests.lipschitz.forms import Form
from tests.lipschitz.oracles import largest_slope


def upper(module: nn.Module, shape: tuple[int, ...]) -> float:
    return bound_module(module.eval(), shape).upper


def chunk_cat(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return torch.cat((torch.maximum(a, b), torch.minimum(a, b)), dim=1)


def every_second(x: Tensor) -> Tensor:
    a, b = x[:, ::2], x[:, 1::2]
    return torch.stack((torch.max(a, b), torch.min(a, b)), dim=2).reshape(x.shape)


def extremes_of_view(x: Tensor) -> Tensor:
    pairs = x.view(x.shape[0], -1, 2, *x.shape[2:])
    return torch.cat((pairs.min(dim=2, keepdim=True)[0], pairs.max(dim=2, keepdim=True).values), dim=2).view(x.shape)


def amax_amin(x: Tensor) -> Tensor:
    pairs = x.unflatten(1, (-1, 2))
    return torch.stack((pairs.amax(2), pairs.amin(2)), dim=1).flatten(1, 2)


def sort_groups(x: Tensor) -> Tensor:
    return torch.sort(x.reshape(x.shape[0], -1, 2, *x.shape[2:]), dim=2)[0].reshape(x.shape)


def crelu(x: Tensor) -> Tensor:
    return torch.cat((functional.relu(x), functional.relu(-x)), dim=1)


def partial_residual(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return torch.cat((a, torch.tanh(b)), dim=1)


def l2_residual(x: Tensor) -> Tensor:
    return torch.sqrt(0.5 * x**2 + 0.5 * torch.tanh(x) ** 2 + 1e-6)


def centered(x: Tensor) -> Tensor:
    return x - x.mean(dim=(-2, -1), keepdim=True)


ONE = [
    chunk_cat,
    every_second,
    extremes_of_view,
    amax_amin,
    sort_groups,
    crelu,
    partial_residual,
    l2_residual,
    centered,
    lambda x: x.sort(dim=1, descending=True).values,
    lambda x: x.topk(3, dim=1).values,
    lambda x: 0.05 * (torch.sqrt(1 + (x / 0.05) ** 2) - 1),
    lambda x: functional.lp_pool2d(x, 2, 2),
    lambda x: torch.linalg.vector_norm(x, dim=(2, 3)),
    lambda x: x.square().sum(dim=(2, 3)).sqrt(),
    lambda x: functional.max_pool2d(x, 2),
    lambda x: functional.prelu(x, torch.full((4,), 0.3, dtype=x.dtype)),
    lambda x: torch.roll(x.flip(1), 1, 2).permute(0, 2, 1, 3),
    lambda x: 0.5 * x + 0.5 * torch.relu(x),
    lambda x: torch.cat((x[:, :2] * 0.5, x[:, 2:]), dim=1),
    lambda x: (x - 0.3).clamp(0, 1),
]


@pytest.mark.parametrize("form", ONE, ids=lambda f: getattr(f, "__name__", "form"))
def test_forms_of_constant_one(form: object) -> None:
    bound = upper(Form(form), (4, 4, 4))
    assert bound <= 1 + 1e-9
    assert bound >= largest_slope(Form(form), (4, 4, 4), points=9)


OTHER = [
    (lambda x: functional.max_pool2d(functional.pad(x, (2, 2, 2, 2)), 3, 1), 3.0),
    (lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True), 2.0),
    (lambda x: functional.max_pool2d(x, 2, 2, dilation=2), 1.0),
    (lambda x: functional.adaptive_max_pool2d(x, (3, 3)), 2.0),
    (lambda x: functional.lp_pool2d(x, 2, 2, stride=1), 2.0),
    (lambda x: functional.gelu(x), 1.13),
    (lambda x: functional.silu(x), 1.1),
    (lambda x: functional.leaky_relu(x, -2.0), 2.0),
    (lambda x: functional.elu(x, 1.5), 1.5),
    (lambda x: torch.sigmoid(4 * x), 1.0),
    (lambda x: functional.softplus(x) + torch.tanh(x), 2.0),
    (lambda x: torch.cat((x, torch.relu(x)), dim=1), math.sqrt(2)),
    (lambda x: x.flatten(1).softmax(dim=1), 0.5),
    (lambda x: x.flatten(1).logsumexp(dim=1, keepdim=True), 1.0),
    (lambda x: x.repeat(1, 3, 1, 1), math.sqrt(3)),
    (lambda x: torch.maximum(x, torch.tensor(0.5, dtype=x.dtype)), 1.0),
    (lambda x: torch.maximum(x, torch.relu(x)), math.sqrt(2)),
    (lambda x: functional.hardswish(x), 1.5),
    (lambda x: functional.mish(x), 1.09),
    (lambda x: functional.log_softmax(x.flatten(2), dim=2), 4.0),
    (lambda x: functional.selu(x), 1.7581),
    (lambda x: x - 2 * torch.relu(x), 1.0),  # −|x|
]


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_a_log_softmax_comes_near_to_its_constant(size: int) -> None:
    form = Form(lambda x: functional.log_softmax(x, dim=1))
    bound = upper(form, (size,))
    assert largest_slope(form, (size,), points=30) <= bound == pytest.approx(math.sqrt(size), rel=1e-9)
    at = torch.zeros(size, dtype=torch.float64)
    at[0] = 40.0
    jacobian = torch.autograd.functional.jacobian(lambda x: form(x[None])[0], at)
    norm = float(torch.linalg.matrix_norm(jacobian, 2))
    assert size == 1 or math.sqrt(size) * (1 - 1e-9) <= norm <= bound * (1 + 1e-14)


@pytest.mark.parametrize(("form", "constant"), OTHER)
def test_forms_of_other_constants(form: object, constant: float) -> None:
    bound = upper(Form(form), (4, 4, 4))
    assert bound == pytest.approx(constant, rel=1e-9)
    assert bound >= largest_slope(Form(form), (4, 4, 4), points=9)


@pytest.mark.parametrize(
    ("layer", "constant"),
    [
        (GroupSort2(), 1.0),
        (FullSort(), 1.0),
        (HouseHolder(4), 1.0),
        (L2NormPool2d(2), 1.0),
        (ScaledAvgPool2d(2), 1.0),
        (InputNormalization([0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.3, 0.4]), 4.0),
        (nn.Softsign(), 1.0),
        (nn.LPPool2d(2, 2, ceil_mode=True), 1.0),
    ],
)
def test_layers_of_known_constants(layer: nn.Module, constant: float) -> None:
    bound = upper(layer, (4, 4, 4))
    assert constant <= bound * (1 + 1e-12)
    assert bound <= constant * (1 + 1e-9)
    assert bound >= largest_slope(layer, (4, 4, 4), points=9)


def random_layer(draw: object, channels: int, size: int) -> tuple[list[nn.Module], int, int]:
    """A layer (or a few) and the channels and side after it."""
    choice = draw(st.integers(0, 12))  # type: ignore[operator]
    even = channels % 2 == 0
    if choice <= 3:
        out = draw(st.integers(1, 4)) * 2  # type: ignore[operator]
        taps = draw(st.integers(1, min(3, size)))  # type: ignore[operator]
        stride = draw(st.integers(1, 2))  # type: ignore[operator]
        modes = ["zeros", "zeros", "circular", "reflect", "replicate"]
        mode = draw(st.sampled_from(modes)) if size > 2 else "zeros"  # type: ignore[operator]
        pad = draw(st.integers(0, 1))  # type: ignore[operator]
        layer = nn.Conv2d(channels, out, taps, stride=stride, padding=pad, padding_mode=mode)
        return [layer], out, (size + 2 * pad - taps) // stride + 1
    if choice == 4:
        norm = nn.BatchNorm2d(channels)
        norm.running_mean = torch.randn(channels)
        norm.running_var = torch.rand(channels) + 0.1
        return [norm], channels, size
    if choice == 5 and even:
        return [GroupSort2()], channels, size
    if choice == 6:
        return [FullSort()], channels, size
    if choice == 7 and size >= 2:
        pool = draw(st.sampled_from([L2NormPool2d(2), ScaledAvgPool2d(2), nn.MaxPool2d(2), nn.AvgPool2d(2)]))  # type: ignore[operator]
        return [pool], channels, size // 2
    if choice == 8 and size >= 3:
        ceil = draw(st.booleans())  # type: ignore[operator]
        pools = [nn.MaxPool2d(3, 2, 1, ceil_mode=ceil), nn.AvgPool2d(3, 2, 1, ceil_mode=ceil)]
        pool = draw(st.sampled_from(pools))  # type: ignore[operator]
        with torch.no_grad():
            side = pool(torch.zeros(1, 1, size, size)).shape[-1]
        return [pool], channels, side
    if choice == 9 and even:
        return [HouseHolder(channels)], channels, size
    return [draw(st.sampled_from([nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.2), nn.Sigmoid()]))], channels, size  # type: ignore[operator]


def random_network(data: st.DataObject) -> tuple[nn.Module, tuple[int, int, int]]:
    channels, size = data.draw(st.integers(1, 3)), data.draw(st.integers(3, 7))
    shape = (channels, size, size)
    layers: list[nn.Module] = []
    for _ in range(data.draw(st.integers(1, 6))):
        more, channels, size = random_layer(data.draw, channels, size)
        layers += more
    layers += [nn.Flatten(), nn.Linear(channels * size * size, data.draw(st.integers(1, 4)))]
    return nn.Sequential(*layers).eval(), shape


def check_network(data: st.DataObject, seed: int) -> None:
    torch.manual_seed(seed)
    network, shape = random_network(data)
    result = bound_module(network, shape)
    assert result.upper >= largest_slope(network, shape, points=6, seed=seed)
    assert result.lower <= result.upper
    outputs = result.pairwise.shape[0]
    if outputs > 1:
        for i in range(outputs):
            for j in range(i):
                pair = nn.Sequential(network, Difference(i, j))
                assert result.pairwise[i, j] >= largest_slope(pair, shape, points=3, seed=seed)


class Difference(nn.Module):
    def __init__(self, i: int, j: int) -> None:
        super().__init__()
        self.i, self.j = i, j

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.i : self.i + 1] - x[:, self.j : self.j + 1]


@given(data=st.data(), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_random_networks_stay_below_the_bound(data: st.DataObject, seed: int) -> None:
    check_network(data, seed)


@pytest.mark.slow
@given(data=st.data(), seed=st.integers(0, 10**6))
@settings(max_examples=2000, deadline=None)
def test_many_random_networks_stay_below_the_bound(data: st.DataObject, seed: int) -> None:
    check_network(data, seed)


class Branches(nn.Module):
    """Residual sum, concatenation and a split, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(8, 4, 3, padding=1)
        self.gate = nn.Parameter(torch.tensor(0.3))
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        g = torch.sigmoid(self.gate)
        h = g * h + (1 - g) * torch.tanh(self.second(h))
        h = torch.cat((h, torch.relu(-h)), dim=1)
        a, b = self.third(h).split(2, dim=1)
        h = torch.cat((torch.maximum(a, b), torch.minimum(a, b)), dim=1)
        return self.last(h.mean(dim=(2, 3)))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_branches_stay_below_the_bound(seed: int) -> None:
    torch.manual_seed(seed)
    network = Branches().eval()
    result = bound_module(network, (2, 6, 6))
    assert largest_slope(network, (2, 6, 6), points=12, seed=seed) <= result.upper
    assert result.upper < 100 * result.lower


def test_lower_bound_meets_the_upper_on_linear_maps() -> None:
    torch.manual_seed(0)
    result = bound_module(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval(), (3, 2, 2))
    assert result.lower <= result.upper <= result.lower * 1.01


def test_the_table_names_every_layer() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval()
    result = bound_module(network, (1, 8, 8))
    assert [layer.name for layer in result.layers] == ["0+1", "2", "4"]
    assert math.prod(layer.upper for layer in result.layers) == pytest.approx(result.upper)
    data = result.to_dict()
    assert data["layers"][1] == {"name": "2", "operation": "relu", "lipschitz_upper": 1.0}
