"""Residual blocks x − V φ(A x + b): bounded as a whole, against Jacobians in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.lipschitz.rules import activations
from tests.lipschitz.oracles import largest_slope

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardtanh": functional.hardtanh,
    "clamp": lambda x: x.clamp(-0.3, 0.8),
}


class Block(nn.Module):
    """The map of x to x − Aᵀ D φ(A x + b), or with another matrix for Aᵀ D."""

    def __init__(self, inner: Tensor, weights: Tensor, activation: Activation, outer: Tensor | None = None) -> None:
        super().__init__()
        self.inner, self.scale = nn.Parameter(inner), nn.Parameter(weights)
        self.bias = nn.Parameter(torch.randn(len(inner), generator=torch.Generator().manual_seed(5)))
        self.outer = None if outer is None else nn.Parameter(outer)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        h = self.scale * self.activation(functional.linear(x, self.inner, self.bias))
        return x - functional.linear(h, self.inner.T if self.outer is None else self.outer)


def sandwich(inner: Tensor) -> Tensor:
    """Weights D with Aᵀ D A ≼ 2: those of SLL, by row sums of |A Aᵀ|."""
    rows = inner.double()
    return (2 / (rows @ rows.T).abs().sum(dim=1)).float()


def exact_core(block: Block) -> float:
    """max(1, ‖Aᵀ D A‖ − 1), by numpy."""
    inner, weights = (value.detach().numpy().astype(np.float64) for value in (block.inner, block.scale))
    return max(1.0, float(np.linalg.eigvalsh(inner.T @ (weights[:, None] * inner))[-1]) - 1)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.floats(0.0, 4.0), st.sampled_from(sorted(ACTIVATIONS)), st.integers(0, 99)
)
def test_blocks_are_bounded_by_the_largest_eigenvalue(size: int, wide: int, much: float, name: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inner = torch.randn(wide, size, generator=generator)
    block = Block(inner, much * sandwich(inner), ACTIVATIONS[name]).eval()
    upper = bound_module(block, (size,)).upper
    assert upper <= exact_core(block) * (1 + 1e-6)
    assert upper >= largest_slope(block, (size,), points=9, seed=seed)


@pytest.mark.parametrize("depth", [1, 8])
def test_a_stack_of_sandwich_layers_keeps_its_theorem(depth: int) -> None:
    generator = torch.Generator().manual_seed(1)
    matrices = [torch.randn(12, 8, generator=generator) for _ in range(depth)]
    network = nn.Sequential(*[Block(a, sandwich(a), torch.relu) for a in matrices]).eval()
    assert largest_slope(network, (8,), points=6) <= bound_module(network, (8,)).upper <= 1 + 1e-6


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda a, d: Block(a, d, torch.relu, outer=-(a.T)), "adds what it should take away"),
        (lambda a, d: Block(a, -d, torch.relu), "negative weights"),
        (lambda a, d: Block(a, d, torch.relu, outer=a.T.flip(0).contiguous()), "another matrix"),
        (lambda a, d: Block(a, d, torch.abs), "falls"),
        (lambda a, d: Block(a, d, lambda x: functional.leaky_relu(x, -3.0)), "falls fast"),
        (lambda a, d: Block(a, d, lambda x: torch.relu(x).flip(1)), "moved entries"),
        (lambda a, d: Block(a, 2 * d, torch.sin), "falls and rises"),
    ],
)
def test_other_blocks_are_no_such_blocks(make: Callable[[Tensor, Tensor], Block], why: str) -> None:
    inner = torch.randn(6, 6, generator=torch.Generator().manual_seed(2))
    block = make(inner, sandwich(inner)).eval()
    slope = largest_slope(block, (6,), points=60)
    assert slope > 1.001, why  # they are steeper than a block of this kind would be
    assert bound_module(block, (6,)).upper >= slope


def test_a_convolution_and_its_adjoint() -> None:
    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0)) / 6)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(functional.conv2d(x, self.kernel, padding=1))
            return (x - 0.5 * functional.conv_transpose2d(h, self.kernel, padding=1)).flatten(1)

    network = Conv().eval()
    assert largest_slope(network, (2, 4, 4), points=6) <= bound_module(network, (2, 4, 4)).upper <= 1 + 1e-6


def test_planted_activation_that_falls_is_contradicted_by_a_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = torch.randn(6, 6, generator=torch.Generator().manual_seed(2))
    block = Block(inner, sandwich(inner), torch.abs).eval()
    monkeypatch.setattr(activations, "RISING", activations.RISING | {"abs"})
    with pytest.raises(BoundError, match="above the bound 1"):
        bound_module(block, (6,))
