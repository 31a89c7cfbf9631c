"""From a claimed point to the boundary: along the boundary, then along the line to the image; on a linear model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench.attacks.classifier import Classifier
from robench.attacks.examples import Examples, norms
from robench.attacks.line_search import nearest_on_segment
from robench.attacks.passes import PassCounter
from robench.attacks.refinement import OVERSHOOT, PATIENCE, refine

BOX = (-4.0, 4.0)


@pytest.fixture
def plane() -> tuple[Classifier, Examples, Tensor, np.ndarray]:
    """A hyperplane, images on one side of it, points on the other that are far from the nearest, exact distances."""
    generator = torch.Generator().manual_seed(2)
    layer = nn.Linear(12, 1)
    layer.weight.data = torch.randn(1, 12, generator=generator)
    layer.bias.data.zero_()
    x = torch.rand(9, 12, generator=generator) * 2 - 1
    f = layer(x).detach().squeeze(1)
    normal = layer.weight.detach()[0] / layer.weight.detach().norm()
    exact = f.abs() / layer.weight.detach().norm()
    aside = torch.randn(9, 12, generator=generator) * 0.5
    aside -= (aside @ normal)[:, None] * normal
    claimed = x - (f.sign() * (exact + 0.5))[:, None] * normal + aside
    examples = Examples(
        x=x,
        label=(f > 0).long(),
        index=torch.arange(9),
        scale=torch.ones(9),
        eps=torch.full((9, 1), 1e-3),
        distance=torch.full((9,), torch.inf),
    )
    classifier = Classifier(layer.eval(), (12,), device=torch.device("cpu"), passes=PassCounter())
    return classifier, examples, claimed, exact.numpy()


def test_refinement_reaches_the_nearest_point_of_a_hyperplane(plane) -> None:
    classifier, examples, claimed, exact = plane
    refined = refine(classifier, examples, claimed, BOX)
    length = norms(refined - examples.x).numpy()
    assert (norms(claimed - examples.x).numpy() > 1.2 * exact).all()
    assert np.allclose(length, OVERSHOOT * exact, rtol=1e-4)
    found = nearest_on_segment(classifier, examples, refined, BOX)
    assert bool(found.found.all())
    assert (norms(found.points - examples.x).numpy() <= exact * 1.001).all()


def test_each_image_is_refined_by_itself(plane) -> None:
    classifier, examples, claimed, _ = plane
    together = refine(classifier, examples, claimed, BOX)
    for rows in (slice(0, 1), slice(3, 8)):
        assert torch.equal(refine(classifier, examples.rows(rows), claimed[rows], BOX), together[rows])


def test_an_image_whose_radii_are_all_answered_costs_one_step(plane) -> None:
    classifier, examples, claimed, _ = plane
    answered = Examples(**{**vars(examples), "eps": torch.full((9, 1), 100.0)})
    before = classifier.passes.backward
    assert torch.equal(refine(classifier, answered, claimed, BOX), claimed)
    assert classifier.passes.backward - before == 9
    refine(classifier, examples, claimed, BOX)
    assert classifier.passes.backward - before > 9 * (PATIENCE + 1)


def test_a_point_that_is_right_in_float64_is_not_found(plane) -> None:
    classifier, examples, _, _ = plane
    assert not bool(nearest_on_segment(classifier, examples, examples.x.clone(), BOX).found.any())
