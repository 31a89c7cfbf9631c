"""Networks whose constant is 1 by a theorem of their papers: eight blocks between a lift and a projection.

Dense and residual layers are those of `tests/lipschitz/families.py`; the others are written here after their papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.published.blocks import Residual

SIDE, CHANNELS, BLOCKS = 32, 16, 8


class Lift(nn.Module):
    """Zeros as further channels."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """An isometry."""
        return functional.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))


class MaxMin(nn.Module):
    """The larger and the smaller of two channels, by comparisons."""

    def forward(self, x: Tensor) -> Tensor:
        """Sorted pairs."""
        first, second = x.chunk(2, dim=1)
        return torch.cat((torch.maximum(first, second), torch.minimum(first, second)), dim=1)


def network(block: Callable[[], list[nn.Module]]) -> nn.Module:
    """Eight blocks on images of 32 pixels, and an orthogonal projection to 10 logits."""
    last = nn.Linear(CHANNELS * 16, 10)
    nn.init.orthogonal_(last.weight)
    blocks = [layer for _ in range(BLOCKS) for layer in block()]
    return nn.Sequential(Lift(), *blocks, nn.LPPool2d(2, 8), nn.Flatten(), last)


def dense(block: Callable[[int], nn.Module], width: int = 256) -> nn.Module:
    """Eight blocks of a dense layer behind a random projection of the image."""
    first, last = nn.Linear(3 * SIDE * SIDE, width), nn.Linear(width, 10)
    for layer in (first, last):
        nn.init.orthogonal_(layer.weight)
    return nn.Sequential(nn.Flatten(), first, *(block(width) for _ in range(BLOCKS)), last)


class AOLConv(nn.Module):
    """Prach and Lampert 2022: each input channel divided by the root of Σ |K ⋆ K|."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.bias = (
            nn.Parameter(torch.randn(CHANNELS, CHANNELS, 3, 3)),
            nn.Parameter(torch.zeros(CHANNELS)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The scaled convolution."""
        turned = self.kernel.transpose(0, 1)
        products = functional.conv2d(turned, turned, padding=2)
        scales = products.abs().sum((1, 2, 3)).rsqrt()
        return functional.conv2d(x, self.kernel * scales[:, None, None], self.bias, padding=1)


class OnFrequencies(nn.Module):
    """A circular convolution given by a matrix for each frequency."""

    def __init__(self, rows: int = CHANNELS, columns: int = CHANNELS) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(rows, columns, 3, 3) / (3 * math.sqrt(columns)))
        self.bias = nn.Parameter(torch.zeros(CHANNELS))

    def symbol(self) -> Tensor:
        """(frequencies, rows, columns), the center of the kernel at place 0."""
        spectrum = torch.fft.rfft2(self.kernel, (SIDE, SIDE))
        rows, columns = torch.arange(SIDE)[:, None], torch.arange(SIDE // 2 + 1)
        shift = torch.exp(2j * math.pi * (rows + columns) / SIDE).to(spectrum.dtype)
        return (shift * spectrum).conj().permute(2, 3, 0, 1).flatten(0, 1)

    def matrices(self, symbol: Tensor) -> Tensor:
        """What the image is multiplied by at each frequency."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """There, a matrix each, and back."""
        spectrum = torch.fft.rfft2(x)
        columns = spectrum.permute(2, 3, 1, 0).flatten(0, 1)
        turned = (self.matrices(self.symbol()) @ columns).reshape(*spectrum.shape[2:], CHANNELS, len(x))
        return torch.fft.irfft2(turned.permute(3, 2, 0, 1), (SIDE, SIDE)) + self.bias[:, None, None]


class CayleyConv(OnFrequencies):
    """Trockman and Kolter 2021: (I + A)⁻¹ (I − A) with a skew A."""

    def matrices(self, symbol: Tensor) -> Tensor:
        """Unitary."""
        skew = symbol - symbol.mH
        eye = torch.eye(CHANNELS, dtype=skew.dtype)
        return torch.linalg.solve(eye + skew, eye - skew)


class LOTConv(OnFrequencies):
    """Xu et al. 2022: (V Vᴴ)^−½ V, the root by Newton's iteration of Denman and Beavers as LOT has it."""

    def matrices(self, symbol: Tensor) -> Tensor:
        """Unitary, as far as the iteration goes."""
        gram = symbol @ symbol.mH
        size = torch.linalg.matrix_norm(gram).real[:, None, None]
        eye = torch.eye(CHANNELS, dtype=gram.dtype).expand_as(gram)
        y, z = gram / size, eye
        for _ in range(12):
            step = 0.5 * (3 * eye - z @ y)
            y, z = y @ step, step @ z
        return z / size.sqrt() @ symbol


class BROConv(OnFrequencies):
    """BRONet (Lai et al. 2025): the block reflector I − 2 V (VᴴV)⁻¹ Vᴴ at each frequency."""

    def __init__(self) -> None:
        super().__init__(CHANNELS, CHANNELS // 2)

    def matrices(self, symbol: Tensor) -> Tensor:
        """Unitary and Hermitian."""
        inner = torch.linalg.solve(symbol.mH @ symbol, symbol.mH)
        return torch.eye(CHANNELS, dtype=symbol.dtype) - 2 * symbol @ inner


class SandwichConv(OnFrequencies):
    """Wang and Manchester 2023: √2 Aᴴ Ψ σ(√2 Ψ⁻¹ B x + b), A Aᴴ + B Bᴴ = I by a Cayley transform."""

    def __init__(self) -> None:
        super().__init__(CHANNELS, 2 * CHANNELS)
        self.psi = nn.Parameter(torch.randn(CHANNELS) / 4)

    def forward(self, x: Tensor) -> Tensor:
        """Both maps, and ReLU between."""
        v, u = (part.mH for part in self.symbol().split(CHANNELS, dim=2))
        skew = u - u.mH + v.mH @ v
        eye = torch.eye(CHANNELS, dtype=skew.dtype)
        inverse = torch.linalg.inv(eye + skew)
        a, b = (inverse @ (eye - skew)).mH, (-2 * v @ inverse).mH
        hidden = self._applied(b, x) * (math.sqrt(2) * torch.exp(-self.psi)[:, None, None]) + self.bias[:, None, None]
        scaled = torch.relu(hidden) * (math.sqrt(2) * torch.exp(self.psi)[:, None, None])
        return self._applied(a.mH, scaled)

    def _applied(self, matrices: Tensor, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        turned = (matrices @ spectrum.permute(2, 3, 1, 0).flatten(0, 1)).reshape(*spectrum.shape[2:], CHANNELS, len(x))
        return torch.fft.irfft2(turned.permute(3, 2, 0, 1), (SIDE, SIDE))


class SOCConv(nn.Module):
    """Singla and Feizi 2021: the exponential of a skew convolution, by its first terms."""

    def __init__(self, terms: int = 12) -> None:
        super().__init__()
        self.terms, self.bias = terms, nn.Parameter(torch.zeros(CHANNELS))
        half = torch.randn(CHANNELS, CHANNELS, 3, 3) / (12 * math.sqrt(CHANNELS))
        self.kernel = nn.Parameter(half - half.transpose(0, 1).flip(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """The first terms of the series x + A x + A² x / 2 + …, a dozen of them."""
        total = term = x
        for k in range(1, self.terms):
            term = functional.conv2d(term, self.kernel, padding=1) / k
            total = total + term
        return total + self.bias[:, None, None]


class BCOPConv(nn.Module):
    """Li et al. 2019: a 3×3 kernel of symmetric projectors and an orthogonal matrix, with circular padding."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Parameter(torch.randn(CHANNELS, CHANNELS))
        self.spans = nn.ParameterList(torch.randn(CHANNELS, CHANNELS // 2) for _ in range(4))
        self.bias = nn.Parameter(torch.zeros(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        """The orthogonal convolution."""
        eye = torch.eye(CHANNELS, dtype=self.middle.dtype)
        projectors = [q @ q.T for q in (torch.linalg.qr(span).Q for span in self.spans)]
        kernel = torch.linalg.qr(self.middle).Q[:, :, None, None]
        for p, q in zip(projectors[::2], projectors[1::2], strict=True):
            rows, columns = (torch.stack((part, eye - part), dim=-1) for part in (p, q))
            block = torch.einsum("ijh,jkw->ikhw", rows, columns)
            sides = (kernel.shape[2] + 1, kernel.shape[3] + 1)
            grown = torch.zeros(CHANNELS, CHANNELS, *sides, dtype=kernel.dtype)
            for row in range(2):
                for column in range(2):
                    product = torch.einsum("ijhw,jk->ikhw", kernel, block[:, :, row, column])
                    grown = grown + functional.pad(product, (column, 1 - column, row, 1 - row))
            kernel = grown
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="circular"), kernel, self.bias)


class Shifted(nn.Module):
    """As LipNeXt: an orthogonal matrix on channels, parts that move by a pixel around the torus, its inverse, β-abs."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing, self.last = (nn.Parameter(nn.init.orthogonal_(torch.empty(CHANNELS, CHANNELS))) for _ in range(2))
        self.places = nn.Parameter(torch.randn(1, CHANNELS, SIDE, SIDE) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """An isometry, and absolute values of half of the channels."""
        x = torch.einsum("oc,nchw->nohw", self.mixing, x + self.places)
        parts = torch.tensor_split(x, (2, 4, 6, 8), dim=1)
        moves = ((1, 2), (-1, 2), (1, 3), (-1, 3))
        moved = [torch.roll(part, step, axis) for part, (step, axis) in zip(parts, moves, strict=False)]
        x = torch.einsum("co,nchw->nohw", self.mixing, torch.cat((*moved, parts[-1]), dim=1))
        x = torch.einsum("oc,nchw->nohw", self.last, x)
        return torch.cat((x[:, : CHANNELS // 2].abs(), x[:, CHANNELS // 2 :]), dim=1)


def liresnet() -> nn.Module:
    """Hu et al. 2023: convolutions with a shortcut that are linear, MaxMin, a neck of dense layers."""
    blocks = [layer for _ in range(BLOCKS) for layer in (Residual(nn.Conv2d(64, 64, 3, padding=1)), MaxMin())]
    return nn.Sequential(
        nn.Conv2d(3, 64, 5, 2, 2), MaxMin(), *blocks, nn.Conv2d(64, 64, 4, 4), nn.Flatten(), nn.Linear(1024, 256),
        MaxMin(), nn.Linear(256, 10),
    )  # fmt: skip


def gloro() -> nn.Module:
    """The 2C2F network of GloRo nets (Leino et al. 2021) with MaxMin, for 28 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), MaxMin(), nn.Conv2d(16, 32, 4, 2, 1), MaxMin(), nn.Flatten(), nn.Linear(1568, 100),
        MaxMin(), nn.Linear(100, 10),
    )  # fmt: skip
