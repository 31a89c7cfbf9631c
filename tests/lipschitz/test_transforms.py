"""Maps by way of Fourier transforms: exact as matrices, tight by their symbol, never below the norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.lipschitz.rules import transforms
from robench.lipschitz.trace.linear import Linear
from tests.lipschitz.draws import Draws
from tests.lipschitz.forms import Form
from tests.lipschitz.oracles import exact_norm


class CayleyConvolution(nn.Module):
    """An orthogonal circular convolution: the Cayley transform of a skew symbol, frequency by frequency."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(channels, channels, 3, 3))
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        n, c = self.side, x.shape[1]
        columns = n // 2 + 1
        grid = torch.arange(n).repeat(n, 1)
        shift = torch.exp(2j * torch.pi * (grid + grid.T) / n)[:, :columns].reshape(-1, 1, 1)
        image = torch.fft.rfft2(x).permute(2, 3, 1, 0).reshape(n * columns, c, x.shape[0])
        symbol = shift * torch.fft.rfft2(self.kernel, (n, n)).reshape(c, c, -1).permute(2, 0, 1).conj()
        skew = symbol - symbol.conj().transpose(1, 2)
        eye = torch.eye(c, dtype=skew.dtype)[None]
        turned = (torch.linalg.solve(eye + skew, eye - skew) @ image).reshape(n, columns, c, x.shape[0])
        return torch.fft.irfft2(turned.permute(3, 2, 0, 1), (n, n))


def linear(d: Draws) -> tuple[nn.Module, tuple[int, ...]]:
    """A random map by way of complex numbers."""
    shape = (d.randint(1, 3), d.randint(2, 5), d.randint(2, 5))
    c, h, w = shape
    norm = d.choice(["backward", "ortho", "forward"])
    columns = w // 2 + 1
    mixing, other = (torch.complex(d.tensor(c, c, h, columns), d.tensor(c, c, h, columns)) for _ in range(2))
    swap, full = d.tensor(columns, columns), torch.complex(d.tensor(h, w), d.tensor(h, w))
    shift = d.randint(0, 2)

    def half(between: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.fft.irfft2(between(torch.fft.rfft2(x, norm=norm)), (h, w), norm=norm)

    def mixed(s: Tensor) -> Tensor:
        return torch.einsum("bihw,iohw->bohw", s, mixing.to(s.dtype))

    forms: list[Callable[[Tensor], Tensor]] = [
        half(mixed),
        half(lambda s: mixed(s) + 0.5 * torch.einsum("oihw,bihw->bohw", other.to(s.dtype), s).conj()),
        half(lambda s: s @ swap.to(s.dtype)),
        half(lambda s: s.roll(shift, 3) * mixing[0, 0].to(s.dtype)),
        half(lambda s: s * mixing[0, 0].to(s.dtype).conj()),
        lambda x: torch.fft.ifft2(torch.fft.fft2(x, norm=norm) * full.to(torch.fft.fft(x).dtype)).real,
        lambda x: torch.view_as_real(torch.fft.fft(x, dim=2) / 2).flatten(1),
        lambda x: torch.fft.hfft(torch.fft.ihfft(x, dim=3), n=w, dim=3),
        lambda x: (torch.fft.rfft(x, dim=1).permute(2, 0, 1, 3)[:, :, :1].permute(1, 2, 0, 3)).imag + 0.0,
    ]  # fmt: skip
    return Form(d.choice(forms)).eval(), shape


def check(draws: int, seed: int) -> None:
    d = Draws(seed)
    for _ in range(draws):
        model, shape = linear(d)
        bound = bound_module(model, shape).upper
        assert exact_norm(model, shape) <= bound * (1 + 1e-13)


def test_maps_by_way_of_complex_numbers_hold() -> None:
    check(40, 1)


def test_they_hold_where_no_matrix_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Linear, "dense_norm", None)
    check(60, 2)


@pytest.mark.slow
def test_many_maps_by_way_of_complex_numbers_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Linear, "dense_norm", None)
    check(2000, Draws().getrandbits(30))


@pytest.mark.parametrize("side", [5, 16])
def test_a_cayley_convolution_has_constant_1(side: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*(layer for _ in range(3) for layer in (CayleyConvolution(6, side), nn.ReLU())))
    bound = bound_module(network.eval(), (6, side, side))
    assert 1.0 - 1e-9 <= bound.upper <= 1.0 + 1e-9


def test_a_planted_half_spectrum_that_counts_once_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Linear, "dense_norm", None)
    half: Any = transforms._half
    monkeypatch.setattr(transforms, "_half", lambda *given: torch.ones_like(half(*given)))
    moved = Form(lambda x: torch.fft.irfft(torch.fft.rfft(x).roll(1, 1), n=6)).eval()
    with pytest.raises(BoundError, match="slope of"):
        bound_module(moved, (6,))
    monkeypatch.undo()
    monkeypatch.setattr(Linear, "dense_norm", None)
    assert bound_module(moved, (6,)).upper == pytest.approx(exact_norm(moved, (6,)))


REFUSED: list[tuple[Callable[[Tensor], Tensor], str]] = [
    (lambda x: torch.fft.fft(x, dim=0).real, "mixes the samples"),
    (lambda x: torch.fft.fft(x).abs(), "on complex numbers"),
    (lambda x: (torch.fft.fft(x) * torch.fft.fft(x)).real, "two signals"),
    (lambda x: (torch.fft.fft(x) @ torch.fft.fft(x).transpose(1, 2)).real, "two signals"),
    (lambda x: torch.fft.fft(x).permute(1, 0, 2).real, "moves the batch axis"),
    (lambda x: (torch.fft.fft(x) + 1).real, "adds complex numbers"),
    (lambda x: torch.fft.irfft(torch.fft.rfft(x), n=8), "another part|on complex numbers"),
]


@pytest.mark.parametrize(("function", "reason"), REFUSED)
def test_what_is_not_linear_or_not_one_sample_alone_is_refused(
    function: Callable[[Tensor], Tensor], reason: str
) -> None:
    with pytest.raises(BoundError, match=reason):
        bound_module(Form(function).eval(), (4, 4))
