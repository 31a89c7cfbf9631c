"""Residual blocks of strided convolutions on a torus, against all corners of the slopes of their units."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.lipschitz.norms.torus import Torus
from robench.lipschitz.rules import strided, sums
from tests.lipschitz.oracles import dense_matrix, steepest

Activation = Callable[[Tensor], Tensor]
SLOPES: dict[str, tuple[Activation, float, float]] = {
    "relu": (torch.relu, 0.0, 1.0),
    "abs": (torch.abs, -1.0, 1.0),
    "leaky": (lambda x: functional.leaky_relu(x, 0.3), 0.3, 1.0),
}


class Strided(nn.Module):
    """P x − V D φ(A x + b), with factors for each channel."""

    def __init__(
        self, channels: int, units: int, taps: tuple[int, int, int], pads: tuple[int, int], stride: int, name: str
    ) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, units, taps[0], padding=pads[0])
        self.outer = nn.Conv2d(units, channels, taps[1], stride, pads[1], bias=False)
        self.plain = nn.Conv2d(channels, channels, taps[2], stride, 0, bias=False)
        self.scale, self.activation = nn.Parameter(torch.randn(units, 1, 1).exp()), SLOPES[name][0]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.activation(self.inner(x))
        return self.plain(self.padded(x)) - 0.7 * self.outer(self.scale * hidden)

    def padded(self, x: Tensor) -> Tensor:
        """Zeros before and after, so that the sizes of both results agree."""
        return functional.pad(x, self.pads)

    def aligned(self, shape: tuple[int, ...]) -> bool:
        """Find the zeros that the skip needs; False where there are none."""
        sides = torch.tensor(self.outer(self.scale * self.inner(torch.zeros(1, *shape))).shape[2:])
        least = (sides - 1) * self.plain.stride[0] + self.plain.kernel_size[0]
        missing = (least - torch.tensor(shape[1:])).clamp_min(0).tolist()
        self.pads = [side for m in reversed(missing) for side in (m // 2, m - m // 2)]
        own = self.plain(self.padded(torch.zeros(1, *shape))).shape[2:]
        return list(own) == sides.tolist()


def corners(block: Strided, shape: tuple[int, ...], lowest: float, largest: float) -> float:
    """The largest norm of P − V D S A over all S, which are convex in S: in a corner."""
    sides = block.inner(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:]
    inner = dense_matrix(Bare(lambda x: functional.conv2d(x, block.inner.weight, padding=block.inner.padding)), shape)
    outer = dense_matrix(Bare(lambda x: -0.7 * block.outer(block.scale * x)), tuple(sides))
    plain = dense_matrix(Bare(lambda x: block.plain(block.padded(x))), shape)
    each = torch.tensor(list(itertools.product((lowest, largest), repeat=len(inner))), dtype=torch.float64)
    norms = [torch.linalg.matrix_norm(plain + (outer * part[:, None]) @ inner, 2).max() for part in each.split(64)]
    return float(max(norms)) * (1 - 1e-13)


class Bare(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.fixture
def torus_alone(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Small blocks would be bounded as matrices; with this the torus is under test. The slopes that it proves."""
    found: list[float] = []

    def noted(*args: object) -> object:
        block = strided.strided_block(*args)  # type: ignore[arg-type]
        found.extend([] if block is None else [block.slope])
        return block

    monkeypatch.setattr(sums, "residual_block", lambda *args: None)
    monkeypatch.setattr(sums, "strided_block", noted)
    return found


TAPS = st.integers(1, 3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 2), st.tuples(TAPS, TAPS, TAPS), st.tuples(st.integers(0, 1), st.integers(0, 2)),
    st.integers(1, 3), st.sampled_from(sorted(SLOPES)), st.tuples(st.integers(2, 3), st.integers(2, 4)),
    st.integers(0, 999),
)  # fmt: skip
def test_no_corner_is_above_the_bound(
    torus_alone: list[float],
    channels: int,
    taps: tuple[int, int, int],
    pads: tuple[int, int],
    stride: int,
    name: str,
    sides: tuple[int, int],
    seed: int,
) -> None:
    torch.manual_seed(seed)
    block = Strided(channels, 1, taps, pads, stride, name)
    shape = (channels, *sides)
    try:
        aligned = block.aligned(shape)
    except RuntimeError:  # a window that is larger than its image
        aligned = False
    assume(aligned)
    block = block.double().eval()
    units = block.inner(torch.zeros(1, *shape, dtype=torch.float64)).numel()
    assume(units <= 12)
    torus_alone.clear()
    upper = bound_module(block, shape).upper
    exact = corners(block, shape, *SLOPES[name][1:])
    assert exact <= upper
    assert all(exact <= slope for slope in torus_alone)


class Fused(nn.Module):
    """F (1 − 2 Kᵀ relu(K · + b)) O with orthogonal F and O, as three convolutions (SLLxAOC, Boissin et al. 2025)."""

    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        fold = torch.linalg.qr(torch.randn(4 * channels, 4 * channels)).Q.reshape(-1, channels, 2, 2)
        point = torch.linalg.qr(torch.randn(channels, channels)).Q
        kernel = torch.randn(units, channels, 2, 2)
        kernel = kernel / torch.linalg.matrix_norm(kernel.abs().sum((2, 3)), 2)  # no less than the norm of its map
        second = torch.zeros(4 * channels, units, 3, 3)
        for a, b, s, t in itertools.product(range(2), repeat=4):  # F at (a, b), Kᵀ at (s, t)
            second[:, :, a - s + 1, b - t + 1] += fold[:, :, a, b] @ kernel[:, :, s, t].T
        self.first, self.second = (
            nn.Parameter(part) for part in (torch.einsum("ockl,cd->odkl", kernel, point), second)
        )
        self.skip = nn.Parameter(torch.einsum("ockl,cd->odkl", fold, point))
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(functional.conv2d(x, self.first, self.bias, padding=1))
        return functional.conv2d(x, self.skip, stride=2) - 2 * functional.conv2d(hidden, self.second, stride=2)


def test_a_fused_block_keeps_its_theorem(torus_alone: list[float]) -> None:
    torch.manual_seed(0)
    block = Fused(2, 3).eval()
    upper = bound_module(block, (2, 8, 8)).upper
    assert steepest(block, (2, 8, 8)) <= upper <= 1.001
    assert len(torus_alone) == 1


class Shifted(nn.Module):
    """Sums of neighbours less the same two pixels before: of slope 3.08, and 2 without the shift."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.skip = (nn.Parameter(torch.ones(1, 1, 1, taps)) for taps in (1, 2))
        self.outer = nn.Parameter(torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]).reshape(1, 1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(functional.conv2d(x, self.inner, padding=(0, 2)) + 9)
        return functional.conv2d(x, self.skip) - functional.conv2d(hidden, self.outer)


def test_a_planted_offset_that_is_left_out_is_seen(torus_alone: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    network, shape = Shifted().eval(), (1, 1, 30)
    assert 3 < steepest(network, shape) <= bound_module(network, shape).upper <= 3.2
    assert len(torus_alone) == 1
    own = Torus.turns
    monkeypatch.setattr(Torus, "turns", lambda self, waves, positions: own(self, waves, positions.clamp_min(0)))
    with pytest.raises(BoundError, match="above the bound"):
        bound_module(network, shape)
