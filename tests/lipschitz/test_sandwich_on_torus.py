"""Sandwich layers of circular convolutions by way of Fourier transforms, against Jacobians and whole matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.lipschitz.norms.multipliers import block_slope_upper
from robench.lipschitz.rules import sandwich, transforms
from tests.lipschitz.oracles import steepest

Activation = Callable[[Tensor], Tensor]
Between = Callable[[Tensor], Tensor]


def on_frequencies(matrices: Tensor, x: Tensor, between: Between = lambda s: s) -> Tensor:
    """Matrices (h, w, out, in) at the frequencies of an image."""
    spectrum = between(torch.fft.rfft2(x))
    turned = torch.einsum("hwoi,bihw->bohw", matrices.to(spectrum.dtype), spectrum)
    return torch.fft.irfft2(turned, x.shape[2:])


class SandwichConvolution(nn.Module):
    """√2 Aᴴ Ψ σ(√2 Ψ⁻¹ B x + b) with A Aᴴ + B Bᴴ = I at each frequency (Wang and Manchester 2023)."""

    def __init__(self, channels: int, side: int, activation: Activation = torch.relu) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(2 * channels, channels, 3, 3))
        self.psi, self.bias = nn.Parameter(torch.randn(channels, 1, 1)), nn.Parameter(torch.randn(channels, 1, 1))
        self.channels, self.side, self.activation = channels, side, activation

    def maps(self) -> tuple[Tensor, Tensor]:
        """A and B."""
        symbol = torch.fft.rfft2(self.kernel, (self.side, self.side)).permute(2, 3, 0, 1)
        u, v = symbol[..., : self.channels, :], symbol[..., self.channels :, :]
        skew = u - u.mH + v.mH @ v
        eye = torch.eye(self.channels, dtype=skew.dtype)
        inverse = torch.linalg.inv(eye + skew)
        return (inverse @ (eye - skew)).mH, (-2 * v @ inverse).mH

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.maps()
        hidden = on_frequencies(b, x) * (math.sqrt(2) * torch.exp(-self.psi)) + self.bias
        return on_frequencies(a.mH, self.activation(hidden) * (math.sqrt(2) * torch.exp(self.psi)))


class Layer(nn.Module):
    """V D φ(E A x + b), any maps on the frequencies and any factors."""

    def __init__(self, a: Tensor, v: Tensor, before: Tensor, after: Tensor, activation: Activation = torch.relu):
        super().__init__()
        self.a, self.v, self.before, self.after = a, v, nn.Parameter(before), nn.Parameter(after)
        self.bias, self.activation, self.between = nn.Parameter(torch.ones(len(before), 1, 1)), activation, lambda s: s

    def forward(self, x: Tensor) -> Tensor:
        hidden = on_frequencies(self.a, x, self.between) * self.before + self.bias
        return on_frequencies(self.v, self.activation(hidden) * self.after)


def draw(side: int, wide: int, units: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A, V, E and D: the symbols of real kernels, and factors of any sign that nearly undo each other."""
    generator = torch.Generator().manual_seed(seed)
    kernels = (torch.randn(*shape, side, side, generator=generator).double() for shape in ((units, 3), (wide, units)))
    a, v = (torch.fft.rfft2(kernel).permute(2, 3, 0, 1) / side for kernel in kernels)
    before = torch.exp(2 * torch.randn(units, 1, 1, generator=generator)).double()
    signs = torch.randint(0, 2, before.shape, generator=generator) * 2.0 - 1
    return a, v, before, signs / before * torch.exp(0.2 * torch.randn(before.shape, generator=generator))


def matrix(maps: Tensor, side: int) -> Tensor:
    """The whole of a map on frequencies, by its Jacobian."""
    columns = maps.shape[3] * side * side
    images = torch.eye(columns, dtype=torch.float64).reshape(columns, -1, side, side)
    return on_frequencies(maps, images).reshape(columns, -1).T


@pytest.mark.parametrize(
    ("activation", "side", "blocks"),
    [
        (lambda x: functional.leaky_relu(x, 0.1), 6, 1),
        (torch.tanh, 5, 2),
        pytest.param(torch.relu, 7, 8, marks=pytest.mark.slow),
        pytest.param(torch.relu, 12, 8, marks=pytest.mark.slow),
    ],
)
def test_the_family_keeps_its_theorem(activation: Activation, side: int, blocks: int) -> None:
    torch.manual_seed(side)
    network = nn.Sequential(*[SandwichConvolution(4, side, activation) for _ in range(blocks)]).eval()
    assert steepest(network, (4, side, side)) <= bound_module(network, (4, side, side)).upper <= 1.001


@settings(max_examples=6, deadline=None)
@given(
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(["relu", "abs", "sin"]),
    st.integers(0, 999),
)
def test_it_is_that_of_the_whole_matrices(side: int, wide: int, units: int, name: str, seed: int) -> None:
    activation: Activation = getattr(torch, name)
    a, v, before, after = draw(side, wide, units, seed)
    layer = Layer(a, v, before, after, activation).eval()
    upper = bound_module(layer, (3, side, side)).upper
    assert steepest(layer, (3, side, side)) <= upper
    each = [factors.expand(units, side, side).flatten().detach().double() for factors in (before, after)]
    inner, outer = each[0][:, None] * matrix(a, side), matrix(v, side) * each[1]
    lowest, largest = torch.full_like(each[0], 0.0 if name == "relu" else -1.0), torch.ones_like(each[0])
    nothing = torch.zeros(1, len(outer), inner.shape[1], dtype=torch.float64)
    weights = (each[1] / each[0]).abs()
    whole = block_slope_upper(nothing, outer[None], inner[None], lowest, largest, weights)
    product = torch.linalg.matrix_norm(inner, 2) * torch.linalg.matrix_norm(outer, 2)
    assert upper <= min(whole * 1.001, float(product) * (1 + 1e-6))


def faulty(between: Between) -> Layer:
    """A layer whose first map is none that commutes with shifts, or is linear over the reals alone."""
    a, v, before, after = draw(5, 3, 3, 0)
    eye = torch.eye(3, dtype=torch.complex128).expand_as(a)
    layer = Layer(eye, v, before, after)
    layer.between = between
    return layer.eval()


OTHERS: dict[str, Between] = {
    "conjugate": lambda s: s - 0.9 * s.conj(),
    "other frequencies": lambda s: s.roll(1, 2),
    "a sum of both": lambda s: s - s.roll(2, 2),
    "a turn": lambda s: s.flip(2),
}


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_other_maps_are_bounded_otherwise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    own = sandwich.symbols
    monkeypatch.setattr(sandwich, "symbols", lambda transform: taken.append(transform) or own(transform))
    layer = faulty(OTHERS[name])
    assert steepest(layer, (3, 5, 5)) <= bound_module(layer, (3, 5, 5)).upper
    assert not taken
    assert steepest(faulty(lambda s: s), (3, 5, 5)) <= bound_module(faulty(lambda s: s), (3, 5, 5)).upper
    assert len(taken) == 2


def test_factors_that_differ_within_a_channel_are_bounded_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandwich, "symbols", pytest.fail)
    layer = Layer(*draw(4, 3, 3, 1))
    layer.before = nn.Parameter(layer.before.detach() * torch.linspace(1, 2, 4))
    assert steepest(layer, (3, 4, 4)) <= bound_module(layer.eval(), (3, 4, 4)).upper


@pytest.mark.parametrize("shape", [(4, 9, 4), (9, 4, 4), (2, 8, 9)])
def test_other_images_in_between_are_bounded_otherwise(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandwich, "symbols", pytest.fail)
    torch.manual_seed(0)
    first, last = torch.randn(6, 4, 4, 3).to(torch.complex128), torch.randn(shape[1], shape[2] // 2 + 1, 2, shape[0])
    factors = torch.exp(torch.randn(4, 1, 1))

    class Other(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.relu(on_frequencies(first, x) * factors + 1) / factors
            return on_frequencies(last.to(torch.complex128), hidden.reshape(len(x), *shape))

    layer = Other().eval()
    assert steepest(layer, (3, 6, 6)) <= bound_module(layer, (3, 6, 6)).upper


def test_a_planted_conjugate_that_counts_as_linear_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    own = transforms.structure
    planted = lambda call, spectrum: replace(own(call, spectrum), frequency=spectrum.frequency)  # noqa: E731
    monkeypatch.setitem(transforms._RULES, "_conj", planted)
    with pytest.raises(BoundError, match="above the bound"):
        bound_module(faulty(OTHERS["conjugate"]), (3, 5, 5))


def test_planted_multipliers_on_one_side_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    own = sandwich.Symbols.scaled_rows
    monkeypatch.setattr(sandwich.Symbols, "scaled_rows", lambda self, factors: own(self, factors / 2))
    torch.manual_seed(0)
    with pytest.raises(BoundError, match="above the bound"):
        bound_module(SandwichConvolution(4, 6).eval(), (4, 6, 6))
