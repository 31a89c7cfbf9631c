"""Activations, pooling and input scaling: values, gradients, constants, refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

from robench.errors import SpecError
from robench.layers import FullSort, GroupSort2, HouseHolder, InputNormalization, L2NormPool2d, ScaledAvgPool2d


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MODULES = [
    GroupSort2(),
    FullSort(),
    HouseHolder(6).double(),
    L2NormPool2d(2),
    L2NormPool2d(3),
    ScaledAvgPool2d(2),
    InputNormalization([0.1] * 6, [0.5, 1, 2, 3, 4, 5]).double(),
]


@pytest.mark.parametrize("module", MODULES, ids=repr)
@pytest.mark.parametrize("shape", [(2, 6, 5, 4), (3, 6, 6, 6)])
def test_gradients(module, shape):
    assert gradcheck(module, normal(*shape).requires_grad_())


@pytest.mark.parametrize("module", [GroupSort2(), FullSort(), HouseHolder(6).double()], ids=repr)
def test_gradients_of_flat_inputs(module):
    assert gradcheck(module, normal(3, 6).requires_grad_())


@settings(derandomize=True, deadline=None, max_examples=30)
@given(index=st.integers(0, len(MODULES) - 1), seed=st.integers(0, 999), scale=st.floats(1e-3, 10))
def test_slopes_are_at_most_the_constant(index, seed, scale):
    module = MODULES[index]
    constant = 2.0 if isinstance(module, InputNormalization) else 1.0
    x = normal(1, 6, 6, 6, seed=seed)
    step = scale * normal(1, 6, 6, 6, seed=seed + 1)
    with torch.no_grad():
        assert (module(x + step) - module(x)).norm() <= constant * step.norm() * (1 + 1e-12)


@pytest.mark.parametrize("module", [GroupSort2(), FullSort(), L2NormPool2d(2), HouseHolder(6).double()], ids=repr)
def test_gradient_norms_are_preserved(module):
    x = normal(1, 6, 6, 6).requires_grad_()
    out = module(x)
    direction = normal(*out.shape, seed=1)
    (grad,) = torch.autograd.grad(out, x, direction)
    assert float(grad.norm()) == pytest.approx(float(direction.norm()), rel=1e-12)


def test_sorts():
    x = torch.tensor([[3.0, 1.0, 2.0, 5.0]])
    for tracked in (False, True):
        x.requires_grad_(tracked)
        assert GroupSort2()(x).tolist() == [[1, 3, 2, 5]]
        assert FullSort()(x).tolist() == [[1, 2, 3, 5]]
    images = normal(2, 6, 3, 3)
    pairs = images.view(2, 3, 2, 3, 3).sort(dim=2).values.flatten(1, 2)
    assert torch.equal(GroupSort2()(images), pairs)
    assert torch.equal(GroupSort2()(images.requires_grad_()), pairs)


def test_pairs_may_come_in_any_memory_layout():
    x = normal(2, 6, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    out = GroupSort2()(x)
    out.backward(normal(2, 6, 4, 4, seed=1).to(memory_format=torch.channels_last))
    reference = x.detach().contiguous().requires_grad_()
    GroupSort2()(reference).backward(normal(2, 6, 4, 4, seed=1))
    assert torch.equal(x.grad, reference.grad)


def test_householder_starts_as_a_permutation_of_a_sort():
    x = normal(4, 2)
    out = HouseHolder(2).double()(x)
    assert torch.allclose(out, x.sort(dim=1, descending=True).values)


def test_odd_channels_are_refused():
    for module in (GroupSort2(), lambda x: HouseHolder(3)(x)):
        with pytest.raises(SpecError, match="even"):
            module(torch.zeros(2, 3))


def test_l2_pooling_has_a_finite_gradient_at_zero():
    x = torch.zeros(1, 2, 4, 4, requires_grad=True)
    L2NormPool2d(2)(x).backward(torch.full((1, 2, 2, 2), 1e6))
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_pooling_agrees_with_torch():
    x = normal(2, 3, 7, 5)
    assert torch.allclose(L2NormPool2d(2)(x), nn.functional.lp_pool2d(x, 2.0, 2))
    assert torch.allclose(ScaledAvgPool2d(2)(x), 2 * nn.functional.avg_pool2d(x, 2))


def test_input_normalization():
    layer = InputNormalization([0.5, 0.25], [0.5, 2.0])
    assert layer(torch.ones(1, 2, 1, 1)).flatten().tolist() == [1.0, 0.375]
    for mean, std in (([0.0], [1.0, 1.0]), ([], []), ([0.0], [0.0])):
        with pytest.raises(SpecError):
            InputNormalization(mean, std)
