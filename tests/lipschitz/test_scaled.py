"""Constants of pairs by the rule `scaled` against all that slopes between 0 and 1 can do (docs/design/0019-scaled.md).

A chain W_L S_{L-1} … S_1 W_1 with diagonal S_k between 0 and 1 is what the network is between some two points, for some
networks of these weights. So the norm of any such product is a lower bound of every constant that the rule may return.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robench
from robench.lipschitz import bound_module, scaled
from robench.lipschitz.scaled import Layer, ScaledChain, scaled_constants

Make = Callable[[], nn.Module]


def dense(*sides: int, seed: int = 0, activation: Make = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sides):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1]).eval()


def weights(net: nn.Module) -> list[Tensor]:
    """Of each linear layer, times the slope of the function behind it."""
    steep = [0.25 if isinstance(layer, nn.Sigmoid) else 1.0 for layer in [*list(net)[1::2], nn.Identity()]]
    return [layer.weight.detach().double() * slope for layer, slope in zip(list(net)[::2], steep, strict=True)]


def pairs(head: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    if len(head) == 1:
        yield 0, 0, head[0]
    for i, j in zip(*np.triu_indices(len(head), 1), strict=True):
        yield int(i), int(j), head[i] - head[j]


def product(row: Tensor, inner: list[Tensor], slopes: list[Tensor]) -> Tensor:
    for matrix, slope in zip(inner[::-1], slopes[::-1], strict=True):
        row = (row * slope) @ matrix
    return row


def steepest(row: Tensor, inner: list[Tensor], generator: torch.Generator, rounds: int = 12) -> float:
    """The largest norm found of a row times such a chain: slopes and direction are improved in turn."""
    slopes = [torch.randint(0, 2, (len(matrix),), generator=generator).double() for matrix in inner]
    found = 0.0
    for _ in range(rounds):
        direction = product(row, inner, slopes)
        length = float(torch.linalg.vector_norm(direction))
        found = max(found, length)
        if length == 0:
            return found
        for place in range(len(inner)):
            forward = direction
            for before in range(place):
                forward = slopes[before] * (inner[before] @ forward)
            back = row
            for after in range(len(inner) - 1, place, -1):
                back = (back * slopes[after]) @ inner[after]
            slopes[place] = (back * (inner[place] @ forward) > 0).double()
    return max(found, float(torch.linalg.vector_norm(product(row, inner, slopes))))


def check(net: nn.Module, shape: tuple[int, ...], seed: int = 0) -> float:
    """The constants against slopes that were searched, and against Jacobians; how much smaller than `pairwise`."""
    bound = bound_module(net, shape)
    assert bound.rules == ("paper", "pairwise", "scaled")
    table = bound.scaled
    assert table is not None
    assert (table <= bound.pairwise).all()
    *inner, head = weights(net)
    generator = torch.Generator().manual_seed(seed)
    gains = []
    for i, j, row in pairs(head):
        found = max(steepest(row, inner, generator) for _ in range(3))
        assert found <= table[i, j]
        assert found > 0.3 * table[i, j]
        gains.append(float(bound.pairwise[i, j] / table[i, j]))
    assert table.shape == (len(head), len(head))
    for scale in (1.0, 100.0):
        point = torch.randn(shape, dtype=torch.float64, generator=generator) * scale
        jacobian = torch.func.jacrev(plain(net))(point).reshape(len(head), -1)
        for i, j, row in pairs(jacobian):
            assert float(torch.linalg.vector_norm(row)) <= table[i, j] * (1 + 1e-12)
    return float(np.median(gains))


def plain(net: nn.Module) -> Callable[[Tensor], Tensor]:
    double = robench.lipschitz.plain_copy(net).double() if hasattr(robench, "lipschitz") else net.double()
    return lambda x: double(x[None])[0]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.LeakyReLU, nn.Sigmoid])
@pytest.mark.parametrize("sides", [(20, 30, 5), (20, 30, 25, 4), (12, 20, 20, 20, 1)])
def test_no_slopes_between_0_and_1_are_above_the_constants(sides: tuple[int, ...], activation: Make) -> None:
    assert check(dense(*sides, activation=activation), (sides[0],)) > 1.15


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_diagonal_chain_has_the_constant_that_it_has(scale: float) -> None:
    """W diagonal: the largest product is ‖c ∘ d‖, where the pairwise rule has ‖c‖ max d."""
    widths = torch.linspace(1.0, 2.0, 6, dtype=torch.float64)
    net = dense(6, 6, 3)
    net[0].weight.data = torch.diag(widths * scale).float()
    exact = torch.diag(net[0].weight.detach().double())
    bound = bound_module(net, (6,))
    for i, j, row in pairs(weights(net)[1]):
        true = float(torch.linalg.vector_norm(row * exact))
        assert true <= bound.scaled[i, j] <= 1.01 * true


def test_a_network_before_the_chain_counts_by_its_bound() -> None:
    torch.manual_seed(3)
    front = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten())
    back = dense(64, 32, 10)
    net = nn.Sequential(front, back).eval()
    alone, bound = bound_module(back, (64,)), bound_module(net, (1, 8, 8))
    start = bound_module(front.eval(), (1, 8, 8)).upper
    assert np.allclose(bound.scaled, np.minimum(alone.scaled * start, bound.pairwise), rtol=1e-9)
    assert (bound.scaled < bound.pairwise)[~np.eye(10, dtype=bool)].all()


class Rotated(nn.Module):
    """Two linear maps in a row, one of them a convolution, before the ReLU: their matrix is computed, and rounded."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first, self.second, self.head = nn.Conv2d(2, 3, 3), nn.Linear(48, 20), nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.second(self.first(x).flatten(1) * 3.0)))


def test_joined_maps_are_bounded_with_their_rounding_error() -> None:
    net = Rotated().eval()
    bound = bound_module(net, (2, 6, 6))
    one = torch.eye(72, dtype=torch.float64).reshape(72, 2, 6, 6)
    double = Rotated().double()
    with torch.no_grad():
        zero = double.second(double.first(torch.zeros_like(one[:1])).flatten(1) * 3.0)
        inner = (double.second(double.first(one).flatten(1) * 3.0) - zero).T
    generator = torch.Generator().manual_seed(0)
    for i, j, row in pairs(double.head.weight.detach()):
        found = max(steepest(row, [inner], generator) for _ in range(4))
        assert 0.5 * bound.scaled[i, j] < found <= bound.scaled[i, j] < bound.pairwise[i, j]


@pytest.mark.parametrize("last", [nn.GELU(), nn.SiLU(), nn.Softmax(dim=1), nn.LeakyReLU(-0.1), nn.PReLU(8, init=-0.2)])
def test_functions_that_fall_or_are_steep_or_mix_entries_end_the_chain(last: nn.Module) -> None:
    torch.manual_seed(0)
    bound = bound_module(nn.Sequential(nn.Linear(6, 8), last, nn.Linear(8, 3)).eval(), (6,))
    assert bound.rules == ("paper", "pairwise")
    assert bound.chain is None


def test_a_relu_as_the_last_operation_and_a_linear_model_have_no_chain() -> None:
    for net in (nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Linear(4, 3)):
        assert bound_module(net.eval(), (4,)).scaled is None


def test_layers_of_zeros_cost_nothing() -> None:
    net = dense(5, 7, 6, 3)
    net[2].weight.data.zero_()
    chain = bound_module(net, (5,)).chain
    assert chain is not None
    assert scaled_constants(chain).max() < 1e-3


def test_units_are_powers_of_two_so_that_scaling_rounds_nothing() -> None:
    for seed in range(20):
        matrix = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 10.0 ** (
            seed - 10
        )
        unit = scaled._unit(matrix)
        assert math.frexp(unit)[0] == 0.5
        assert torch.equal(matrix / unit * unit, matrix)
        assert 0.4 < float(torch.linalg.matrix_norm(matrix, 2)) / unit < 2.1


@pytest.mark.parametrize("least", [-1e-9, -1e-12, 0.0])
def test_what_may_be_negative_is_not_proven(least: float) -> None:
    basis = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    values = torch.linspace(1.0, 2.0, 30, dtype=torch.float64)
    values[0] = least
    matrix = basis * values @ basis.T
    matrix = (matrix + matrix.T) / 2
    assert not scaled._not_negative(matrix, 0.0)
    assert scaled._not_negative(matrix + 1e-8 * torch.eye(30, dtype=torch.float64), 0.0)
    assert not scaled._not_negative(matrix + 1e-8 * torch.eye(30, dtype=torch.float64), 1.1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_multipliers_need_not_be_good_ones(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Whatever the multipliers are, what is returned is proven: they are drawn, and only the constants get worse."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(inner: list[Layer], head: Tensor) -> list[Tensor]:
        return [torch.rand(len(layer.matrix), dtype=torch.float64, generator=generator) * 2.0**-seed for layer in inner]

    monkeypatch.setattr(scaled, "_multipliers", drawn)
    net = dense(10, 12, 9, 3, seed=seed)
    *inner, head = weights(net)
    table = scaled_constants(ScaledChain(1.0, tuple(Layer(matrix, 0.0) for matrix in inner), Layer(head, 0.0)))
    if table is not None:
        for i, j, row in pairs(head):
            assert steepest(row, inner, generator) <= table[i, j]


def half(layer: Layer, multiplier: Tensor) -> Tensor:
    return multiplier[:, None] * layer.matrix / 4


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("_half", half),  # multipliers halved in the proof, and not in what it says
        ("_not_negative", lambda matrix, hidden: True),  # and a form that nothing proves
    ],
)
def test_planted_faults_are_seen(monkeypatch: pytest.MonkeyPatch, name: str, fault: Callable[..., object]) -> None:
    monkeypatch.setattr(scaled, name, fault)
    if name == "_not_negative":
        monkeypatch.setattr(scaled, "_proven_first", lambda layer, multiplier: torch.diag(multiplier))
    with pytest.raises(AssertionError):
        check(dense(20, 30, 5), (20,))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_random_chains(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sides = [int(side) for side in draw.integers(1, 40, int(draw.integers(3, 7)))]
    net = dense(*sides, seed=seed, activation=[nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ReLU6][seed % 4])
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data *= float(10.0 ** draw.uniform(-3, 3))
            if draw.random() < 0.3:
                layer.weight.data[:, int(draw.integers(layer.in_features))] *= 100
    bound = bound_module(net, (sides[0],))
    generator = torch.Generator().manual_seed(seed)
    *inner, head = weights(net)
    for i, j, row in pairs(head):
        assert max(steepest(row, inner, generator) for _ in range(3)) <= bound.scaled[i, j] <= bound.pairwise[i, j]
