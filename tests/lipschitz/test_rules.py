"""Every rule against the Jacobian of its operation, with operator arguments drawn at random."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robench.errors import BoundError
from robench.lipschitz.norms.linear import Adding, Blocks, Dense
from robench.lipschitz.norms.spectral import spectral_norm_upper
from robench.lipschitz.rules.table import RULES
from robench.lipschitz.trace.joint import joint_lipschitz
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Trace
from robench.lipschitz.trace.values import Squares
from robench.lipschitz.trace.walk import walk
from tests.lipschitz.drawn_layers import LAYERS
from tests.lipschitz.draws import Call, Draws, Program, aten, draw

CONSTANT = {"fill", "full_like", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like"}
"""Results that hold nothing of the input: `tests/certificates/test_float32.py` has their values."""
OPERATIONS = sorted({name.removeprefix("aten.") for name in RULES.operations} - CONSTANT)
REFUSED = {"t"}
"""Of a batch it always mixes the samples."""
ELSEWHERE = {"cudnn_batch_norm", "_fft_r2c", "view_as_complex", "std"}
"""Not on this machine, where the same rule serves `batch_norm`; of complex results (`test_transforms.py`); a derivative
that cancels next to its kinks (below)."""


def computed(target: Any, *args: Any, **kwargs: Any) -> Any:
    """The operation itself; in-place ones get a copy."""
    own = [value.clone() if isinstance(value, Tensor) else value for value in args]
    return target(*own, **kwargs)


def views_of(trace: Trace, value: Any) -> tuple[list[View], list[int] | None]:
    """The parts of a result that have a bound, and their places if it is a list."""
    if isinstance(value, Squares):
        value = trace.call(aten.sqrt.default, value)
    if isinstance(value, View):
        return [value], None
    if isinstance(value, list | tuple):
        places = [place for place, item in enumerate(value) if isinstance(item, View)]
        return [value[place] for place in places], places
    return [], None


def check(program: Program, shape: list[int], d: Draws) -> bool:
    """Compare the bound with Jacobians and slopes; False if the call is not allowed, or refused."""
    trace = Trace(RULES)
    try:
        value = program(trace.call, trace.start(tuple(shape[1:])))
        views, places = views_of(trace, value)
    except (BoundError, RuntimeError, TypeError, IndexError, ValueError, NotImplementedError):
        return False
    if not views or views[0].size == 0:
        return False
    bound = joint_lipschitz(views)
    rooted = isinstance(value, Squares)

    def function(x: Tensor) -> Tensor:
        """(BATCH, *shape) -> (BATCH, outputs)."""
        result = program(computed, x)
        parts = [result] if places is None else [result[place] for place in places]
        flat = torch.cat([part.reshape(BATCH, -1) for part in parts], dim=1)
        return flat.sqrt() if rooted else flat

    for x, z in pairs(d, shape):
        allowed = sum(math.hypot(*(view.error("float64").slope for view in views)) * float(p.norm()) for p in (x, z))
        allowed += 2 * math.hypot(*(view.error("float64").offset for view in views))
        steps = (function(z) - function(x)).norm(dim=1)
        lengths = (z - x).flatten(1).norm(dim=1)
        reach = bound * lengths * (1 + 1e-14) + allowed + 1e-300
        assert bool((steps <= reach).all()), f"steps of {steps.tolist()} for {lengths.tolist()}, bound {bound}"
    norm = jacobian_norm(function, x)
    assert norm <= bound * (1 + 1e-12) + 1e-14, f"a Jacobian of norm {norm}, bound {bound}"
    return True


def pairs(d: Draws, shape: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Points and steps from them: far, large, and near kinks and ties."""
    x = d.tensor(*shape)
    yield x, d.tensor(*shape)
    large = 1000 * x
    yield large, large + d.tensor(*shape)
    kink = x.round() * d.choice([0.5, 1.0]) + 1e-6 * d.tensor(*shape) + 1e-7 * torch.rand(shape, dtype=torch.float64)
    yield kink, kink + 1e-5 * d.tensor(*shape)


def jacobian_norm(function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Norm of the Jacobian of the first sample; 0 where there is none. The other sample has no part in it."""
    at = x.clone().requires_grad_(True)
    outputs = function(at)[0]
    if not outputs.requires_grad:
        return 0.0
    try:
        jacobian = torch.stack([torch.autograd.grad(output, at, retain_graph=True)[0] for output in outputs])
    except RuntimeError:  # an operation without a derivative
        return 0.0
    if not bool(jacobian.isfinite().all()):
        return 0.0
    assert not bool(jacobian[:, 1].any()), "the other sample of the batch has a part in it"
    return float(torch.linalg.matrix_norm(jacobian[:, 0].flatten(1), 2))


def tried(name: str, draws: int, seed: int) -> int:
    """How many of the draws were bounded, and held."""
    d = Draws(f"{name}-{seed}")
    held = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(draws):
            for _ in range(40):
                program, shape = _drawn(d, name)
                if program is not None and check(program, shape, d):
                    held += 1
                    break
    return held


def _drawn(d: Draws, name: str) -> tuple[Program | None, list[int]]:
    try:
        return draw(d, name)
    except (RuntimeError, ValueError, IndexError):
        return None, []


def test_a_planted_rule_that_forgets_a_broadcast_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried("clamp", 40, seed=1) == 40

    def once(call: Any) -> Any:
        return call.trace.overlapping(Function("clamp", 1.0), [call.view()], call.zero)

    monkeypatch.setitem(RULES.operations, "aten.clamp", once)
    with pytest.raises(AssertionError, match="bound"):
        tried("clamp", 40, seed=1)


def first_block(op: Blocks) -> float:
    return spectral_norm_upper(op.weight[0])


@pytest.mark.parametrize(
    ("name", "owner", "norm"),
    [
        ("einsum", Blocks, first_block),
        ("col2im", Adding, lambda op: 1.0),
        ("scatter_add", Adding, lambda op: 1.0),
        ("cumsum", Dense, lambda op: 1.0),
    ],
)
def test_a_planted_norm_is_seen(name: str, owner: type, norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried(name, 30, seed=1) == 30
    monkeypatch.setattr(owner, "_norm", norm)
    monkeypatch.setattr(Linear, "dense_norm", None)
    with pytest.raises(AssertionError, match="bound"):
        tried(name, 30, seed=1)


def test_a_deviation_has_the_slope_of_its_rows() -> None:
    d = Draws(3)
    for _ in range(40):
        shape, correction = d.shape(), d.choice([0, 1, 0.5, 2])
        axes, keep = d.axes(shape), d.random() < 0.5
        count = math.prod(shape[axis] for axis in axes)
        trace, x = Trace(RULES), d.tensor(*shape) + torch.arange(math.prod(shape)).reshape(shape)
        if count <= max(correction, 1):
            continue
        more = {"correction": correction, "keepdim": keep}
        view = trace.call(aten.std.correction, trace.start(tuple(shape[1:])), axes, **more)
        norm = jacobian_norm(lambda at: aten.std.correction(at, axes, **more).reshape(BATCH, -1), x)  # noqa: B023
        bound = joint_lipschitz([view])
        assert norm <= bound * (1 + 1e-12)
        assert bound == pytest.approx(1 / math.sqrt(count - correction))
        assert norm > 0.99 * bound * math.sqrt((count - 1) / count)
        flat = torch.full(shape, 1e6, dtype=torch.float64) + 1e-9 * x
        error = float(
            (aten.std.correction(flat, axes, **more) - (flat - flat[:1].mean()).flatten(1).norm()).abs().max()
        )
        assert error <= 1 + view.error("float64").slope * float(flat.norm())


def test_distances_from_differences_of_squares_are_within_their_error() -> None:
    d, off = Draws(0), 0.0
    for size in (0.0, 1e-3, 1.0, 1e3, 1e6):
        centers = size * d.tensor(30, 3)
        trace = Trace(RULES)
        view = trace.call(aten._cdist_forward.default, trace.start((3,)), centers, 2.0, 1)
        x = centers[:2] + 1e-7 * size * d.tensor(2, 3)
        computed, exact = (aten._cdist_forward.default(x, centers, 2.0, mode) for mode in (1, 2))
        error, lengths = view.error("float64"), x.norm(dim=1)
        allowed = error.slope * lengths + error.offset
        assert bool(((computed - exact).norm(dim=1) <= allowed).all())
        off = max(off, float((computed - exact).norm()) / max(size, 1e-300))
    assert off > 1e-12, "the formula is not the one of squares"


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_rule_bounds_the_jacobian_of_its_operation(name: str) -> None:
    if name in ELSEWHERE:
        pytest.skip("not here")
    held = tried(name, 2, seed=0)
    if name in REFUSED:
        assert held == 0
    else:
        assert held > 0, f"no draw of `{name}` is bounded: write a recipe for it in tests/lipschitz/draws.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in REFUSED | ELSEWHERE])
def test_a_rule_bounds_many_jacobians(name: str) -> None:
    assert tried(name, 800, seed=random.SystemRandom().getrandbits(40)) > 600


def tried_layer(name: str, draws: int, seed: int) -> int:
    """As `tried`, for the rule of a module."""
    d = Draws(f"{name}-{seed}")
    torch.manual_seed(seed)
    held = 0
    for _ in range(4 * draws):
        layer, shape = LAYERS[name](d)
        network = layer.double().eval().requires_grad_(False)

        def program(call: Call, x: Any, network: nn.Module = network) -> Any:
            owner = getattr(call, "__self__", None)
            return walk(owner, network, x) if isinstance(owner, Trace) else network(x)

        held += check(program, [BATCH, *shape], d)
        if held == draws:
            break
    return held


@pytest.mark.parametrize("name", sorted(RULES.modules))
def test_a_rule_bounds_the_jacobian_of_its_layer(name: str) -> None:
    assert name in LAYERS, f"write a recipe for `{name}` in tests/lipschitz/drawn_layers.py"
    assert tried_layer(name, 2, seed=0) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_a_rule_bounds_many_jacobians_of_its_layer(name: str) -> None:
    assert tried_layer(name, 200, seed=random.SystemRandom().getrandbits(30)) == 200
