"""Sums of powers of one convolution, such as skew orthogonal convolutions: tight in any size, never below the norm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.lipschitz.norms import powers
from robench.lipschitz.rules import powers as rule
from robench.lipschitz.trace.linear import Linear
from tests.lipschitz.draws import Draws
from tests.lipschitz.oracles import exact_norm


class Powers(nn.Module):
    """c_0 x + c_1 A x + c_2 A² x + … with A a convolution that is skew, symmetric, or nearly so."""

    def __init__(self, d: Draws, channels: int, size: float, *, off: float = 0.0) -> None:
        super().__init__()
        self.sign, self.how = d.choice([-1, 1]), d.choice(["padding", "pad", "circular"])
        side = d.choice([1, 3, 5]) if self.how == "padding" else 3
        kernel = d.tensor(channels, channels, side, side)
        kernel = kernel + self.sign * kernel.transpose(0, 1).flip(2, 3)
        kernel = kernel * (size / max(1e-3, float(kernel.norm()))) + off * d.tensor(*kernel.shape)
        self.register_buffer("kernel", kernel)
        self.exponential, self.terms = d.random() < 0.5, d.randint(2, 7)
        self.factors = [d.choice([0.5, 1.0, -1.0, 2.0]) for _ in range(self.terms)]

    def map(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype)
        if self.how == "padding":
            return functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        return functional.conv2d(
            functional.pad(x, (1, 1, 1, 1), "constant" if self.how == "pad" else "circular"), kernel
        )

    def forward(self, x: Tensor) -> Tensor:
        power = total = x
        for k, factor in enumerate(self.factors, 1):
            power = self.map(power)
            if self.exponential:
                power = power / k
                total = total + power
            else:
                total = total + factor * power
        return total


def without_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for images that are too large to write the map down."""
    monkeypatch.setattr(Linear, "dense_norm", None)


def check(draws: int, seed: int) -> int:
    d, tight = Draws(seed), 0
    for _ in range(draws):
        shape = (d.randint(1, 3), d.randint(2, 6), d.randint(2, 6))
        model = Powers(d, shape[0], d.choice([0.1, 1.0, 3.0]), off=d.choice([0.0, 0.0, 1e-5])).eval()
        if model.how == "circular" and min(shape[1:]) < 3:
            continue
        exact, bound = exact_norm(model, shape), bound_module(model, shape).upper
        assert exact <= bound
        tight += bound <= 1.2 * exact
    return tight


def test_polynomials_of_a_convolution_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    without_matrices(monkeypatch)
    assert check(25, 1) > 12


@pytest.mark.slow
def test_many_polynomials_of_a_convolution_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    without_matrices(monkeypatch)
    check(1500, Draws().getrandbits(30))


def test_a_skew_orthogonal_convolution_is_bounded_by_the_error_of_its_series() -> None:
    d = Draws(0)
    model = Powers(d, 16, 1.0)
    model.how, model.exponential, model.factors = "padding", True, [1.0] * 12
    kernel = d.tensor(16, 16, 3, 3)
    model.kernel = 0.02 * (kernel - kernel.transpose(0, 1).flip(2, 3))
    bound = bound_module(nn.Sequential(model, nn.Flatten(), nn.ReLU()).eval(), (16, 12, 12))
    assert 1.0 - 1e-9 <= bound.upper <= 1.001


def test_a_convolution_that_is_neither_is_bounded_by_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    without_matrices(monkeypatch)
    torch.manual_seed(0)
    model = Powers(Draws(3), 2, 1.0, off=1.0).eval()
    assert exact_norm(model, (2, 5, 5)) <= bound_module(model, (2, 5, 5)).upper


@pytest.mark.parametrize("fault", ["the other sign", "no rest"])
def test_a_planted_polynomial_bound_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_matrices(monkeypatch)
    real = powers.polynomial_norm_upper

    def planted(coefficients: list[float], norm: float, off: float, sign: int) -> float:
        return (
            real(coefficients, norm, off, -sign)
            if fault == "the other sign"
            else real(coefficients[:-1], norm, off, sign)
        )

    monkeypatch.setattr(rule, "polynomial_norm_upper", planted)
    with pytest.raises((AssertionError, BoundError)):
        check(60, 2)


def test_the_largest_value_of_a_polynomial_is_an_upper_bound() -> None:
    d = Draws(5)
    for _ in range(200):
        coefficients, norm, sign = (
            [d.gauss(0, 1) for _ in range(d.randint(1, 9))],
            d.choice([0.01, 1.0, 4.0]),
            d.choice([-1, 1]),
        )
        points = torch.linspace(-norm, norm, 5001, dtype=torch.float64)
        at = points if sign == 1 else 1j * points
        largest = float(sum(c * at**k for k, c in enumerate(coefficients)).abs().max())
        bound = powers.polynomial_norm_upper(coefficients, norm, 0.0, sign)
        assert largest <= bound <= largest * 1.01 + 1e-9
        assert powers.polynomial_norm_upper(coefficients, norm, 0.1, sign) >= bound
        assert math.isfinite(bound)
