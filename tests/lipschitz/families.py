"""Residual and sandwich layers with a theorem, after the definitions of the papers: their constant is 1."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[Tensor], Tensor]


def safe_inverse(x: Tensor) -> Tensor:
    return torch.where(x == 0, 0.0, 1 / x)


class SLLDense(nn.Module):
    """x − 2 Wᵀ T⁻¹ σ(W x + b), T_i = Σ_j |W Wᵀ|_ij q_j/q_i (Araujo et al. 2023)."""

    def __init__(self, size: int, inner: int, activation: Activation = torch.relu) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inner, size)), nn.Parameter(torch.randn(inner))
        self.q, self.activation = nn.Parameter(torch.randn(inner)), activation

    def forward(self, x: Tensor) -> Tensor:
        q = torch.exp(self.q)
        row_sums = ((self.weight @ self.weight.T).abs() * q / q[:, None]).sum(1)
        hidden = self.activation(functional.linear(x, self.weight) + self.bias)
        return x - 2 * functional.linear(safe_inverse(row_sums) * hidden, self.weight.T)


class SLLConv(nn.Module):
    """The same with convolutions and zero padding: T from the kernels of K Kᵀ."""

    def __init__(self, channels: int, inner: int, side: int = 3) -> None:
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.randn(inner, channels, side, side)), torch.randn(inner, 1, 1)
        self.q = nn.Parameter(torch.randn(inner))

    def forward(self, x: Tensor) -> Tensor:
        side, q = self.kernel.shape[-1], torch.exp(self.q)
        kernels = functional.conv2d(self.kernel, self.kernel, padding=side - 1).abs()
        scales = safe_inverse((kernels * q[:, None, None] / q[:, None, None, None]).sum((1, 2, 3)))
        hidden = torch.relu(functional.conv2d(x, self.kernel, padding=side // 2) + self.bias)
        return x - 2 * functional.conv_transpose2d(scales[:, None, None] * hidden, self.kernel, padding=side // 2)


class CPLDense(nn.Module):
    """x − 2/‖W‖² Wᵀ σ(W x + b) (Meunier et al. 2022), the norm by its power iteration, of `steps` steps."""

    def __init__(self, size: int, inner: int, steps: int = 2000) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inner, size)), nn.Parameter(torch.randn(inner))
        vector = torch.randn(size, dtype=torch.float64)
        for _ in range(steps):
            vector = functional.normalize(
                self.weight.detach().double().T @ (self.weight.detach().double() @ vector), dim=0
            )
        self.register_buffer("vector", vector.float())

    def forward(self, x: Tensor) -> Tensor:
        square = (self.weight @ self.vector).square().sum() / self.vector.square().sum()
        hidden = torch.relu(functional.linear(x, self.weight, self.bias))
        return x - 2 / square * functional.linear(hidden, self.weight.T)


class CPLConv(nn.Module):
    """The same with convolutions."""

    def __init__(self, channels: int, inner: int, size: int, circular: bool = False, steps: int = 4000) -> None:
        super().__init__()
        self.circular = circular
        self.kernel, self.bias = nn.Parameter(torch.randn(inner, channels, 3, 3)), nn.Parameter(torch.randn(inner))
        image = torch.randn(1, channels, size, size, dtype=torch.float64)
        with torch.no_grad():
            if circular:  # of one frequency
                symbol = torch.fft.fft2(self.kernel.double(), (size, size)).permute(2, 3, 0, 1)
                _, values, vectors = torch.linalg.svd(symbol)
                row, column = divmod(int(values[..., 0].argmax()), size)
                place = torch.arange(size) * 2 * math.pi / size
                wave = torch.exp(-1j * (row * place[:, None] + column * place))
                image = (vectors[row, column, 0].conj()[:, None, None] * wave).real[None]
            for _ in range(0 if circular else steps):
                image = self._back(self._there(image, None))
                image = image / image.norm()
        self.register_buffer("image", image.float())

    def _there(self, x: Tensor, bias: Tensor | None) -> Tensor:
        kernel = self.kernel.to(x.dtype)
        if self.circular:
            return functional.conv2d(functional.pad(x, [1] * 4, mode="circular"), kernel, bias)
        return functional.conv2d(x, kernel, bias, padding=1)

    def _back(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype)
        if self.circular:
            turned = kernel.transpose(0, 1).flip(2, 3)
            return functional.conv2d(functional.pad(x, [1] * 4, mode="circular"), turned)
        return functional.conv_transpose2d(x, kernel, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        square = self._there(self.image, None).square().sum() / self.image.square().sum()
        return x - 2 / square * self._back(torch.relu(self._there(x, self.bias)))


class AOLDense(nn.Linear):
    """x ↦ W (Σ_j |WᵀW|_ij)^−½ x + b (Prach and Lampert 2022)."""

    def forward(self, x: Tensor) -> Tensor:
        scales = (self.weight.T @ self.weight).abs().sum(1).rsqrt()
        return functional.linear(scales * x, self.weight, self.bias)


class BRODense(nn.Module):
    """The orthogonal matrix I − 2 V (VᵀV)⁻¹ Vᵀ of block reflectors (BRONet, Lai et al. 2025)."""

    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        self.reflected, self.bias = nn.Parameter(torch.randn(size, rank)), nn.Parameter(torch.randn(size))

    def forward(self, x: Tensor) -> Tensor:
        v = self.reflected
        weight = torch.eye(len(v), dtype=v.dtype) - 2 * v @ torch.linalg.solve(v.T @ v, v.T)
        return functional.linear(x, weight, self.bias)


def cayley(weight: Tensor) -> Tensor:
    """A matrix of more columns than rows with orthonormal rows."""
    u, v = weight.T[: len(weight)], weight.T[len(weight) :]
    eye = torch.eye(len(weight), dtype=weight.dtype)
    a = u - u.T + v.T @ v
    inverse = torch.linalg.inv(eye + a)
    return torch.cat((inverse @ (eye - a), -2 * v @ inverse)).T


class Sandwich(nn.Module):
    """√2 Aᵀ Ψ σ(√2 Ψ⁻¹ B x + b), A Aᵀ + B Bᵀ = I (Wang and Manchester 2023)."""

    def __init__(self, size: int, out: int, activation: Activation = torch.relu) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(out, size + out)), nn.Parameter(torch.randn(out))
        self.psi, self.activation = nn.Parameter(torch.randn(out)), activation

    def forward(self, x: Tensor) -> Tensor:
        q = cayley(self.weight)
        a, b = q[:, : len(q)], q[:, len(q) :]
        hidden = functional.linear(x, b) * torch.exp(-self.psi) * math.sqrt(2) + self.bias
        return math.sqrt(2) * functional.linear(self.activation(hidden) * torch.exp(self.psi), a.T)


class Mixed(nn.Module):
    """a x + (1 − a) g(x) with a = sigmoid of a parameter (LipResidual of torchlip)."""

    def __init__(self, inner: nn.Module, value: float = 0.0) -> None:
        super().__init__()
        self.inner, self.alpha = inner, nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor) -> Tensor:
        share = torch.sigmoid(self.alpha)
        return share * x + (1 - share) * self.inner(x)


def stack(make: Callable[[], nn.Module], blocks: int, seed: int = 0) -> nn.Module:
    """Some blocks, one after the other, drawn from a seed."""
    torch.manual_seed(seed)
    return nn.Sequential(*[make() for _ in range(blocks)]).eval()
