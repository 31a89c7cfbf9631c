"""Gradients and values of the weight maps against autograd and the singular value decomposition, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

from robench.layers import constrain_conv
from robench.layers.bjorck import Bjorck, bjorck
from robench.layers.heads import UnitRows
from robench.layers.orthogonal import OrthogonalKernel
from robench.layers.polar import polar_factor, polar_factor_exact
from robench.layers.spectral import SpectralNormalization, spectral_norm_upper
from robench.layers.tracked_polar import Polar

SHAPES = [(4, 7), (7, 4), (5, 5), (1, 3), (3, 1), (3, 2, 2, 2)]


def matrix(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("iterations", [1, 15])
def test_bjorck_gradients_are_those_of_finite_differences(iterations, shape):
    weight = matrix(*shape)
    weight = weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
    assert gradcheck(Bjorck(iterations), weight.requires_grad_())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_the_tracked_polar_gradient_is_that_of_the_polar_factor_of_the_product(shape, training):
    """After a jump of the weight; the reference is the closed form, itself checked by finite differences below."""
    weight_map = Polar(matrix(*shape)).train(training)
    weight = weight_map.right_inverse(matrix(*shape)) + 0.2 * matrix(*shape, seed=2)
    weight.requires_grad_()
    direction = matrix(*shape, seed=1)
    factor = weight_map(weight)
    (found,) = torch.autograd.grad((factor * direction).sum(), weight)
    flat = weight.flatten(1)
    product = flat @ weight_map.root.T if flat.shape[0] > flat.shape[1] else weight_map.root @ flat
    reference = polar_factor(product).view_as(weight)
    (expected,) = torch.autograd.grad((reference * direction).sum(), weight)
    assert torch.allclose(factor, reference, atol=1e-8)
    assert torch.allclose(found, expected, atol=1e-6)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(m=st.integers(1, 12), extra=st.integers(0, 12), jump=st.floats(0, 3), seed=st.integers(0, 99))
def test_the_root_is_renewed_after_small_steps_and_large_jumps(m, extra, jump, seed):
    weight = matrix(m, m + extra, seed=seed).float()
    weight_map = Polar(weight)
    moved = weight_map.right_inverse(weight) + jump * matrix(m, m + extra, seed=seed + 1).float() / (m + extra) ** 0.5
    values = torch.linalg.svdvals(weight_map(moved).double())
    assert values.max() <= 1 + 1e-6
    assert values.min() > 1 - 1e-3 or float(torch.linalg.cond(moved)) > 1e3


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_the_polar_factor(shape):
    assert gradcheck(polar_factor, matrix(*shape).flatten(1).requires_grad_())


def test_the_gradient_of_unit_rows():
    assert gradcheck(UnitRows(), matrix(4, 7).requires_grad_())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_polar_gradient_is_autograds_through_the_svd(shape):
    weight = matrix(*shape).flatten(1).requires_grad_()
    direction = matrix(*weight.shape, seed=1)
    u, _, vh = torch.linalg.svd(weight, full_matrices=False)
    (reference,) = torch.autograd.grad((u @ vh * direction).sum(), weight)
    (closed,) = torch.autograd.grad((polar_factor(weight) * direction).sum(), weight)
    assert torch.allclose(closed, reference, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_spectral_gradient_is_autograds_at_the_singular_vectors(shape):
    weight = matrix(*shape).requires_grad_()
    weight_map = SpectralNormalization(weight.detach(), iterations=400)
    direction = matrix(*shape, seed=1)
    reference = weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
    (expected,) = torch.autograd.grad((reference * direction).sum(), weight)
    (found,) = torch.autograd.grad((weight_map(weight) * direction).sum(), weight)
    assert torch.allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("sizes", [(2, 4, 3, 1), (4, 2, 3, 1), (2, 3, 3, 2)])
def test_the_gradient_of_an_orthogonal_kernel(sizes):
    cin, cout, kernel, stride = sizes
    torch.manual_seed(0)
    conv = nn.Conv2d(cin, cout, kernel, stride).double()
    weight_map = OrthogonalKernel(conv)
    root, frames = (0.7 * part for part in weight_map.right_inverse(conv.weight))
    assert gradcheck(weight_map, (root.requires_grad_(), frames.requires_grad_()))


@settings(derandomize=True, deadline=None, max_examples=40)
@given(m=st.integers(1, 24), n=st.integers(1, 24), log_condition=st.floats(0, 5), seed=st.integers(0, 99))
def test_a_float32_polar_factor_never_exceeds_norm_one(m, n, log_condition, seed):
    k = min(m, n)
    u, v = torch.linalg.qr(matrix(m, k, seed=seed)).Q, torch.linalg.qr(matrix(n, k, seed=seed + 1)).Q
    weight = (u * torch.logspace(0, -log_condition, k, dtype=torch.float64)) @ v.T
    values = torch.linalg.svdvals(polar_factor(weight.float()).double())
    assert values.max() <= 1 + 1e-6
    assert values.min() > 1 - 1e-3


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_rank_deficient_weights_are_finite_bounded_and_made_orthogonal_on_assignment(shape):
    weight = matrix(shape[0], 2).float() @ matrix(2, shape[1], seed=1).float()
    for degenerate in (weight, torch.zeros(shape)):
        degenerate = degenerate.requires_grad_()
        factor = polar_factor(degenerate)
        factor.sum().backward()
        assert bool(torch.isfinite(factor).all() and torch.isfinite(degenerate.grad).all())
        assert torch.linalg.matrix_norm(factor.detach().double(), 2) <= 1 + 1e-6
        weight_map = Polar(degenerate)
        values = torch.linalg.svdvals(weight_map(weight_map.right_inverse(degenerate.detach())))
        assert float((values - 1).abs().max()) < 1e-4


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_a_weight_that_loses_rank_in_training_keeps_norm_one_and_recovers(shape):
    weight = matrix(*shape).float()
    weight_map = Polar(weight)
    start = weight_map.right_inverse(weight)
    lost = (matrix(shape[0], 2).float() @ matrix(2, shape[1], seed=1).float()).requires_grad_()
    for broken in (lost, torch.zeros(shape, requires_grad=True)):
        factor = weight_map(broken)
        factor.sum().backward()
        assert bool(torch.isfinite(broken.grad).all())
        assert torch.linalg.matrix_norm(factor.detach().double(), 2) <= 1 + 1e-6
    for _ in range(3):
        values = torch.linalg.svdvals(weight_map(start).double())
    assert values.max() <= 1 + 1e-6
    assert values.min() > 1 - 1e-3


def test_the_exact_factor_is_the_nearest_orthonormal_matrix():
    weight = matrix(5, 8)
    nearest = (weight - polar_factor_exact(weight)).norm()
    for seed in range(20):
        other = torch.linalg.qr(matrix(8, 5, seed=seed)).Q.T
        assert nearest <= (weight - other).norm()


@settings(derandomize=True, deadline=None, max_examples=30)
@given(m=st.integers(1, 12), n=st.integers(1, 12), norm=st.floats(0.01, 2), seed=st.integers(0, 99))
def test_bjorck_steps_are_the_papers_and_map_norm_two_to_one(m, n, norm, seed):
    weight = matrix(m, n, seed=seed)
    weight = norm * weight / torch.linalg.matrix_norm(weight, 2)
    reference = weight
    for _ in range(15):
        reference = 1.5 * reference - 0.5 * reference @ reference.T @ reference
    assert torch.allclose(bjorck(weight, 15), reference, atol=1e-9)
    assert torch.linalg.matrix_norm(bjorck(weight.float(), 15).double(), 2) <= 1 + 1e-6


@settings(derandomize=True, deadline=None, max_examples=30)
@given(m=st.integers(1, 40), n=st.integers(1, 40), scale=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_the_upper_bound_of_the_norm_is_one(m, n, scale, seed):
    weight = scale * matrix(m, n, seed=seed)
    exact = float(torch.linalg.matrix_norm(weight, 2))
    assert exact * (1 - 1e-12) <= float(spectral_norm_upper(weight)) <= exact * min(m, n) ** 0.125 * (1 + 1e-12)


def test_wrong_singular_vectors_cannot_push_bjorck_above_one():
    """The stored vectors are orthogonal to the leading direction: power iteration sees 0.01 where the norm is 1."""
    weight = torch.diag(torch.tensor([1.0, 0.01, 0.01]))
    weight_map = SpectralNormalization(weight)
    weight_map.left, weight_map.right = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    scaled = weight_map(weight)
    assert torch.linalg.matrix_norm(scaled, 2) <= 2
    assert torch.linalg.matrix_norm(Bjorck(15)(scaled), 2) <= 1 + 1e-6


def test_a_zero_weight_stays_zero():
    weight = torch.zeros(3, 4)
    weight_map = SpectralNormalization(weight)
    assert torch.equal(weight_map(weight), weight)
    assert torch.equal(weight_map.exact(weight), weight.double())
    assert torch.equal(UnitRows()(weight), weight)


def test_orthogonal_kernel_without_channels_to_halve():
    conv = constrain_conv(nn.Conv2d(1, 1, 3, padding=1), "polar", "orthogonal", (5, 5))
    assert conv.weight.abs().sum().item() == pytest.approx(1, abs=1e-5)
