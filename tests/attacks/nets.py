"""Small models and data for the tests of the attacks."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robench.records.record import CertifyRecord, Status


class GroupSort2(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        a, b = x.unflatten(1, (-1, 2)).unbind(2)
        return torch.stack([torch.maximum(a, b), torch.minimum(a, b)], 2).flatten(1, 2)


@dataclass(frozen=True)
class Model:
    module: nn.Module
    input_shape: tuple[int, ...]
    outputs: int

    @property
    def classes(self) -> int:
        return max(self.outputs, 2)


@dataclass(frozen=True)
class Data:
    inputs: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    bounds: tuple[float, float] = (0.0, 1.0)

    def batch(self, rows) -> np.ndarray:
        return self.inputs[rows]

    def take(self, n: int | None) -> Data:
        return replace(self, inputs=self.inputs[:n], labels=self.labels[:n], index=self.index[:n])


def digits(classes: tuple[int, ...] = tuple(range(10)), n: int | None = None) -> Data:
    """sklearn's digits, 8x8, in [0, 1]."""
    raw = load_digits()
    kept = np.flatnonzero(np.isin(raw.target, classes))[:n]
    labels = np.searchsorted(np.array(classes), raw.target[kept])
    inputs = (raw.images[kept] / 16.0).astype(np.float32)[:, None]
    return Data(inputs, labels.astype(np.int64), np.arange(len(kept), dtype=np.int64) * 3 + 5)


def _orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    big = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float64)
    q = torch.linalg.qr(big)[0]
    return (q if rows >= columns else q.T).float()


def _train(module: nn.Module, data: Data, loss, steps: int, after=lambda: None) -> None:
    x, y = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(x), (128,), generator=generator)
        optimizer.zero_grad()
        loss(module(x[rows]), y[rows]).backward()
        optimizer.step()
        after()


def lipschitz_net(outputs: int, data: Data, *, steps: int = 150, seed: int = 0) -> Model:
    """A 1-Lipschitz GroupSort net: orthogonal rows by QR after each step, unit-row head; trained with a hinge."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    sizes = (int(np.prod(data.inputs.shape[1:])), 64, 32)
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), GroupSort2()]
    module = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
    linears = [layer for layer in module if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer in linears:
            layer.weight.copy_(_orthogonal(*layer.weight.shape, generator))

    @torch.no_grad()
    def constrain() -> None:
        for layer in linears[:-1]:
            u, _, v = torch.linalg.svd(layer.weight, full_matrices=False)
            layer.weight.copy_(u @ v)
        linears[-1].weight.div_(linears[-1].weight.norm(dim=1, keepdim=True))

    def hinge(z: Tensor, y: Tensor) -> Tensor:
        sign = 2.0 * y - 1.0 if outputs == 1 else 2.0 * nn.functional.one_hot(y, outputs) - 1.0
        z = z.squeeze(1) if outputs == 1 else z
        return (0.5 - sign * z).clamp_min(0).mean() - 0.05 * (sign * z).mean()

    _train(module, data, hinge, steps, constrain)
    constrain()
    return Model(module.eval().requires_grad_(False), data.inputs.shape[1:], outputs)


def conv_net(data: Data, *, steps: int = 150, seed: int = 0) -> Model:
    """A plain convolutional net, trained with cross-entropy."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    _train(module, data, nn.functional.cross_entropy, steps)
    return Model(module.eval().requires_grad_(False), data.inputs.shape[1:], 10)


def scaled(model: Model, factor: float) -> Model:
    """The model with all logits multiplied."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.module

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * factor

    return replace(model, module=Scaled().eval())


def certificates(model: Model, data: Data, *, constant: float = 1.0 + 1e-5) -> dict[int, CertifyRecord]:
    """Certificates of a net whose outputs are each 1-Lipschitz, by |f|/L or half the top-2 gap; oracle in float64."""
    double = copy.deepcopy(model.module).double()
    with torch.no_grad():
        z = double(torch.from_numpy(data.inputs).double()).numpy()
    found = {}
    for row, index in enumerate(data.index.tolist()):
        if model.outputs == 1:
            predicted, gap = int(z[row, 0] > 0), abs(z[row, 0])
        else:
            ranked = np.sort(z[row])
            predicted, gap = int(z[row].argmax()), (ranked[-1] - ranked[-2]) / 2
        correct = predicted == data.labels[row]
        radius = float(gap / constant) if correct else 0.0
        found[index] = CertifyRecord(
            index=index,
            input_sha256=hashlib.sha256(data.inputs[row].tobytes()).hexdigest(),
            label=int(data.labels[row]),
            predicted=predicted,
            runner_up=1 - predicted if model.outputs == 1 else int(np.argsort(z[row])[-2]),
            margin=float(gap),
            radius_paper=radius,
            radius_pairwise=radius,
            status=Status.CERTIFIED if correct else Status.MISCLASSIFIED,
        )
    return found
