"""Checks that must hold for every certificate; the tests run them, and the planted faults must break them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from robench.certificates import certify as certify_module
from robench.certificates import radii as radii_module
from robench.data import Dataset
from robench.data.dataset import Subset
from robench.errors import ModelError
from robench.layers import GroupSort2, InputNormalization
from robench.lipschitz import LipschitzBound, bound_module
from robench.lipschitz.norms import groups as groups_module
from robench.lipschitz.norms.torus import Geometry
from robench.lipschitz.norms.windows import Convolution
from robench.records.record import CertifyRecord
from tests.lipschitz.oracles import largest_slope


@dataclass(frozen=True)
class Model:
    """The least that certify needs."""

    module: nn.Module
    input_shape: tuple[int, ...]
    outputs: int


def dataset(inputs: np.ndarray, labels: Sequence[int], classes: int) -> Dataset:
    return Dataset(
        name="test",
        split="test",
        inputs=inputs.astype(np.float32),
        labels=np.asarray(labels, dtype=np.int64),
        index=np.arange(len(inputs), dtype=np.int64),
        class_names=tuple(str(i) for i in range(classes)),
        bounds=(-10.0, 10.0),
        sha256="0" * 64,
        subset=Subset("first", None, len(inputs)),
    )


def records(
    module: nn.Module, inputs: np.ndarray, outputs: int, bounds: LipschitzBound | None = None, **options: object
) -> list[CertifyRecord]:
    module = module if isinstance(module, torch.fx.GraphModule) else module.eval()
    shape = inputs.shape[1:]
    bounds = bounds or bound_module(module, shape)
    data = dataset(inputs, [0] * len(inputs), max(outputs, 2))
    return list(certify_module.certify_records(Model(module, shape, outputs), bounds, data, **options))  # type: ignore[arg-type]


def linear_classifier(seed: int, classes: int = 5, features: int = 40) -> tuple[nn.Linear, np.ndarray]:
    torch.manual_seed(seed)
    layer = nn.Linear(features, classes)
    return layer, np.random.default_rng(seed).standard_normal((20, features)).astype(np.float32)


def exact_radius(layer: nn.Linear, x: np.ndarray) -> float:
    """Distance of a point to the nearest boundary of a linear classifier, in extended precision."""
    weight = layer.weight.detach().double().numpy().astype(np.longdouble)
    scores = weight @ x.astype(np.longdouble) + layer.bias.detach().double().numpy()
    i = int(np.argmax(scores))
    others = [j for j in range(len(scores)) if j != i]
    return min((scores[i] - scores[j]) / np.sqrt(np.sum((weight[i] - weight[j]) ** 2)) for j in others)  # type: ignore[no-any-return]


def check_linear_radius(bounds: LipschitzBound | None = None, seed: int = 0) -> None:
    """Pairwise radius = distance to the nearest boundary, from below, within 1e-9."""
    layer, inputs = linear_classifier(seed)
    for record, x in zip(records(layer, inputs, 5, bounds), inputs, strict=True):
        exact = exact_radius(layer, x)
        assert record.radius_pairwise <= exact
        assert record.radius_pairwise >= exact * (1 - 1e-9)
        assert record.radius_paper <= record.radius_pairwise


def plane_network(seed: int, outputs: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 6), GroupSort2(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, outputs)).eval()


def check_plane(seed: int, outputs: int, bounds: LipschitzBound | None = None) -> None:
    """No point of a fine polar grid inside the radius is of another class."""
    module = plane_network(seed, outputs)
    inputs = np.random.default_rng(seed).uniform(-2, 2, (8, 2)).astype(np.float32)
    angle = np.linspace(0, 2 * np.pi, 181)
    share = np.linspace(0, 1, 21)[1:]
    circle = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    ball = (share[:, None, None] * circle).reshape(-1, 2) * (1 - 1e-12)
    network = copy.deepcopy(module).double()
    for record, x in zip(records(module, inputs, outputs, bounds), inputs.astype(np.float64), strict=True):
        radius = max(record.radius_pairwise, record.radius_paper)
        if radius == 0:
            continue
        with torch.no_grad():
            scores = network(torch.from_numpy(x + radius * ball)).numpy()
        classes = (scores[:, 0] > 0).astype(int) if outputs == 1 else scores.argmax(axis=1)
        assert (classes == record.predicted).all()


def check_opposed_rows(bounds: LipschitzBound | None = None) -> None:
    """A head with rows w and −w: the difference of its logits has constant 2."""
    head = nn.Linear(2, 2, bias=False)
    head.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    (record,) = records(head, np.array([[0.5, 0.0]], dtype=np.float32), 2, bounds)
    assert record.radius_pairwise <= 0.5
    assert record.radius_paper <= 0.5
    assert record.radius_paper > 0.5 - 1e-9


def check_grouped_convolution() -> None:
    """The norm of a grouped convolution is the largest of its groups'."""
    layer = nn.Conv2d(2, 2, 1, groups=2, bias=False)
    layer.weight.data = torch.tensor([0.1, 0.9]).reshape(2, 1, 1, 1)
    with torch.no_grad():
        kernel = layer.weight.double().reshape(2, 1, 1, 1, 1)
        bound = Convolution(kernel, Geometry((4, 4), (1, 1), (1, 1)), ((0, 0), (0, 0)), 1, (4, 4)).norm
    assert bound >= float(np.float32(0.9))


def check_torus() -> None:
    """One pixel, zero padding, taps (1, −1): the norm is √2."""
    kernel = torch.tensor([[[[1.0, -1.0]]]], dtype=torch.float64)
    bound = groups_module.convolution_norm_upper(kernel, Geometry((1,), (1,), (1,)))
    assert bound >= np.sqrt(2)


def check_stride() -> None:
    """Strided convolutions against the dense operator."""
    for seed in range(5):
        torch.manual_seed(seed)
        kernel = torch.randn(1, 2, 2, 3, 3, dtype=torch.float64)
        basis = torch.eye(2 * 36, dtype=torch.float64).reshape(-1, 2, 6, 6)
        image = functional.conv2d(basis, kernel[0], stride=2, padding=1).flatten(1)
        bound = groups_module.convolution_norm_upper(kernel, Geometry((6, 6), (2, 2), (1, 1)))
        assert bound >= float(torch.linalg.matrix_norm(image, 2))


PADDED: dict[str, tuple[tuple[int, int], tuple[int, int], list[list[int]]]] = {
    "4x2": (
        (4, 2),
        (3, 5),
        [
            [2, 1, 0, 1, -2, 1, -2, 0, -1],
            [-2, 3, 7, -6, 0, -2, 4, -3, 0],
            [0, 6, -31, -2, -8, 12, -8, -1, 3],
            [3, -9, 3, 12, -65, -8, 0, 8, -4],
            [-2, 1, -1, -65, -43, -22, 18, -7, 1],
            [1, -2, 8, 17, 42, -100, -6, 4, 1],
            [-2, 3, 2, -6, 10, 11, 22, -2, -2],
            [1, 0, -2, 2, 3, 1, -5, -5, 1],
            [-1, 0, -1, 1, 0, 0, -1, 1, 3],
        ],
    ),
    "6x2": (
        (6, 2),
        (3, 6),
        [
            [0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            [1, 1, 1, 1, 0, 0, -1, 0, -1, 0],
            [1, 0, 2, -1, -2, -1, -1, 2, -1, 0],
            [0, -1, 0, -5, 2, 3, 12, 9, -2, 1],
            [0, -2, -3, -9, -29, 14, 23, 36, -3, 0],
            [0, 0, 1, -18, 5, -50, 19, 1, -10, 1],
            [0, 3, -3, -5, 11, 22, 41, -8, -1, 3],
            [-1, 1, -8, -1, -44, 13, 4, -3, 1, 1],
            [-2, 1, 2, 0, 6, -2, -1, 2, 1, -1],
            [0, 0, -1, -1, 1, -3, 0, 0, 0, 0],
            [0, 0, -1, 0, 0, 0, 1, 0, 0, 0],
        ],
    ),
}
"""Image side, padding and kernel; found by ascent against a wrong bound. Fewer windows than pixels on one axis only."""


def check_section() -> None:
    """Kernels that are near the bound of a section of the torus; random ones are far below it."""
    for size, padding, taps in PADDED.values():
        kernel = torch.tensor(taps, dtype=torch.float64)[None, None]
        basis = torch.eye(size[0] * size[1], dtype=torch.float64).reshape(-1, 1, *size)
        image = functional.conv2d(basis, kernel, padding=padding).flatten(1)
        geometry = Geometry(size, (1, 1), (1, 1), padding=tuple((side, side) for side in padding))
        bound = groups_module.convolution_norm_upper(kernel[None], geometry)
        assert bound >= float(torch.linalg.matrix_norm(image, 2))


def check_division() -> None:
    """radius · constant ≤ margin in exact arithmetic."""
    generator = np.random.default_rng(0)
    margins, constants = generator.uniform(0.1, 3, 500), generator.uniform(0.5, 2, 500)
    radii = radii_module._divide_down(margins, constants)
    for margin, constant, radius in zip(margins, constants, radii, strict=True):
        assert Fraction(float(radius)) * Fraction(float(constant)) <= Fraction(float(margin))
        assert radius >= margin / constant * (1 - 1e-15)


def check_changed_weights() -> None:
    """An audit of other weights must not certify."""
    layer, inputs = linear_classifier(1)
    before = bound_module(layer.eval(), (40,))
    layer.weight.data *= 3
    try:
        found = records(layer, inputs, 5, before)
    except ModelError:
        return
    for record, x in zip(found, inputs, strict=True):
        assert record.radius_pairwise <= exact_radius(layer, x)


def check_normalisation() -> None:
    """Mean and std inside the network: 1/min(std)."""
    network = nn.Sequential(InputNormalization([0.1, 0.2], [0.5, 0.2]), nn.Flatten(), nn.Linear(8, 3)).eval()
    assert bound_module(network, (2, 2, 2)).upper >= largest_slope(network, (2, 2, 2), points=6)
    alone = InputNormalization([0.1, 0.2], [0.5, 0.2]).eval()
    assert bound_module(alone, (2, 2, 2)).upper >= largest_slope(alone, (2, 2, 2), points=6)
