"""Models that write into parts of a tensor, or into their input: the bound against the dense matrix and slopes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robench.devices import exact_arithmetic
from robench.errors import BoundError
from robench.lipschitz import bound_module
from tests.lipschitz.oracles import largest_slope

SHAPE = (3, 4)
MASK = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0]]).bool()


class Written(nn.Module):
    def __init__(self, write: Callable[[Tensor, Tensor], Tensor | None]) -> None:
        super().__init__()
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        result = self.write(x, y)
        return (y if result is None else result).flatten(1)


def setting(*place: object, value: object) -> Callable[[Tensor, Tensor], None]:
    def write(x: Tensor, y: Tensor) -> None:
        y[place] = value(x) if callable(value) else value  # type: ignore[index]

    return write


def zeros(x: Tensor, y: Tensor) -> Tensor:
    z = torch.zeros_like(x)
    z[:, 1], z[:, 2] = x[:, 0].relu(), x[:, 0]
    return z


def unset(x: Tensor, y: Tensor) -> Tensor:
    z = torch.empty(x.shape[0], 6, 2)
    z[:, ::2], z[:, 1::2] = x[:, :, :2], 2 * x[:, :, 2:]
    return z


def added(x: Tensor, y: Tensor) -> None:
    y[:, 0] += x[:, 1]


def scaled(x: Tensor, y: Tensor) -> None:
    y[:, :, 1] *= -3


def diagonal(x: Tensor, y: Tensor) -> None:
    y.diagonal(dim1=1, dim2=2).fill_(0.3)


ALL = slice(None)
FORMS = {
    "row": (setting(ALL, 0, value=0.1), 1.0),
    "column": (setting(ALL, ALL, 0, value=0), 1.0),
    "slice": (setting(ALL, slice(1, 3), value=0.3), 1.0),
    "steps": (setting(ALL, ALL, slice(None, None, 2), value=-1.0), 1.0),
    "row of itself": (setting(ALL, 0, value=lambda x: x[:, 1]), 2**0.5),
    "shifted": (setting(ALL, ALL, slice(1, None), value=lambda x: x[:, :, :-1]), 2**0.5),
    "spread": (setting(ALL, ALL, value=lambda x: x[:, :1]), 3**0.5),
    "rows by index": (setting(ALL, [0, 2], value=1.0), 1.0),
    "entries by mask": (setting(ALL, MASK, value=0.0), 1.0),
    "masked": (lambda x, y: x.masked_fill(MASK, 0.3), 1.0),
    "masked in place": (lambda x, y: y.masked_fill_(MASK, 0.3), 1.0),
    "chosen": (lambda x, y: torch.where(MASK, x, 2 * x), 2.0),
    "chosen or constant": (lambda x, y: torch.where(MASK, 0.7, -x), 1.0),
    "chosen of two layers": (lambda x, y: torch.where(MASK, x.relu(), 3 * x), 3.0),
    "zeros": (zeros, 2**0.5),
    "unset memory": (unset, 2.0),
    "added": (added, (1.5 + 1.25**0.5) ** 0.5),
    "scaled": (scaled, 3.0),
    "diagonal": (diagonal, 1.0),
    "one value twice": (setting(ALL, [0, 0], value=0.5), 1.0),
    "nothing": (lambda x, y: torch.cat((x, 3 * x[:, :0]), 1), 1.0),
    "clamped": (lambda x, y: y.clamp_(0.1, 0.8), 1.0),
    "input": (lambda x, y: x.sub_(0.3).div_(0.4), 2.5),
    "row of the input": (lambda x, y: setting(ALL, 0, value=0)(x, x) or x, 1.0),
}
"""Each with its true constant."""


def check_float32(module: nn.Module, pairs: dict[str, tuple[float, float]]) -> None:
    wide, (a, b), (c, d) = copy.deepcopy(module).double(), pairs["float32"], pairs["float64"]
    for scale in (1e-3, 1.0, 1e3):
        x = torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(1)) * scale
        apart = (module(x.clone()).double() - wide(x.double())).norm(dim=1)
        assert bool((apart <= (a + c) * x.double().flatten(1).norm(dim=1) + b + d).all())


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_bounded(name: str) -> None:
    write, true = FORMS[name]
    module = Written(write).eval()
    bounds = bound_module(module, SHAPE)
    slope = largest_slope(nn.Sequential(Spare(), module), SHAPE)
    assert slope <= bounds.upper
    assert true * (1 - 1e-12) <= bounds.upper <= 2.0 * true * (1 + 1e-9)
    check_float32(module, dict(bounds.rounding))


def test_operations_in_place_are_taken_out_in_full_precision_too() -> None:
    """torch.export asks for an old switch of precision, which it refuses to read beside the new ones."""
    network, switches = Written(added).eval(), torch.backends.cudnn
    with exact_arithmetic():
        assert bound_module(network, SHAPE).upper >= 1
    assert isinstance(switches.allow_tf32, bool)  # as the program left it


class Spare(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (lambda x, y: torch.where(x > 0, x, x + 5), "gt"),
        (lambda x, y: setting(x > 0.5, value=0)(x, y), "gt"),
        (lambda x, y: setting(0, value=0.0)(x, y), "batch"),
        (lambda x, y: setting(ALL, 0, value=lambda x: x[:1, 1])(x, y), "batch"),
        (lambda x, y: setting(slice(2, None), value=0.0)(x, y), "batch"),  # nothing of a batch of two
        (lambda x, y: setting(slice(7, None), value=0.0)(x, y), "batch"),  # nothing of a batch of five
        (lambda x, y: torch.cat((x[:7], x[7:].flip(1))), "batch"),
        (lambda x, y: 2 * x[600:], "batch"),
        (lambda x, y: x - torch.linalg.vector_norm(x, 2, []), "batch"),
        (lambda x, y: setting(ALL, [0, 0], value=lambda x: x[:, 1:])(x, y), "twice"),
        (lambda x, y: x.gather(1, x.sort(1).indices), "order of a sort"),
        (lambda x, y: x.gather(2, x.topk(2, 2).indices), "position of a topk"),
        (lambda x, y: y.flatten(1)[:, x.max(1).indices[0]], "position of a max"),
        (lambda x, y: setting(ALL, x.max(1).indices[0], value=0.0)(x, y), "position of a max"),
        (lambda x, y: setting(ALL, ALL, [1, -3], value=lambda x: x[:, :, 2:])(x, y), "twice"),
        (lambda x, y: setting(ALL, [0, 1, 0], [2, 3, 2], value=lambda x: x[:, :, 0])(x, y), "twice"),
    ],
)
def test_what_is_not_known_or_mixes_samples_is_refused(write: Callable[[Tensor, Tensor], Tensor], named: str) -> None:
    with pytest.raises(BoundError) as caught:
        bound_module(Written(write).eval(), SHAPE)
    assert named in caught.value.message
