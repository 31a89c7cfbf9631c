"""Models that do something else when they are called in another way: bounded for that as well, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError
from robench.lipschitz import agreement, bound_module
from robench.lipschitz.agreement import Way
from tests.lipschitz.oracles import largest_slope


class Branch(nn.Module):
    """A gentle net, and a steep one where a condition holds."""

    def __init__(self, condition: Callable[[nn.Module, Tensor], bool]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3)
        self.last = nn.Linear(4 * 16, 3)
        self.condition = condition

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x)).flatten(1)
        h = self.last(h)
        return h + 50 * torch.relu(-h) if self.condition(self, x) else h


CONDITIONS: dict[str, Callable[[nn.Module, Tensor], bool]] = {
    "input requires grad": lambda m, x: x.requires_grad,
    "weight requires grad": lambda m, x: m.last.weight.requires_grad,
    "grad mode": lambda m, x: torch.is_grad_enabled(),
    "no grad mode": lambda m, x: not torch.is_grad_enabled(),
    "float32": lambda m, x: x.dtype == torch.float32,
    "float64": lambda m, x: x.dtype == torch.float64,
    "weight in float32": lambda m, x: m.first.weight.dtype == torch.float32,
    "channels last": lambda m, x: x.is_contiguous(memory_format=torch.channels_last),
    "contiguous": lambda m, x: not x.is_contiguous(),
    "stride": lambda m, x: x.stride(-1) != 1,
    "batch of one": lambda m, x: x.shape[0] == 1,
    "batch of two": lambda m, x: x.shape[0] == 2,
    "batch of three": lambda m, x: x.shape[0] == 3,
    "batch of four or more": lambda m, x: x.shape[0] > 3,
    "input is computed": lambda m, x: not x.is_leaf,
    "input is a part": lambda m, x: x.storage_offset() > 0,
    "inference mode": lambda m, x: torch.is_inference_mode_enabled(),
    "default precision": lambda m, x: torch.get_default_dtype() == torch.float32,
    "fake tensor": lambda m, x: type(x) is Tensor,
}


@pytest.mark.parametrize("condition", list(CONDITIONS))
def test_a_branch_on_how_the_model_is_called_is_refused(condition: str) -> None:
    with pytest.raises(BoundError, match="other logits"):
        bound_module(Branch(CONDITIONS[condition]).eval(), (3, 6, 6))


@pytest.mark.parametrize("asks", [torch.compiler.is_exporting, torch.compiler.is_compiling])
def test_a_branch_on_export_is_taken_as_the_model_takes_it(asks: Callable[[], bool]) -> None:
    network = Branch(lambda m, x: not asks()).eval()
    assert bound_module(network, (3, 6, 6)).upper >= largest_slope(network, (3, 6, 6), points=9)


@pytest.mark.parametrize(
    "network",
    [
        Branch(lambda m, x: m.training),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 3)),
        nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(108, 3)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Hardswish(), nn.Flatten(), nn.Linear(108, 3)),
    ],
    ids=["training", "in place", "input in place", "hardswish"],
)
def test_honest_models_agree_with_themselves(network: nn.Module) -> None:
    assert bound_module(network.eval(), (3, 6, 6)).upper > 0


def test_a_large_net_in_float32_may_overflow_and_is_bounded_in_float64() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 2)).eval()
    for layer in (network[1], network[2]):
        layer.weight.data.fill_(1e19)
    assert bound_module(network, (4,)).upper > 1e38


def test_a_model_that_cannot_run_on_other_layouts_is_bounded() -> None:
    class Viewed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.hardtanh(x.view(x.shape[0], 27))

    assert bound_module(Viewed().eval(), (3, 3, 3)).upper == 1.0


class Far(nn.Module):
    """The identity where it is traced; else steep, but far from where inputs lie."""

    def forward(self, x: Tensor) -> Tensor:
        return x if type(x) is not Tensor else x + 50 * torch.relu(-x - 5)


def test_planted_trace_that_is_not_replayed_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BoundError, match="run that was traced"):
        bound_module(Far().eval(), (4,))
    ways = agreement._ways

    def without_replay(*given: Any) -> list[Way]:
        return [way for way in ways(*given) if way.arithmetic == "float64" and "traced" not in way.what]

    monkeypatch.setattr(agreement, "_ways", without_replay)
    assert bound_module(Far().eval(), (4,)).upper < 50
