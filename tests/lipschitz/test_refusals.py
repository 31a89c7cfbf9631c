"""What cannot be bounded is refused by name, never taken as 1."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError, ModelError
from robench.lipschitz import bound_module, register
from robench.lipschitz.rules.table import RULES
from robench.lipschitz.trace.rulebook import qualified_name
from tests.lipschitz.forms import Form

REFUSED = [
    (lambda x: x * x, "square"),
    (lambda x: x.pow(3), "pow"),
    (lambda x: x.exp(), "exp"),
    (lambda x: 1 / x, "reciprocal"),
    (lambda x: x / x.norm(dim=1, keepdim=True), "div"),
    (lambda x: torch.sign(x), "sign"),
    (lambda x: torch.round(x), "round"),
    (lambda x: x.sqrt(), "sqrt"),
    (lambda x: x @ x.transpose(-1, -2), "matmul"),
    (lambda x: x.sort(dim=1).indices.to(x.dtype), "order of a sort"),
    (lambda x: x.argmax(dim=1), "argmax"),
    (lambda x: x.half(), "precision"),
    (lambda x: x * torch.sigmoid(x + 1), "mul"),
    (lambda x: torch.where(x > 0, x, x + 1), "gt"),
    (lambda x: x - x.mean(dim=0), "mean"),
    (lambda x: x.flip(0), "batch"),
    (lambda x: x.transpose(0, 1), "batch"),
    (lambda x: x.reshape(1, -1), "batch"),
    (lambda x: x + torch.randn_like(x), "randn_like"),
    (lambda x: functional.dropout(x, 0.5, training=True), "dropout"),
    (lambda x: functional.layer_norm(x, (3,)), "layer_norm"),
    (lambda x: functional.batch_norm(x, None, None, training=True), "batch"),
    (lambda x: functional.threshold(x, 0.1, 3.0), "threshold"),
    (lambda x: x if x.sum() > 0 else -x, "values of the input"),
    (lambda x: (x.square() - 1).sqrt(), "negative"),
    (lambda x: torch.zeros(2, 3), "does not depend"),
    (lambda x: sampled(x, x[..., None].tanh().expand(-1, -1, -1, 2), "bilinear"), "places depend"),
    (lambda x: sampled(x, torch.full((len(x), 1, 1, 2), -0.5, dtype=x.dtype), "nearest"), "rounding decides"),
]


def sampled(x: Tensor, places: Tensor, mode: str) -> Tensor:
    """(B, 4, 3) as an image of one channel at places (B, h, w, 2)."""
    return functional.grid_sample(x[:, None], places, mode, align_corners=True).flatten(1)


@pytest.mark.parametrize(("form", "named"), REFUSED)
def test_refused_by_name(form: object, named: str) -> None:
    with pytest.raises(BoundError) as caught:
        bound_module(Form(form).eval(), (4, 3))
    assert named in caught.value.message
    assert caught.value.hint


def test_training_mode_is_refused() -> None:
    with pytest.raises(BoundError, match="training mode"):
        bound_module(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), (2,))


def test_batch_statistics_are_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()).eval()
    with pytest.raises(BoundError, match="statistics"):
        bound_module(network, (1, 5, 5))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    network = nn.Linear(2, 2).eval()
    network.weight.data[0, 0] = value
    with pytest.raises(BoundError, match="NaN or infinity"):
        bound_module(network, (2,))


class Swirl(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) * torch.exp(-x.square())


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.swirl = Swirl()

    def forward(self, x: Tensor) -> Tensor:
        return self.swirl(self.first(x)) + self.swirl(x)


def test_a_registered_rule_of_a_users_layer() -> None:
    with pytest.raises(BoundError, match="square"):
        bound_module(Swirl().eval(), (3,))
    try:

        @register(Swirl)
        def bound(layer: nn.Module, input_shape: tuple[int, ...]) -> float:
            assert input_shape == (3,)
            return 1.0

        assert bound_module(nn.Sequential(nn.Identity(), Swirl()).eval(), (3,)).upper == 1.0
        network = Wrapped().eval()
        exact = float(torch.linalg.matrix_norm(network.first.weight.detach().double(), 2))
        assert bound_module(network, (3,)).upper == pytest.approx(exact + 1)
    finally:
        RULES.modules.pop(qualified_name(Swirl), None)


def test_a_rule_that_is_too_small_is_contradicted_by_a_slope() -> None:
    try:
        register(Swirl)(lambda layer, shape: 0.01)
        with pytest.raises(BoundError, match="slope"):
            bound_module(Swirl().eval(), (3,))
    finally:
        RULES.modules.pop(qualified_name(Swirl), None)


def test_state_that_changes_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x + self.count

    with pytest.raises(BoundError, match=r"state|alone"):
        bound_module(Counter().eval(), (3,))


def test_the_model_is_left_as_it_is() -> None:
    network = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)).eval()
    before = network.weight.detach().clone()
    bound_module(nn.Sequential(network).eval(), (4,))
    assert torch.equal(network.weight, before)
    assert network.weight.requires_grad
    assert torch.nn.utils.parametrize.is_parametrized(network)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "compiled",
    [
        torch.jit.script,
        lambda net: torch.jit.trace(net, torch.zeros(1, 4)),
        lambda net: nn.Sequential(nn.Identity(), torch.jit.script(net)).eval(),
        lambda net: torch.jit.freeze(torch.jit.script(net)),
    ],
)
def test_torchscript_is_named(compiled: Any) -> None:
    with pytest.raises(ModelError, match="is TorchScript") as caught:
        bound_module(compiled(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()), (4,))
    assert "nn.Module" in caught.value.hint
