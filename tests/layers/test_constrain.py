"""Every constrained layer against the dense matrix it stands for, after training steps."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from robench.errors import SpecError
from robench.layers import constrain_conv, constrain_head, constrain_linear, export_weight
from tests.layers.dense_operator import dense_operator, train_a_little

SIZES = [(7, 5), (5, 7), (6, 6), (1, 4), (4, 1), (33, 64)]
FLOAT32_SLACK = 1e-6
EXPORT_SLACK = 2e-7

# in, out, kernel, stride, padding, input side
STRICT = [
    (1, 8, 3, 1, 1, 6),
    (3, 5, 3, 1, 1, 7),
    (5, 3, 5, 1, 2, 6),
    (2, 4, 3, 2, 1, 7),
    (3, 4, 4, 2, 1, 8),
    (3, 8, 2, 2, 0, 7),
    (2, 3, (2, 3), (1, 2), (1, 0), 6),
    (4, 4, 3, 3, 2, 7),
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def read(layer: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return layer.weight.detach().clone()


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("constraint", ["bjorck", "polar"])
def test_a_dense_layer_has_norm_at_most_one_while_it_trains(constraint, sizes):
    layer = constrain_linear(nn.Linear(*sizes), constraint)
    train_a_little(layer, sizes[0])
    assert torch.linalg.matrix_norm(read(layer).double(), 2) <= 1 + FLOAT32_SLACK
    exported = torch.linalg.svdvals(export_weight(layer).double())
    assert exported.max() <= 1 + EXPORT_SLACK
    if constraint == "polar":
        assert (torch.linalg.svdvals(read(layer).double()) - 1).abs().max() < 1e-3
        assert (exported - 1).abs().max() < 1e-6


@pytest.mark.parametrize("sizes", SIZES)
def test_spectral_normalisation_is_exact_in_evaluation_and_export(sizes):
    layer = constrain_linear(nn.Linear(*sizes), "spectral")
    train_a_little(layer, sizes[0])
    layer.eval()
    for weight in (read(layer), export_weight(layer)):
        assert float(torch.linalg.matrix_norm(weight.double(), 2)) == pytest.approx(1, abs=FLOAT32_SLACK)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("constraint", ["bjorck", "polar"])
@pytest.mark.parametrize("case", STRICT)
def test_a_strict_convolution_has_norm_at_most_one(case, constraint, mode):
    cin, cout, kernel, stride, padding, side = case
    if mode == "circular" and padding != 1:
        padding = 0
    conv = nn.Conv2d(cin, cout, kernel, stride, padding, padding_mode=mode)
    try:
        constrain_conv(conv, constraint, "strict", (side, side))
    except SpecError:
        assert mode == "circular"
        return
    train_a_little(conv, cin, side, side)
    for weight, slack in ((read(conv), FLOAT32_SLACK), (export_weight(conv), EXPORT_SLACK)):
        operator = dense_operator(conv, weight, cin, side, side)
        assert torch.linalg.matrix_norm(operator, 2) <= 1 + slack


@pytest.mark.parametrize(
    "case", [(1, 8, 3, 1), (4, 8, 3, 1), (8, 3, 3, 1), (4, 4, (2, 3), 1), (5, 5, 5, 1), (3, 3, 1, 1)]
)
def test_an_orthogonal_convolution_is_orthogonal_on_the_torus(case):
    cin, cout, kernel, stride = case
    conv = nn.Conv2d(cin, cout, kernel, stride, "same", padding_mode="circular")
    constrain_conv(conv, "polar", "orthogonal", (6, 6))
    train_a_little(conv, cin, 6, 6)
    for weight, slack in ((read(conv), FLOAT32_SLACK), (export_weight(conv), EXPORT_SLACK)):
        values = torch.linalg.svdvals(dense_operator(conv, weight, cin, 6, 6))
        assert values.max() <= 1 + slack
        assert values.min() > 1 - 1e-3


@pytest.mark.parametrize("case", [(4, 8, 4, 2), (2, 16, 4, 2), (3, 5, 2, 2), (2, 4, 3, 3)])
def test_a_strided_orthogonal_convolution_is_orthogonal_on_the_torus(case):
    """Circular padding done by hand, since torch's cannot pad on one side only."""
    cin, cout, kernel, stride = case
    conv = constrain_conv(nn.Conv2d(cin, cout, kernel, stride), "polar", "orthogonal", (6, 6))
    train_a_little(conv, cin, 6, 6)
    units = torch.eye(cin * 36, dtype=torch.float64).view(-1, cin, 6, 6)
    extra = kernel - stride
    padded = nn.functional.pad(units, (0, extra, 0, extra), mode="circular") if extra else units
    for weight in (read(conv), export_weight(conv)):
        values = torch.linalg.svdvals(nn.functional.conv2d(padded, weight.double(), stride=stride).flatten(1))
        assert values.max() <= 1 + FLOAT32_SLACK
        assert values.min() > 1 - 1e-3


def test_an_orthogonal_convolution_with_full_zero_padding_is_an_isometry():
    conv = constrain_conv(nn.Conv2d(3, 4, 3, padding=2), "polar", "orthogonal", (5, 5))
    values = torch.linalg.svdvals(dense_operator(conv, export_weight(conv), 3, 5, 5))
    assert float((values - 1).abs().max()) < 1e-6


def test_an_orthogonal_convolution_with_same_zero_padding_has_norm_at_most_one():
    conv = constrain_conv(nn.Conv2d(3, 4, 3, padding=1), "polar", "orthogonal", (5, 5))
    values = torch.linalg.svdvals(dense_operator(conv, export_weight(conv), 3, 5, 5))
    assert values.max() <= 1 + EXPORT_SLACK
    assert values.min() < 0.99


def test_the_paper_scheme_can_exceed_one_by_little_and_strict_cannot():
    """The constant kernel on an image of ones in the middle: Eq. (11) is an average, not a bound."""
    norms = {}
    for scheme in ("paper", "strict"):
        conv = constrain_conv(nn.Conv2d(1, 1, 3, padding=1, bias=False), "polar", scheme, (16, 16))
        conv.weight = torch.ones(1, 1, 3, 3) / 3
        norms[scheme] = float(torch.linalg.matrix_norm(dense_operator(conv, export_weight(conv), 1, 16, 16), 2))
    assert 1.001 < norms["paper"] < 1.05
    assert norms["strict"] <= 1


def test_heads():
    rows = constrain_head(nn.Linear(6, 10), "unit_rows", "polar")
    train_a_little(rows, 6)
    assert torch.allclose(read(rows).norm(dim=1), torch.ones(10))
    assert torch.allclose(export_weight(rows).double().norm(dim=1), torch.ones(10, dtype=torch.float64))
    joint = constrain_head(nn.Linear(6, 10), "joint", "polar")
    assert torch.allclose(torch.linalg.svdvals(export_weight(joint)), torch.ones(6))
    plain = constrain_head(nn.Linear(6, 10), "none", "polar")
    assert not parametrize.is_parametrized(plain)


@pytest.mark.parametrize("constraint", ["none", "spectral", "bjorck", "polar"])
@pytest.mark.parametrize("scheme", ["strict", "orthogonal"])
def test_the_export_agrees_with_the_weight_in_training(constraint, scheme):
    conv = constrain_conv(nn.Conv2d(3, 4, 3, padding=1), constraint, scheme, (6, 6))
    train_a_little(conv, 3, 6, 6, steps=3)
    conv.eval()
    assert torch.allclose(export_weight(conv), read(conv), atol=1e-4)


def test_the_export_changes_nothing():
    layer = constrain_linear(nn.Linear(5, 4), "bjorck")
    before = copy.deepcopy(layer.state_dict())
    export_weight(layer)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("constraint", ["spectral", "bjorck", "polar"])
def test_reading_a_weight_in_evaluation_mode_changes_nothing(constraint):
    layer = constrain_linear(nn.Linear(5, 4), constraint).eval()
    before = copy.deepcopy(layer.state_dict())
    first = read(layer)
    assert torch.equal(first, read(layer))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("constraint", ["spectral", "bjorck", "polar"])
def test_a_saved_state_gives_the_same_weight(constraint):
    first, second = (constrain_linear(nn.Linear(5, 4), constraint) for _ in range(2))
    train_a_little(first, 5)
    second.load_state_dict(first.state_dict())
    assert torch.equal(export_weight(first), export_weight(second))


def test_refusals_name_what_to_do():
    with pytest.raises(SpecError, match="polr") as caught:
        constrain_linear(nn.Linear(2, 2), "polr")
    assert "polar" in caught.value.hint
    for conv in (
        nn.Conv2d(2, 2, 3, dilation=2),
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 2, stride=2, padding=1, padding_mode="circular"),
    ):
        with pytest.raises(SpecError):
            constrain_conv(conv, "polar", "strict", (8, 8))
    with pytest.raises(SpecError, match="stride"):
        constrain_conv(nn.Conv2d(2, 2, 2, stride=3), "polar", "orthogonal", (8, 8))


def test_a_foreign_parametrization_is_not_exported():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3))
    with pytest.raises(SpecError, match="_SpectralNorm"):
        export_weight(layer)


def test_a_factor_that_is_too_large_is_seen():
    """Planted fault: half of the strict constant lets the norm through the check above."""
    conv = nn.Conv2d(2, 4, 3, padding=1)
    constrain_conv(conv, "polar", "strict", (8, 8))
    weight = export_weight(conv) * math.sqrt(9)
    assert torch.linalg.matrix_norm(dense_operator(conv, weight, 2, 8, 8), 2) > 1 + FLOAT32_SLACK
