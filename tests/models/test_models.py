"""Built and constrained models: what is exported is what was trained, and bounded."""

import copy

import pytest
import torch

from robench.errors import ModelError
from robench.models.build import build, build_constrained, export
from robench.models.checks import check_agreement
from robench.training.recipes import RECIPES, build_spec


def constrained(recipe, **given):
    torch.manual_seed(0)
    spec = build_spec(recipe, data="digits", input_shape=(1, 8, 8), classes=10, **given)
    return spec, build_constrained(spec.model, constraint=spec.constraint, conv_scheme=spec.conv_scheme, head=spec.head)


@pytest.mark.parametrize("arch", ["dense-small", "conv-small"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_an_export_agrees_with_the_trained_model_and_leaves_it_as_it_was(recipe, arch):
    spec, model = constrained(recipe, arch=arch)
    x = torch.rand(8, 1, 8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).square().mean().backward()
    optimizer.step()
    before = copy.deepcopy(model.state_dict())
    plain = export(model, spec.model)
    model.eval()
    assert check_agreement(model, plain, x) < 1e-4
    assert not any(parameter.requires_grad for parameter in plain.parameters())
    assert not any("parametrizations" in name for name in plain.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("recipe", ["hkr", "gnp-log", "margin", "kr"])
def test_no_slope_of_a_constrained_model_is_above_one(recipe):
    spec, model = constrained(recipe, arch="dense-small")
    plain = export(model, spec.model).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(500, 1, 8, 8, generator=generator, dtype=torch.float64)
    z = x + 0.01 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    slopes = (plain(x) - plain(z)).abs().amax(1) / (x - z).flatten(1).norm(dim=1)
    assert float(slopes.max()) <= 1 + 1e-6
    weights = [p.double() for name, p in plain.named_parameters() if name.startswith("dense") and p.dim() == 2]
    assert all(float(torch.linalg.matrix_norm(w, 2)) <= 1 + 1e-6 for w in weights)
    rows = plain.get_parameter("head.weight").norm(dim=1)
    torch.testing.assert_close(rows, torch.ones_like(rows), atol=1e-6, rtol=0)


def test_agreement_sees_a_planted_difference():
    spec, _ = constrained("plain")
    one, other = build(spec.model).eval(), build(spec.model).eval()
    other.load_state_dict(one.state_dict())
    x = torch.rand(8, 1, 8, 8)
    check_agreement(one, other, x)
    with torch.no_grad():
        other.get_parameter("head.weight").mul_(1.01)
    with pytest.raises(ModelError, match="other outputs"):
        check_agreement(one, other, x)
    with torch.no_grad():
        other.get_parameter("head.bias").fill_(torch.nan)
    with pytest.raises(ModelError, match="not finite"):
        check_agreement(one, other, x)
