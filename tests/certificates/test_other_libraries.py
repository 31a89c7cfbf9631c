"""Networks of deel-torchlip and orthogonium, trained for a few steps: audited, certified and attacked."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robench.lipschitz import bound_module, plain_copy
from tests.certificates import checks
from tests.lipschitz.oracles import largest_slope

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torchlip = pytest.importorskip("deel.torchlip")
    orthogonium = pytest.importorskip("orthogonium.layers")

from tests.other_libraries import CLASSES, SHAPE, by_orthogonium, by_torchlip


def trained(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(48, *SHAPE, generator=generator)
    labels = torch.randint(CLASSES, (48,), generator=generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    network.train()
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.multi_margin_loss(network(inputs), labels).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module", params=[by_torchlip, by_orthogonium], ids=["torchlip", "orthogonium"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = trained(request.param())
        result(torch.zeros(1, *SHAPE))
        return plain_copy(result)


def test_trained_networks_are_nearly_one_lipschitz(network: nn.Module) -> None:
    result = bound_module(network, SHAPE)
    slope = largest_slope(network, SHAPE, points=9)
    assert slope <= result.upper
    assert result.head is not None
    assert result.body_upper <= 1.05


def test_certificates_hold_against_an_attack(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(16, *SHAPE, generator=generator)
    found = checks.records(network, inputs.numpy(), CLASSES)
    radius = torch.tensor([record.radius_pairwise for record in found])
    assert (radius > 0).all()
    clean = torch.tensor([record.predicted for record in found])
    # L2 gradient steps with exact projection: nothing inside the radius, something within a few of them
    broken_inside = attack(network, inputs, clean, radius * (1 - 1e-5))
    assert not broken_inside.any()
    assert attack(network, inputs, clean, radius * 8).any()


def attack(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    delta = torch.zeros_like(inputs)
    broken = torch.zeros(len(inputs), dtype=torch.bool)
    for _ in range(30):
        delta.requires_grad_(True)
        logits = network(inputs + delta)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(20 * logits, labels, reduction="sum"), delta)
        norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, 1, 1, 1)
        delta = delta.detach() + 0.3 * radius.reshape(-1, 1, 1, 1) * gradient / norm
        length = delta.flatten(1).norm(dim=1).clamp_min(1e-12)
        delta = delta * (radius / length).clamp_max(1).reshape(-1, 1, 1, 1)
        with torch.no_grad():
            broken |= network(inputs + delta).argmax(dim=1) != labels
    return broken


def test_as_built_and_after_vanilla_export() -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built = by_torchlip().eval()
        built(torch.zeros(1, *SHAPE))
        bound = bound_module(built, SHAPE).upper
        exported = built.vanilla_export().eval()
        assert bound_module(exported, SHAPE).upper == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize(
    ("layer", "constant"),
    [
        (lambda: orthogonium.MaxMin(), 1.0),
        (lambda: orthogonium.Abs(), 1.0),
        (lambda: orthogonium.ChannelShuffle(2, 2), 1.0),
        (lambda: orthogonium.LayerCentering2D(4), 1.0),
        (lambda: orthogonium.BatchCentering2D(4), 1.0),
        (lambda: torchlip.MaxMin(), 1.0),
        (lambda: torchlip.GroupSort(4), 1.0),
        (lambda: torchlip.LPReLU(), 1.0),
        (lambda: torchlip.LayerCentering(4), 1.0),
        (lambda: torchlip.ScaledAdaptiveAvgPool2d((1, 1)), 1.0),
        (lambda: torchlip.ScaledAdaptativeL2NormPool2d((1, 1)), 1.0),
        (lambda: torchlip.InvertibleDownSampling(2), 1.0),
        (lambda: torchlip.InvertibleUpSampling(2), 1.0),
    ],
)
def test_their_layers(layer: object, constant: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = layer().eval()  # type: ignore[operator]
        assert bound_module(module, (4, 4, 4)).upper == pytest.approx(constant, abs=1e-9)


def test_a_pt2_program_is_audited(tmp_path: Path) -> None:
    from robench.models import load_model

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1, max=4096)
        program = torch.export.export(network, (torch.zeros(2, *SHAPE),), dynamic_shapes=({0: batch},))
        torch.export.save(program, tmp_path / "net.pt2")
        loaded = load_model(str(tmp_path / "net.pt2"), input_shape=SHAPE)
        bounds = bound_module(loaded.module, SHAPE)
    assert bounds.upper == pytest.approx(bound_module(network, SHAPE).upper, rel=1e-9)
    inputs = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
    assert len(checks.records(loaded.module, inputs, 3, bounds)) == 3
