"""Certificates for float32 deployment, against the float32 network itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench.certificates import deployment
from robench.errors import BoundError
from robench.lipschitz import LipschitzBound, bound_module, register
from robench.lipschitz.norms import rounding
from robench.lipschitz.rules import pooling
from robench.lipschitz.trace import twins
from robench.lipschitz.trace.trace import Call
from tests.certificates import checks
from tests.certificates.float32_networks import PIECES, SIDE, Bare, Widen, network, random_network

SCALES = (1e-20, 1e-3, 1.0, 1e4)
LOSE_ALL = ("rank-deficient svd",)
"""Constants of which float32 gives other ones altogether."""


def in_float64(module: nn.Module, x: Tensor) -> Tensor:
    """The network with its dtype-generic code run in float64, of the same weights."""
    wide = checks.copy.deepcopy(module).double()
    with torch.no_grad():
        result: Tensor = wide(x.double())
    return result


def check_bound(module: nn.Module, bounds: LipschitzBound, seed: int = 0, side: int = SIDE) -> None:
    """Float32 logits are as near to the float64 ones as claimed, for inputs of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    (a, b), (c, d) = bounds.rounding["float32"], bounds.rounding["float64"]
    for scale in SCALES:
        x = torch.randn(24, side, generator=generator) * scale
        with torch.no_grad():
            apart = (module(x).double() - in_float64(module, x)).norm(dim=1)
        assert bool((apart <= (a + c) * x.double().norm(dim=1) + b + d).all()), scale


def check_certificates(module: nn.Module, bounds: LipschitzBound, seed: int = 0) -> int:
    """The certified class is the float32 class, up to the radius; how many are certified."""
    scale = SCALES[seed % 3 + 1]
    x = torch.randn(12, SIDE, generator=torch.Generator().manual_seed(seed)) * scale
    found = checks.records(module, x.numpy(), 3, bounds, deploy_dtype="float32")
    certified = 0
    for record, image in zip(found, x, strict=True):
        if record.radius_pairwise == 0:
            continue
        certified += 1
        points = nearby(module, image, record.predicted, record.radius_pairwise)
        with torch.no_grad():
            classes = torch.cat([module(image[None]), module(points)]).argmax(1)
        assert bool((classes == record.predicted).all())
    return certified


def nearby(module: nn.Module, image: Tensor, predicted: int, radius: float) -> Tensor:
    """Float32 points within the radius, towards each other class, by gradients and their signs."""
    radius = min(radius, 1e15)
    directions = [torch.randn(8, SIDE, generator=torch.Generator().manual_seed(1))]
    for other in range(3):
        if other != predicted:
            at = image.clone().requires_grad_(True)
            logits = module(at[None])[0]
            (slope,) = torch.autograd.grad(logits[other] - logits[predicted], at)
            directions += [slope[None], slope.sign()[None]]
    unit = torch.cat(directions).double()
    unit = unit / unit.norm(dim=1, keepdim=True).clamp_min(1e-300)
    points = torch.cat([(image.double() + share * radius * unit).float() for share in (0.5, 0.9, 1 - 1e-6)])
    inside = (points.double() - image.double()).norm(dim=1) <= radius
    return points[inside]


def check(module: nn.Module, seed: int = 0) -> int:
    bounds = bound_module(module, (SIDE,))
    assert "float32" in bounds.rounding, bounds.unbounded
    check_bound(module, bounds, seed)
    return check_certificates(module, bounds, seed)


FEW = (
    "rank-deficient svd",
    "qr",
    "table",
    "integer table",
    "integers divided",
    "written",
    "pad",
    "planes",
    "pairs",
    "batch norm",
)


@pytest.mark.parametrize("name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in PIECES])
def test_each_piece_is_bounded(name: str) -> None:
    certified = check(network(name), seed=1)
    assert (certified == 0) == (name in LOSE_ALL)


@pytest.mark.parametrize("seed", range(4))
def test_random_networks_are_bounded(seed: int) -> None:
    check(random_network(seed), seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 700))
def test_many_random_networks_are_bounded(seed: int) -> None:
    check(random_network(seed, depth=2 + seed % 4), seed)


def test_the_float64_bound_is_not_concerned() -> None:
    for name in ("rank-deficient svd", "clamp", "table"):
        a, b = bound_module(network(name), (SIDE,)).rounding["float64"]
        assert max(a, b) < 1e-10


def check_bare(module: nn.Module, side: int = SIDE) -> None:
    bounds = bound_module(module.eval().requires_grad_(False), (side,))
    check_bound(module, bounds, side=side)


def no_gap(call: Call, value: Any) -> Tensor:
    return torch.zeros_like(call.constant(value, "constant"))


@pytest.mark.parametrize("name", ["clamp", "pad", "full", "table", "cat"])
def test_planted_constants_taken_for_equal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_bare(Bare(name))
    monkeypatch.setattr(Call, "gap", no_gap)
    with pytest.raises((AssertionError, BoundError)):
        check_bare(Bare(name))


def test_planted_weights_computed_in_float64_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins.Twins, "follow", lambda self, node, value: None)
    with pytest.raises((AssertionError, BoundError)):
        check_bare(Bare("rank-deficient svd"))


def test_planted_interpolation_error_that_does_not_grow_with_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    check_bare(Widen(), 401)
    monkeypatch.setattr(pooling, "_misplaced", lambda matrices, kernel: 4.0)
    with pytest.raises((AssertionError, BoundError)):
        check_bare(Widen(), 401)


def test_planted_root_that_does_not_underflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rounding.SMALLEST, "float32", 1e-60)
    with pytest.raises(AssertionError):
        check_bare(Bare("pairs"))


def test_a_bound_that_is_seen_violated_is_no_bound() -> None:
    module = network("clamp")
    bounds = bound_module(module, (SIDE,))
    small = dataclasses.replace(bounds, rounding={**bounds.rounding, "float32": (0.0, 1e-12)})
    with pytest.raises(BoundError, match="above the proven bound"):
        check_certificates(module, small)


def test_a_class_that_the_float32_network_does_not_give_is_found() -> None:
    module = network("qr")
    x = torch.randn(5, SIDE, generator=torch.Generator().manual_seed(0))
    logits = in_float64(module, x).numpy()
    given = deployment.Deployment(module, (SIDE,), (1e-3, 1e-3), "cpu")
    norms = np.linalg.norm(x.numpy(), axis=1).astype(np.float64)
    right = deployment.classes(logits)
    assert given.gives(right, logits, x.numpy(), norms).all()
    wrong = np.where(np.arange(5) == 3, (right + 1) % 3, right)
    assert given.gives(wrong, logits, x.numpy(), norms).tolist() == [True, True, True, False, True]


FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "full_like": lambda x: torch.full_like(x, 0.1),
    "zeros_like": torch.zeros_like,
    "ones_like": torch.ones_like,
    "new_full": lambda x: x.new_full((SIDE,), 0.1),
    "new_zeros": lambda x: x.new_zeros(SIDE),
    "new_ones": lambda x: x.new_ones(SIDE),
}


class Filled(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, FILLS[self.name](x))


@pytest.mark.parametrize("name", FILLS)
def test_a_constant_of_the_shape_of_the_input_is_its_value(name: str) -> None:
    module = Filled(name).eval()
    check_bare(module)
    assert bound_module(module, (SIDE,)).rounding["float32"][1] > (2.0**-30 if "full" in name else 0.0)


class Inside(Bare):
    """A layer with a rule of its user, which says nothing of what the layer computes inside."""


def test_a_registered_layer_is_tried_in_float32() -> None:
    register(Inside)(lambda layer, shape: 1.0)
    x = np.ones((2, SIDE), dtype=np.float32)
    for name, holds in (("qr", True), ("rank-deficient svd", False)):
        module = nn.Sequential(Inside(name), nn.ReLU(), nn.Linear(SIDE, 3)).eval().requires_grad_(False)
        bounds = bound_module(module, (SIDE,))
        assert ("float32" in bounds.rounding) == holds
        assert len(checks.records(module, x, 3, bounds)) == 2
    assert "`0` gives results" in bounds.unbounded


class Asks(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "divisor":
            return x / 1e-35
        return x * 1e-40 / 1e-40 if self.kind == "tiny" else x * torch.tensor(1e39, dtype=x.dtype)


@pytest.mark.parametrize("kind", ["divisor", "tiny", "huge"])
def test_float32_is_refused_by_name(kind: str) -> None:
    module = Asks(kind).eval()
    bounds = bound_module(module, (SIDE,))
    assert "float32" not in bounds.rounding
    x = np.ones((2, SIDE), dtype=np.float32)
    with pytest.raises(BoundError, match="float32"):
        checks.records(module, x, SIDE, bounds, deploy_dtype="float32")
    assert len(checks.records(module, x, SIDE, bounds)) == 2


class Asked(nn.Module):
    """Numbers that depend on the precision."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        info = torch.finfo(x.dtype)
        if self.kind == "clamp":
            return x.clamp(min=info.eps)
        if self.kind == "add":
            return x + info.eps
        return x * (0.1 if x.dtype == torch.float32 else 0.3) if self.kind == "branch" else x.clamp(min=info.min)


@pytest.mark.parametrize("kind", ["clamp", "add"])
def test_a_number_that_depends_on_the_precision_is_bounded(kind: str) -> None:
    check_bare(Asked(kind))


def test_another_number_in_float32_is_refused() -> None:
    assert "float32" not in bound_module(Asked("least").eval(), (SIDE,)).rounding
    with pytest.raises(BoundError, match="other logits"):
        bound_module(Asked("branch").eval(), (SIDE,))
