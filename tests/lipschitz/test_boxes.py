"""Bounds over a box of inputs, against Jacobians, values and float32 runs at points of the box."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from robench.errors import BoundError, ModelError, SpecError
from robench.lipschitz import lipschitz_bound
from robench.lipschitz.plain import in_float32, plain_copy
from robench.lipschitz.rules import boxed, products
from robench.lipschitz.trace.box import Box, box_of
from robench.lipschitz.trace.ranges import Range, Ranges
from robench.lipschitz.trace.trace import Trace
from robench.lipschitz.trace.walk import walk
from robench.models.networks.widened import widened
from tests.lipschitz.boxed_models import BUILDERS, Boxed, Function, built

BOXES = [(0.0, 1.0), (-2.0, 1.5), (3.0, 3.5)]


def points(box: tuple[float, float], shape: tuple[int, ...], count: int = 6) -> Tensor:
    """Points of a box, float64: anywhere, in corners, near its center, and nearly constant ones."""
    generator = torch.Generator().manual_seed(1)
    unit = torch.rand(4, count, *shape, dtype=torch.float64, generator=generator)
    unit[1] = unit[1].round()
    unit[2] = 0.5 + 0.01 * (unit[2] - 0.5)
    unit[3] = unit[3] * 0.01
    unit[1, 0] = 1.0
    return box[0] + (box[1] - box[0]) * unit.flatten(0, 1)


def steepest(model: nn.Module, at: Tensor) -> float:
    """The largest norm of a Jacobian at some points."""
    network = plain_copy(model).double()
    jacobians = [torch.autograd.functional.jacobian(lambda x: network(x[None])[0], x) for x in at]
    return max(float(torch.linalg.matrix_norm(j.reshape(-1, at[0].numel()), 2)) for j in jacobians)


@pytest.mark.parametrize("name", BUILDERS)
def test_without_a_box_it_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(BoundError) as caught:
        lipschitz_bound(*built(name))
    assert "--box" in caught.value.hint


def traced(boxed_model: Boxed, box: tuple[float, float]) -> tuple[nn.Module, Range]:
    """The float64 network, and the range of its output."""
    network = widened(plain_copy(boxed_model.model))
    trace = Trace(boxed.RULES_OVER_BOX, ranges=Ranges(Box(*box, boxed_model.shape)))
    with torch.no_grad():
        output = walk(trace, network, trace.start(boxed_model.shape))
        return network, trace.over_box.of_view(output)


@pytest.mark.parametrize("box", [BOXES[0], *(pytest.param(box, marks=pytest.mark.slow) for box in BOXES[1:])])
@pytest.mark.parametrize("name", BUILDERS)
def test_jacobians_values_and_float32_stay_within_their_bounds(name: str, box: tuple[float, float]) -> None:
    model, shape = built(name)
    bound = lipschitz_bound(model, shape, box=box)
    assert bound.box == box
    assert bound.lower <= bound.upper
    assert steepest(model, points(box, shape)) <= bound.upper
    network, (low, high) = traced(Boxed(model, shape), box)
    at = points(box, shape, 100).float().clamp(*box)
    with torch.no_grad():
        wide, narrow = network(at.double()).flatten(1), in_float32(plain_copy(model))(at).double().flatten(1)
    assert bool(((wide >= low) & (wide <= high)).all())
    if "float32" in bound.rounding:
        assert bound.rounding["float32"][0] == 0.0
        allowed = bound.rounding["float32"][1] + bound.rounding["float64"][1]
        assert float(torch.linalg.vector_norm(wide - narrow, dim=1).max()) <= allowed


LAYERS: list[nn.Module] = [
    *(nn.ReLU(), nn.LeakyReLU(0.2), nn.LeakyReLU(-0.5), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish()),
    nn.Hardswish(),
    *(nn.ELU(0.5), nn.CELU(), nn.SELU(), nn.Softplus(), nn.Hardsigmoid(), nn.Sigmoid(), nn.Tanh(), nn.LogSigmoid()),
    *(nn.Hardtanh(-0.3, 0.2), nn.Softshrink(), nn.Softsign(), nn.PReLU(), nn.Threshold(0.1, 0.1), nn.Softmax(1)),
    *(nn.AdaptiveAvgPool2d(2), nn.AvgPool2d(2), nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(2), nn.BatchNorm2d(3)),
    *(nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.ConvTranspose2d(3, 2, 2)),
    nn.Conv2d(3, 3, 3, groups=3, padding=1),
    Function(lambda m, x: x.abs() - x.amax(2, keepdim=True)),
    Function(lambda m, x: 2 * x - x.mean(1, keepdim=True)),
    Function(lambda m, x: torch.maximum(x, 1 - x.flip(1))),
    Function(lambda m, x: torch.sin(3 * x) + x.sort(1)[0]),
    Function(lambda m, x: x.norm(dim=1)),
    Function(lambda m, x: torch.cat((x, torch.ones_like(x)), 1).clamp_min(0.2)),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_values_of_a_layer_stay_in_their_range(layer: nn.Module) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(2, 3, 2), layer).eval()
        network, (low, high) = traced(Boxed(model, (2, 5, 5)), (-1.0, 2.0))
        with torch.no_grad():
            values = network(points((-1.0, 2.0), (2, 5, 5), 100)).flatten(1)
        assert bool(((values >= low) & (values <= high)).all())
        assert bool((low > -100).all() and (high < 100).all())


def test_a_norm_far_from_0_is_as_flat_as_its_deviation_says() -> None:
    bound = lipschitz_bound(*built("far from 0"), box=(0.0, 1.0))
    assert bound.upper <= 0.16  # 1 / √(54 − …), not 1 / √ε


def test_a_product_is_at_most_twice_its_slope() -> None:
    model, shape = built("two entries")
    for high in (1.0, 10.0):
        assert lipschitz_bound(model, shape, box=(0.0, high)).upper == pytest.approx(2 * high, rel=1e-9)


@pytest.mark.parametrize("given", [(1.0, 0.0), (0.0, math.inf), (0.0,), "ab", 3.0, (0.0, math.nan)])
def test_a_box_that_is_none_is_refused(given: object) -> None:
    with pytest.raises(SpecError):
        box_of(given, (2,))  # type: ignore[arg-type]


def test_a_quotient_by_what_may_be_0_is_refused() -> None:
    model = Function(lambda m, x: x[:, :1] / x[:, 1:])
    with pytest.raises(BoundError, match="may be 0"):
        lipschitz_bound(model.eval(), (2,), box=(0.0, 1.0))
    assert lipschitz_bound(model.eval(), (2,), box=(1.0, 2.0)).upper >= math.sqrt(5) - 1e-6


def test_ranges_need_no_bound_of_the_error() -> None:
    norm = nn.LayerNorm(4, eps=1e-30)
    model = Function(lambda m, x: m[1](m[0](x)) * m[2](m[0](x)), norm, nn.Linear(4, 3), nn.Linear(4, 3)).eval()
    bound = lipschitz_bound(model, (4,), box=(0.0, 1.0))
    assert math.isfinite(bound.upper)
    assert "normalization" in bound.unproven


def test_samples_of_a_batch_are_not_multiplied() -> None:
    for function in (lambda m, x: x * x.flip(0), lambda m, x: x @ x.T, lambda m, x: (x[:, None] @ x.T)[:, 0]):
        with pytest.raises((BoundError, ModelError)):
            lipschitz_bound(Function(function).eval(), (3,), box=(0.0, 1.0))


def _refuted(name: str, box: tuple[float, float] = (0.0, 1.0)) -> bool:
    """Whether Jacobians or values of the box, or a slope that was found, contradict the bound."""
    model, shape = built(name)
    try:
        bound = lipschitz_bound(model, shape, box=box)
        network, (low, high) = traced(Boxed(model, shape), box)
    except BoundError:
        return True
    with torch.no_grad():
        values = network(points(box, shape, 200)).flatten(1)
    return steepest(model, points(box, shape)) > bound.upper or not bool(((values >= low) & (values <= high)).all())


def test_the_constant_of_a_box_does_not_hold_outside() -> None:
    for name in ("two entries", "product", "matrices"):
        model, shape = built(name)
        assert steepest(model, points((0.0, 10.0), shape)) > lipschitz_bound(model, shape, box=(0.0, 1.0)).upper


def test_planted_smaller_box_is_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _refuted("two entries")
    own = Ranges.__init__

    def smaller(self: Ranges, box: Box) -> None:
        own(self, dataclasses.replace(box, low=box.low / 4, high=box.high / 4))

    monkeypatch.setattr(Ranges, "__init__", smaller)
    assert _refuted("two entries")


def test_planted_factor_without_copies_is_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _refuted("own mean")
    own = products._scaling
    monkeypatch.setattr(products, "_scaling", lambda *given: dataclasses.replace(own(*given), gain=own(*given).size))
    assert _refuted("own mean")


def test_planted_deviation_without_its_range_is_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _refuted("weighted norm")
    monkeypatch.setattr(Ranges, "deviation", lambda self, view: torch.zeros(view.size, dtype=torch.float64))
    assert _refuted("weighted norm")


def test_planted_softmax_of_smaller_rows_is_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _refuted("heads")
    own = Ranges.length
    monkeypatch.setattr(Ranges, "length", lambda self, view, parts: own(self, view, parts) * 0.05)
    assert _refuted("heads") or _refuted("matrices") or _refuted("scores")


def test_an_error_that_is_not_bounded_leaves_the_bound() -> None:
    model = nn.Sequential(nn.LayerNorm(4, eps=1e-30), nn.Linear(4, 3)).eval()
    bound = lipschitz_bound(model, (4,), box=(0.0, 1.0))
    assert math.isfinite(bound.upper)
    assert not bound.rounding
