"""Every linear layer: the bound is never below the SVD of the dense matrix, and not far above it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.lipschitz.norms import groups, section
from robench.lipschitz.norms.convolution import reshaped_kernel_bound
from robench.lipschitz.norms.groups import convolution_norm_upper
from robench.lipschitz.norms.spectral import spectral_norm_upper
from robench.lipschitz.norms.torus import Geometry, torus_sides
from robench.lipschitz.trace import linear as linear_module
from tests.lipschitz.oracles import dense_matrix, exact_norm

BIG = settings(max_examples=100, deadline=None, derandomize=True)


def upper(module: nn.Module, shape: tuple[int, ...]) -> float:
    return bound_module(module.eval(), shape).upper


@pytest.fixture
def no_dense_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small nets would all be bounded as one matrix; with this the symbols and products are under test."""
    monkeypatch.setattr(linear_module, "DENSE_SIDE", 0)


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    scale=st.sampled_from([1e-150, 1e-3, 1.0, 1e5, 1e150]),
    rank=st.integers(1, 40),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_dense_norm_is_tight_from_above(seed: int, rows: int, columns: int, scale: float, rank: int) -> None:
    torch.manual_seed(seed)
    matrix = torch.randn(rows, rank, dtype=torch.float64) @ torch.randn(rank, columns, dtype=torch.float64) * scale
    exact = float(torch.linalg.svdvals(matrix / scale)[0]) * scale
    bound = spectral_norm_upper(matrix)
    assert bound >= exact
    assert bound <= exact * (1 + 1e-9)


def test_equal_singular_values_are_bounded() -> None:
    orthogonal = torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64))[0]
    assert 1.0 - 1e-12 <= spectral_norm_upper(orthogonal) <= 1 + 1e-9
    assert spectral_norm_upper(torch.zeros(3, 4, dtype=torch.float64)) == 0.0


@given(data=st.data(), seed=st.integers(0, 10**6))
@BIG
def test_convolution_symbol_bounds_the_dense_operator(data: st.DataObject, seed: int) -> None:
    torch.manual_seed(seed)
    axes = data.draw(st.sampled_from([1, 2]))
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    out, inner = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    taps = tuple(data.draw(st.integers(1, 4)) for _ in range(axes))
    stride = tuple(data.draw(st.integers(1, 3)) for _ in range(axes))
    dilation = tuple(data.draw(st.integers(1, 2)) for _ in range(axes))
    padding = tuple(data.draw(st.integers(0, 4)) for _ in range(axes))
    size = tuple(data.draw(st.integers(d * (k - 1) + 1, 8)) for k, d in zip(taps, dilation, strict=True))
    kernel = torch.randn(groups, out, inner, *taps, dtype=torch.float64)
    known = tuple((side, side) for side in padding) if data.draw(st.booleans()) else None
    geometry = Geometry(size, stride, dilation, padding=known)
    basis = torch.eye(groups * inner * math.prod(size), dtype=torch.float64).reshape(-1, groups * inner, *size)
    convolve = functional.conv1d if axes == 1 else functional.conv2d
    image = convolve(basis, kernel.flatten(0, 1), None, stride, padding, dilation, groups).flatten(1)
    exact = float(torch.linalg.matrix_norm(image, 2))
    bound = convolution_norm_upper(kernel, geometry)
    assert bound >= exact
    assert bound <= max(reshaped_kernel_bound(group, geometry) for group in kernel) * (1 + 1e-9)


@given(data=st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_multipliers_of_a_section_have_the_norms_claimed(data: st.DataObject) -> None:
    """2 cos(m·w) on the torus, restricted to the box of the section: at most c_m (paths that cannot wrap around)."""
    axes = data.draw(st.sampled_from([1, 2]))
    taps = tuple(data.draw(st.integers(1, 4)) for _ in range(axes))
    stride = tuple(data.draw(st.integers(1, 3)) for _ in range(axes))
    size = tuple(data.draw(st.integers(k, 9)) for k in taps)
    padding = tuple((data.draw(st.integers(0, 2)),) * 2 for _ in range(axes)) if data.draw(st.booleans()) else None
    geometry = Geometry(size, stride, (1,) * axes, padding=padding)
    lengths = section.box_lengths(taps, geometry)
    sides = torus_sides(taps, geometry, lengths)
    assert all(side >= n + k - 1 and side % s == 0 for side, n, k, s in zip(sides, size, taps, stride, strict=True))
    coarse = tuple(side // s for side, s in zip(sides, stride, strict=True))
    shifts = section.shifts_within(coarse, lengths)
    limits = section.shift_limits(shifts, lengths)
    pick = data.draw(st.integers(0, len(shifts) - 1))
    box = torch.cartesian_prod(*[torch.arange(length) for length in lengths]).reshape(-1, axes)
    offset = (box[:, None] - box - shifts[pick]) % torch.tensor(coarse)
    joined = (offset == 0).all(-1).double()
    assert float(torch.linalg.matrix_norm(joined + joined.T, 2)) <= float(limits[pick]) + 1e-12


@pytest.mark.parametrize(
    ("channels", "taps", "size", "stride"),
    [((4, 3), 3, 16, 1), ((3, 4), 5, 16, 1), ((4, 2), 2, 16, 2), ((4, 3), 3, 16, 2), ((2, 2), 3, 20, 1)],
)
def test_convolution_of_images_is_within_two_percent(
    channels: tuple[int, int], taps: int, size: int, stride: int
) -> None:
    torch.manual_seed(3)
    layer = nn.Conv2d(channels[1], channels[0], taps, stride=stride, padding=taps // 2, bias=False).double()
    exact = exact_norm(layer, (channels[1], size, size))
    kernel = layer.weight.detach()[None]
    pads = ((taps // 2, taps // 2),) * 2
    bound = convolution_norm_upper(kernel, Geometry((size, size), (stride, stride), (1, 1), padding=pads))
    assert exact <= bound
    assert bound <= 1.02 * exact


LAYERS = [
    (nn.Linear(7, 5), (7,)),
    (nn.Linear(7, 5), (3, 7)),
    (nn.Conv1d(3, 4, 3, padding=1), (3, 9)),
    (nn.Conv1d(3, 4, 3, padding=2, stride=2, dilation=2), (3, 9)),
    (nn.Conv2d(3, 4, 3, padding=1), (3, 7, 6)),
    (nn.Conv2d(4, 4, 3, padding=1, groups=2), (4, 6, 6)),
    (nn.Conv2d(4, 4, 3, padding=1, groups=4, stride=2), (4, 7, 7)),
    (nn.Conv2d(2, 3, (3, 2), padding="same", dilation=2), (2, 7, 7)),
    (nn.Conv2d(2, 3, 3, padding="valid", stride=(2, 1)), (2, 7, 7)),
    (nn.Conv3d(2, 3, 2, padding=1), (2, 3, 4, 3)),
    *[
        (nn.Conv2d(2, 3, 3, padding=p, stride=s, padding_mode=mode), (2, n, n))
        for mode in ("circular", "reflect", "replicate")
        for p, s, n in ((1, 1, 6), (2, 1, 5), (1, 2, 6), (1, 2, 7), (0, 1, 5), (2, 3, 6))
    ],
    (nn.Conv1d(2, 3, 4, padding=3, padding_mode="circular"), (2, 8)),
    (nn.ConvTranspose1d(3, 2, 3), (3, 5)),
    (nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1), (3, 4, 4)),
    (nn.ConvTranspose2d(4, 4, 3, stride=3, groups=2), (4, 3, 3)),
    (nn.ConvTranspose2d(2, 3, 2, stride=1, padding=1, dilation=2), (2, 5, 5)),
    (nn.AvgPool2d(2), (2, 7, 7)),
    (nn.AvgPool2d(3, 2, 1), (2, 7, 7)),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (2, 8, 8)),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 8, 8)),
    (nn.AvgPool2d(3, 1, divisor_override=2), (1, 6, 6)),
    (nn.AvgPool1d(3, 2, 1), (2, 8)),
    (nn.AdaptiveAvgPool2d(1), (3, 5, 6)),
    (nn.AdaptiveAvgPool2d((3, 4)), (2, 7, 6)),
    (nn.Upsample(scale_factor=2), (2, 3, 4)),
    (nn.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 4)),
    (nn.Upsample(size=(5, 7), mode="bilinear", align_corners=True), (2, 3, 4)),
    (nn.PixelShuffle(2), (4, 3, 3)),
    (nn.PixelUnshuffle(2), (1, 4, 4)),
    (nn.ZeroPad2d((1, 2, 0, 3)), (2, 3, 3)),
    (nn.ReflectionPad2d(2), (1, 4, 4)),
    (nn.ReplicationPad2d(2), (1, 3, 4)),
    (nn.CircularPad2d(2), (1, 4, 4)),
    (nn.ChannelShuffle(2), (4, 2, 2)),
    (nn.Unflatten(1, (2, 3)), (6,)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("joined", [True, False])
def test_layer_bound_holds(
    layer: nn.Module, shape: tuple[int, ...], joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not joined:
        monkeypatch.setattr(linear_module, "DENSE_SIDE", 0)
    exact = exact_norm(layer, shape)
    bound = upper(layer, shape)
    assert bound >= exact
    if joined:
        assert bound <= exact * (1 + 1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_circular_convolution_is_exact(no_dense_join: None, stride: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", stride=stride)
    assert upper(layer, (2, 8, 8)) <= exact_norm(layer, (2, 8, 8)) * (1 + 1e-8)


class Residual(nn.Module):
    def __init__(self, branch: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.branch = branch
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.scale * self.branch(x)


def randomised(layer: nn.BatchNorm2d) -> nn.BatchNorm2d:
    layer.running_mean.normal_()  # type: ignore[union-attr]
    layer.running_var.uniform_(0.2, 3)  # type: ignore[union-attr]
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


JOINED = [
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), randomised(nn.BatchNorm2d(3))), (2, 8, 8), 1.1),
    (lambda: nn.Sequential(randomised(nn.BatchNorm2d(2)), nn.Conv2d(2, 3, 3, padding=1)), (2, 8, 8), 1.1),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(2)), (2, 8, 8), 1.1),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=2, stride=2), nn.Conv2d(3, 2, 2)), (2, 9, 9), 1.1),
    (lambda: Residual(nn.Conv2d(2, 2, 3, padding=1)), (2, 8, 8), 1.1),
    (lambda: Residual(nn.Conv2d(4, 4, 3, padding=1, groups=2), -0.5), (4, 8, 8), 1.4),
    (lambda: Residual(nn.Conv2d(2, 2, 3, padding=2, dilation=2)), (2, 8, 8), 1.25),
    (lambda: nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 4)), (6,), 3.0),
]


@pytest.mark.parametrize(("make", "shape", "slack"), JOINED)
def test_joined_maps_are_bounded_as_one(
    make: object, shape: tuple[int, ...], slack: float, no_dense_join: None
) -> None:
    torch.manual_seed(1)
    module = make().eval()  # type: ignore[operator]
    exact = exact_norm(module, shape)
    bound = upper(module, shape)
    assert exact <= bound <= slack * exact


def test_a_chain_of_matrices_is_one_matrix() -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Linear(30, 40), nn.Unflatten(1, (4, 10)), nn.Linear(10, 3), nn.Flatten(), nn.Linear(12, 5))
    exact = exact_norm(chain, (30,))
    assert exact <= upper(chain, (30,)) <= exact * (1 + 1e-8)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 2)])
def test_a_convolution_of_one_tap_has_the_norm_of_its_matrix(stride: int, padding: int) -> None:
    layer = nn.Conv2d(5, 7, 1, stride=stride, padding=padding, bias=False).double()
    exact = float(torch.linalg.svdvals(dense_matrix(layer, (5, 6, 6)))[0])
    bound = bound_module(nn.Sequential(layer, nn.Flatten()).eval(), (5, 6, 6)).upper
    assert exact <= bound <= exact * (1 + 1e-10)


@pytest.mark.parametrize(("size", "stride"), [(4, 1), (5, 2), (9, 1), (12, 1), (12, 3)])
def test_the_largest_of_many_groups_is_found(size: int, stride: int) -> None:
    torch.manual_seed(size)
    kernel = torch.randn(24, 1, 1, 3, 3, dtype=torch.float64) * torch.rand(24, 1, 1, 1, 1, dtype=torch.float64)
    geometry = Geometry((size, size), (stride, stride), (1, 1), padding=((1, 1), (1, 1)))
    each = [convolution_norm_upper(kernel[k : k + 1], geometry) for k in range(24)]
    bound = convolution_norm_upper(kernel, geometry)
    layer = nn.Conv2d(1, 24, 3, stride, 1, bias=False).double()
    layer.weight.data = kernel.flatten(0, 1)
    blocks = dense_matrix(layer, (1, size, size)).reshape(24, -1, size * size)
    exact = float(torch.linalg.matrix_norm(blocks, 2).max())  # the operator is block-diagonal
    assert exact <= bound <= max(each) * (1 + 1e-9)


def test_planted_groups_that_are_left_out_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = torch.zeros(3, 1, 1, 3, 3, dtype=torch.float64)
    kernel[1, :, :, 1, 1] = 2.9
    kernel[2, :, :, :, 0] = 1.0  # a larger Frobenius norm on the torus than on the image of four pixels
    geometry = Geometry((2, 2), (1, 1), (1, 1), padding=((1, 1), (1, 1)))
    assert convolution_norm_upper(kernel, geometry) >= 2.9
    monkeypatch.setattr(groups, "_dense_blocks_bound", lambda kernel, geometry, floor: floor)
    assert convolution_norm_upper(kernel, geometry) < 2.9


class Warped(nn.Module):
    """Images turned by an angle, at places of a grid."""

    def __init__(self, mode: str, padding: str, corners: bool) -> None:
        super().__init__()
        turn = torch.tensor([[[0.81, -0.6, 0.11], [0.7, 0.93, 0.053]]], dtype=torch.float64)
        self.register_buffer("grid", functional.affine_grid(turn, [1, 2, 7, 6], align_corners=corners))
        self.mode, self.padding, self.corners = mode, padding, corners

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = self.grid.expand(len(x), -1, -1, -1).to(x.dtype)
        return functional.grid_sample(x, places, self.mode, self.padding, align_corners=self.corners)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize(("padding", "corners"), [("zeros", True), ("border", False), ("reflection", False)])
def test_sampling_at_a_constant_grid_has_its_exact_norm(mode: str, padding: str, corners: bool) -> None:
    network = Warped(mode, padding, corners).double().eval()
    norm = exact_norm(network, (2, 5, 6))
    assert norm <= bound_module(network, (2, 5, 6)).upper <= norm * (1 + 1e-9)


class PaddedTwice(nn.Module):
    """A convolution of an image padded by its own pixels, factors for each channel, and a second one."""

    def __init__(self, mode: str, stride: int, dilation: int, groups: int, side: int) -> None:
        super().__init__()
        reach = dilation * (side - 1)
        self.pads = [reach // 2, reach - reach // 2] * 2
        self.mode = mode
        self.first = nn.Conv2d(2 * groups, 3 * groups, side, stride, 0, dilation, groups)
        self.scale = nn.Parameter(torch.randn(3 * groups, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(functional.pad(x, self.pads, self.mode)) * self.scale


ONE_OR_TWO = st.integers(1, 2)
PADDINGS = ("reflect", "replicate", "circular")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PADDINGS), ONE_OR_TWO, ONE_OR_TWO, ONE_OR_TWO, st.integers(2, 4), st.integers(0, 999))
def test_padding_by_pixels_is_bounded_with_its_convolution(
    no_dense_join: None, mode: str, stride: int, dilation: int, groups: int, side: int, seed: int
) -> None:
    torch.manual_seed(seed)
    network = PaddedTwice(mode, stride, dilation, groups, side).double().eval()
    shape = (2 * groups, 7, 9)
    exact, bound = exact_norm(network, shape), bound_module(network, shape).upper
    assert exact * (1 - 1e-14) <= bound
    assert bound <= exact * (1 + 1e-6) or mode == "circular"


def test_planted_padding_from_other_pixels_is_seen(no_dense_join: None, monkeypatch: pytest.MonkeyPatch) -> None:
    own = linear_module.padded_norm_upper
    monkeypatch.setattr(
        linear_module,
        "padded_norm_upper",
        lambda kernel, geometry, padding, index, sides: own(kernel / 2, geometry, padding, index.flip(0), sides),
    )
    torch.manual_seed(0)
    with pytest.raises(BoundError, match="above the bound"):
        bound_module(PaddedTwice("reflect", 1, 1, 1, 3).double().eval(), (2, 7, 9))
