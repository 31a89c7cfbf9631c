"""The faster ways to the Björck steps against the steps themselves and their autograd, in float64."""

import pytest
import torch

from robench.layers.bjorck import bjorck, bjorck_by_eigenvectors, bjorck_by_steps

FASTER = (bjorck_by_eigenvectors, bjorck_by_steps)


def matrix(kind, m, n, norm):
    generator = torch.Generator().manual_seed(m * 100 + n)
    weight = torch.randn(m, n, dtype=torch.float64, generator=generator)
    if kind == "orthogonal":  # all eigenvalues equal: the divided differences are derivatives
        u, _, vh = torch.linalg.svd(weight, full_matrices=False)
        weight = u @ vh
    if kind == "clustered":  # eigenvalues on both sides of the threshold
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
        weight = u @ torch.diag(torch.linspace(0.8, 1.0, len(s), dtype=torch.float64)) @ vh
    if kind == "deficient" and m > 1:
        weight[0] = 0
    return norm * weight / torch.linalg.matrix_norm(weight, 2)


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal", "clustered", "deficient"])
@pytest.mark.parametrize(("m", "n"), [(5, 9), (9, 5), (16, 16), (1, 7)])
@pytest.mark.parametrize("norm", [0.9, 1.0, 1.9])
def test_value_and_gradient_are_those_of_the_steps(kind, m, n, norm):
    direction = torch.randn(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight = matrix(kind, m, n, norm).requires_grad_()
    results = [steps(weight, 15) for steps in (bjorck, *FASTER)]
    truth, *gradients = [torch.autograd.grad((result * direction).sum(), weight)[0] for result in results]
    for result, gradient in zip(results[1:], gradients, strict=True):
        torch.testing.assert_close(result, results[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, truth, rtol=1e-7, atol=1e-8 * float(truth.abs().max()))


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_few_steps(iterations):
    weight = matrix("gaussian", 4, 6, 1.0)
    for steps in FASTER:
        torch.testing.assert_close(steps(weight, iterations), bjorck(weight, iterations))
