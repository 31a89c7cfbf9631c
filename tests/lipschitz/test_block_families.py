"""Families of layers with a theorem, and blocks of any kind by multipliers: against Jacobians and exact corners."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError
from robench.layers import GroupSort2
from robench.lipschitz import bound_module
from robench.lipschitz.norms import multipliers, taps
from robench.lipschitz.norms.banded import banded_norm_upper
from robench.lipschitz.norms.multipliers import block_slope_upper
from robench.lipschitz.norms.torus import Geometry
from robench.lipschitz.rules import residual
from tests.lipschitz.families import (
    AOLDense,
    BRODense,
    CPLConv,
    CPLDense,
    Mixed,
    Sandwich,
    SLLConv,
    SLLDense,
    stack,
)
from tests.lipschitz.oracles import exact_norm, largest_slope, steepest

Shape = tuple[int, ...]
WITH_A_THEOREM: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "SLL": (lambda: SLLDense(12, 18), (12,)),
    "SLL, tanh": (lambda: SLLDense(12, 18, torch.tanh), (12,)),
    "SLL, large": (lambda: SLLDense(820, 801), (820,)),
    "SLL convolution": (lambda: SLLConv(3, 4), (3, 6, 6)),
    "SLL convolution, large": (lambda: SLLConv(3, 3), (3, 17, 17)),
    "CPL": (lambda: CPLDense(12, 18), (12,)),
    "CPL convolution, circular, large": (lambda: CPLConv(3, 3, 17, circular=True), (3, 17, 17)),
    "CPL convolution, zeros, large": (lambda: CPLConv(3, 3, 17, steps=4000), (3, 17, 17)),
    "AOL": (lambda: nn.Sequential(AOLDense(12, 12), nn.ReLU()), (12,)),
    "BRO": (lambda: nn.Sequential(BRODense(12, 5), nn.ReLU()), (12,)),
    "sandwich": (lambda: Sandwich(12, 12), (12,)),
    "sandwich, leaky": (lambda: Sandwich(12, 12, lambda x: functional.leaky_relu(x, 0.1)), (12,)),
}


@pytest.mark.parametrize(
    ("family", "blocks"),
    [
        pytest.param(name, blocks, marks=[pytest.mark.slow] * (blocks == 4))
        for name in WITH_A_THEOREM
        for blocks in ((1,) if "large" in name else (1, 4, 8))
    ],
)
def test_a_family_with_a_theorem_keeps_it(family: str, blocks: int) -> None:
    make, shape = WITH_A_THEOREM[family]
    network = stack(make, blocks)
    assert steepest(network, shape) <= bound_module(network, shape).upper <= 1.001


def test_sandwiches_behind_a_map_too_large_for_multipliers_begin_where_it_ends() -> None:
    torch.manual_seed(0)
    first = nn.Linear(1200, 12)
    nn.init.orthogonal_(first.weight)
    network = nn.Sequential(first, Sandwich(12, 12), Sandwich(12, 12)).eval()
    assert steepest(network, (1200,)) <= bound_module(network, (1200,)).upper <= 1.001


def corners(skip: Tensor, outer: Tensor, inner: Tensor, lowest: Tensor, largest: Tensor) -> float:
    """The largest ‖P + V S A‖ exactly: a convex function is largest in a corner."""
    each = [torch.tensor(signs, dtype=torch.float64) for signs in itertools.product((0.0, 1.0), repeat=len(inner))]
    slopes = lowest + torch.stack(each) * (largest - lowest)
    return float(torch.linalg.matrix_norm(skip + (outer * slopes[:, None]) @ inner, 2).max()) * (1 - 1e-13)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 9999), st.sampled_from([0.0, 0.1, 3.0]))
def test_no_corner_of_a_block_is_above_its_bound(out: int, size: int, wide: int, seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        scales = 10.0 ** torch.randint(-2, 3, shape[-1:], generator=generator)
        return torch.randn(*shape, dtype=torch.float64, generator=generator) * scales

    skip, outer, inner = share * draw(out, size), draw(out, wide), draw(wide, size)
    ends = torch.randn(2, wide, dtype=torch.float64, generator=generator).sort(0).values
    bound = block_slope_upper(skip[None], outer[None], inner[None], *ends)
    norms = [float(torch.linalg.matrix_norm(part, 2)) for part in (skip, outer, inner)]
    assert corners(skip, outer, inner, *ends) <= bound <= (norms[0] + norms[1] * norms[2] * float(ends.abs().max())) * 2


@pytest.mark.parametrize(
    "activation",
    [
        torch.relu,
        pytest.param(torch.abs, marks=pytest.mark.slow),
        pytest.param(torch.sin, marks=pytest.mark.slow),
        lambda x: functional.leaky_relu(x, -0.7),
    ],
)
@pytest.mark.parametrize("skips", [True, False])
def test_blocks_that_are_not_symmetric(activation: Callable[[Tensor], Tensor], skips: bool) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(6, 9), nn.Linear(9, 6)
            self.first, self.last = nn.Parameter(torch.randn(9).exp()), nn.Parameter(torch.randn(9).exp())

        def forward(self, x: Tensor) -> Tensor:
            branch = self.outer(self.last * activation(self.first * self.inner(x)))
            return 0.3 * x - 0.7 * branch if skips else branch

    network = stack(Block, 3, seed=4)
    assert steepest(network, (6,), points=40) <= bound_module(network, (6,)).upper


def test_a_mixture_is_joined() -> None:
    torch.manual_seed(2)
    matrix = torch.linalg.qr(torch.randn(8, 8)).Q
    inner = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    inner[0].weight.data, inner[2].weight.data = matrix, -matrix.T
    network = Mixed(inner, 0.0).eval()  # x/2 − Qᵀ relu(Q x)/2: of slopes 0 and 1/2
    assert steepest(network, (8,)) <= bound_module(network, (8,)).upper <= 0.5 * (1 + 1e-6)


def unflipped(kernel: Tensor) -> nn.Module:
    """x minus a convolution that seems to be the adjoint of the one inside: its taps are not turned round."""

    class Seeming(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(kernel)

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.relu(functional.conv2d(x, self.kernel, padding=1))
            return x - functional.conv2d(hidden, self.kernel.transpose(0, 1), padding=1)

    return Seeming().eval()


@pytest.mark.parametrize("pad", [0, 1, 2])
def test_an_adjoint_that_is_written_as_a_convolution(pad: int) -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1)) / 9)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.pad(x, [0] * 4, mode="circular")  # as a layer does that can pad
            hidden = torch.relu(functional.conv2d(x, self.kernel, padding=pad))
            if pad == 0:
                return x - functional.conv_transpose2d(hidden, self.kernel)
            turned = self.kernel.transpose(0, 1).flip((2, 3))
            return x - functional.conv2d(hidden, turned, padding=2 - pad)

    network, shape = Turned().eval(), (2, 21, 21)
    assert steepest(network, shape, points=6) <= bound_module(network, shape).upper <= 1 + 1e-9


def shifted_kernel() -> Tensor:
    kernel = torch.zeros(2, 2, 3, 3)
    kernel[0, 0, 0, 0] = kernel[1, 1, 0, 2] = 1.2
    return kernel


def test_taps_that_are_not_turned_round_are_no_adjoint(monkeypatch: pytest.MonkeyPatch) -> None:
    network, shape = unflipped(shifted_kernel()), (2, 21, 21)
    slope = steepest(network, shape, points=8)
    assert 1.5 < slope <= bound_module(network, shape).upper
    turned = taps._turned

    def faulty(*given: object) -> object:
        found = turned(*given)
        return taps.replace(found, kernel=found.kernel.flip((3, 4)))

    monkeypatch.setattr(taps, "_turned", faulty)
    with pytest.raises(BoundError, match="above the bound 1"):
        bound_module(network, shape)


def test_planted_multipliers_that_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    skip, outer, inner = (torch.randn(4, 4, dtype=torch.float64, generator=generator) for _ in range(3))
    ends = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    exact = corners(skip, outer, inner, *ends)
    assert exact <= block_slope_upper(skip[None], outer[None], inner[None], *ends) <= 1.2 * exact
    right, barrier = multipliers._contraction, multipliers._Barrier

    def halved(block: multipliers.Block) -> multipliers.Block:
        return block._replace(inner=block.inner / 2**0.5)  # T/2 where A is, T where V is

    monkeypatch.setattr(multipliers, "_contraction", lambda block, proposed: right(halved(block), proposed))
    monkeypatch.setattr(multipliers, "_Barrier", lambda block: barrier(halved(block)))
    assert block_slope_upper(skip[None], outer[None], inner[None], *ends) < exact


class Sorting(nn.Module):
    """P x + V σ(A x + b), σ a sort of pairs."""

    def __init__(self, size: int, wide: int, sort: Callable[[Tensor], Tensor], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.inner, self.outer = nn.Linear(size, wide), nn.Linear(wide, size)
        self.share, self.sort = nn.Parameter(torch.randn(())), sort

    def forward(self, x: Tensor) -> Tensor:
        return self.share * x + self.outer(self.sort(self.inner(x)))

    def exact(self) -> float:
        """The largest slope: for each pair either order may hold, and no other Jacobians are in between."""
        inner, outer = self.inner.weight.detach().double(), self.outer.weight.detach().double()
        skip, wide = float(self.share.detach().double()) * torch.eye(inner.shape[1]).double(), len(inner)
        pairs = halves(wide) if self.sort is max_min else torch.arange(wide).reshape(-1, 2)
        norms = []
        for swaps in itertools.product((False, True), repeat=wide // 2):
            order = torch.arange(wide)
            for (a, b), swap in zip(pairs.tolist(), swaps, strict=True):
                order[a], order[b] = (b, a) if swap else (a, b)
            norms.append(float(torch.linalg.matrix_norm(skip + outer @ inner[order], 2)))
        return max(norms) * (1 - 1e-13)


def halves(wide: int) -> Tensor:
    """The smaller of a pair is written to the second half, the larger to the first."""
    return torch.arange(wide).reshape(2, -1).T


def max_min(x: Tensor) -> Tensor:
    """Both of each pair, the larger ones first."""
    first, second = x.chunk(2, dim=1)
    return torch.cat((torch.maximum(first, second), torch.minimum(first, second)), dim=1)


def pairs_in_order(x: Tensor) -> Tensor:
    """Neighbours sorted."""
    return x.reshape(len(x), -1, 2).sort(dim=2).values.flatten(1)


@settings(max_examples=16, deadline=None)
@given(
    st.integers(1, 6), st.sampled_from([2, 4, 6, 8]), st.sampled_from([max_min, pairs_in_order, GroupSort2()]),
    st.integers(0, 999),
)  # fmt: skip
def test_blocks_that_sort_pairs(size: int, wide: int, sort: Callable[[Tensor], Tensor], seed: int) -> None:
    block = Sorting(size, wide, sort, seed).eval()
    upper = bound_module(block, (size,)).upper
    assert block.exact() <= upper
    assert largest_slope(block, (size,), points=6) <= upper  # the gradient of GroupSort2 has none of its own
    norms = [float(torch.linalg.matrix_norm(layer.weight.detach().double(), 2)) for layer in (block.inner, block.outer)]
    assert upper <= (abs(float(block.share.detach())) + norms[0] * norms[1]) * (1 + 1e-6)


def test_multipliers_of_pairs_are_nearly_exact_and_planted_ones_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Sorting(6, 8, max_min, 4).eval()
    exact = block.exact()
    assert exact <= bound_module(block, (6,)).upper <= 1.1 * exact
    own = residual._turned  # the difference would stay, and the absolute value of the sum be taken
    monkeypatch.setattr(residual, "_turned", lambda rows, pairs: own(rows, pairs).roll(len(pairs), 0))
    with pytest.raises(BoundError, match="above the bound"):
        bound_module(Steep().eval(), (2,))


class Steep(nn.Module):
    """x less about 0.9 times what a sorted pair has along (−1, 1): slopes 0.1 and 1.9 there."""

    def forward(self, x: Tensor) -> Tensor:
        along = torch.tensor([[0.46, -0.45], [-0.45, 0.46]], dtype=x.dtype)
        return x - x.sort(dim=1).values @ along


class Added(SLLDense):
    """x plus what SLL takes away."""

    def forward(self, x: Tensor) -> Tensor:
        scales = 2 / (self.weight @ self.weight.T).abs().sum(1)
        return x + functional.linear(scales * torch.relu(functional.linear(x, self.weight)), self.weight.T)


def test_planted_sign_of_the_branch_is_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    network = stack(lambda: Added(6, 6), 1)
    slope = steepest(network, (6,))
    assert 1.5 < slope <= bound_module(network, (6,)).upper
    right = residual._near_adjoint
    monkeypatch.setattr(
        residual, "_near_adjoint", lambda inner, outer, factor, enough: right(inner, outer, -factor, enough)
    )
    with pytest.raises(BoundError, match="above the bound"):
        bound_module(network, (6,))


ONE_OR_TWO = st.integers(1, 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), ONE_OR_TWO, ONE_OR_TWO, st.integers(0, 2), ONE_OR_TWO, st.integers(0, 999))
def test_a_band_is_the_convolution_that_it_stands_for(
    axes: int, stride: int, dilation: int, pad: int, groups: int, seed: int
) -> None:
    torch.manual_seed(seed)
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](
        2 * groups, 3 * groups, 2 if axes > 2 else 3, stride, pad, dilation, groups, dtype=torch.float64
    )
    size = tuple(torch.randint(5, 7 if axes > 1 else 14, (axes,)).tolist())
    kernel = convolution.weight.detach().reshape(groups, 3, *convolution.weight.shape[1:])
    pads = ((pad, pad),) * axes
    geometry = Geometry(size, (stride,) * axes, (dilation,) * axes, padding=pads)
    exact, bound = exact_norm(convolution, (2 * groups, *size)), banded_norm_upper(kernel, geometry, pads)
    assert exact * (1 - 1e-14) <= bound
    assert bound <= exact * (1 + 1e-6) or bound == float("inf")


class Padded(nn.Module):
    """Channels of zeros beside the image, SLL blocks, a pooling, dense SLL blocks, a unit row (Araujo et al. 2023)."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(SLLConv(4, 5), SLLConv(4, 5), nn.AvgPool2d(4, divisor_override=4), nn.Flatten())
        self.dense, self.head = nn.Sequential(SLLDense(64, 24), SLLDense(64, 24)), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(x.shape[0], 4, *x.shape[2:])
        out[:, :3] = x
        return functional.linear(self.dense(self.blocks(out)), functional.normalize(self.head.weight, dim=1))


def test_a_network_of_padded_channels_and_pooling() -> None:
    torch.manual_seed(1)
    network, shape = Padded().eval(), (3, 16, 16)
    assert steepest(network, shape, points=3) <= bound_module(network, shape).upper <= 1 + 1e-6
