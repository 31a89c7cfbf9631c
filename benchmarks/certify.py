"""What certificates cost beside a plain forward pass: 10 000 images of 28 x 28, float64 both, in turn.

    OMP_NUM_THREADS=1 python benchmarks/certify.py [--n 10000] [--repeat 7]

Certify adds, to the same forward passes: rounding bounds, radii by both rules, a SHA-256 and a record for each image.
The audit, once for a model, is not counted. Images are random: the cost does not depend on what is seen.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from robench.certificates.certify import certify_records
from robench.data import Dataset
from robench.data.dataset import Subset
from robench.layers import GroupSort2
from robench.lipschitz import bound_module
from robench.models import LoadedModel
from robench.models.identity.function import identify

SHAPE, CLASSES, BATCH = (1, 28, 28), 10, 500


def dense(*widths: int) -> nn.Module:
    """Linear layers of these widths with GroupSort2."""
    layers: list[nn.Module] = [nn.Flatten()]
    before = 784
    for width in widths:
        layers += [nn.Linear(before, width), GroupSort2()]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, CLASSES))


def conv() -> nn.Module:
    """One small convolution."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), GroupSort2(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 196, CLASSES)
    )


NETS: dict[str, Callable[[], nn.Module]] = {
    "dense 256-256": lambda: dense(256, 256),
    "dense 512-512-256": lambda: dense(512, 512, 256),
    "conv 16-P": conv,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=7)
    given = parser.parse_args()
    inputs = np.random.default_rng(0).random((given.n, *SHAPE), dtype=np.float32)
    data = Dataset(
        name="random", split="test", inputs=inputs, labels=np.zeros(given.n, dtype=np.int64),
        index=np.arange(given.n), class_names=tuple("0123456789"), bounds=(0.0, 1.0), sha256="0" * 64,
        subset=Subset("first", None, given.n),
    )  # fmt: skip
    for name, make in NETS.items():
        torch.manual_seed(0)
        network = make().eval().requires_grad_(False)
        model = LoadedModel(
            module=network, input_shape=SHAPE, outputs=CLASSES, name=name, recipe=None, weights_sha256="",
            trained_on=None, function=identify(network, SHAPE),
        )  # fmt: skip
        bounds, double = bound_module(network, SHAPE), copy.deepcopy(network).double()

        def forward(double: nn.Module = double) -> None:
            with torch.no_grad():
                for start in range(0, given.n, BATCH):
                    double(torch.from_numpy(data.batch(slice(start, start + BATCH))).double())

        def certify(model: LoadedModel = model, bounds: object = bounds) -> None:
            for _ in certify_records(model, bounds, data, batch_size=BATCH):  # type: ignore[arg-type]
                pass

        times: dict[str, list[float]] = {"forward": [], "certify": []}
        for _ in range(given.repeat):
            for side, run in (("forward", forward), ("certify", certify)):
                start = time.perf_counter()
                run()
                times[side].append(time.perf_counter() - start)
        plain, ours = statistics.median(times["forward"]), statistics.median(times["certify"])
        print(f"{name:<20}certify / forward pass {ours / plain:.2f}")


if __name__ == "__main__":
    main()
