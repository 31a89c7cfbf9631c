"""Independent readings, which an accepted input must agree with."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import struct
from pathlib import Path

import numpy as np


def safetensors(content: bytes) -> dict[str, np.ndarray]:
    """Float32 tensors from the published layout: length, JSON header, data."""
    (length,) = struct.unpack("<Q", content[:8])
    data = content[8 + length :]
    found = {}
    for name, item in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            first, last = item["data_offsets"]
            assert item["dtype"] == "F32"
            found[name] = np.frombuffer(data[first:last], "<f4").reshape(item["shape"]).astype(np.float64)
    return found


def check_bound(summary, weights, activation) -> None:
    """The audited constant lies above every slope of two dense layers and below the product of their norms.

    Args:
        summary: what `robench audit --json` printed.
        weights: first weight, first bias, second weight, second bias; float64.
        activation: between the two.
    """
    w1, b1, w2, b2 = weights
    points = np.random.default_rng(0).random((40, w1.shape[1]))
    with np.errstate(all="ignore"):
        outputs = activation(points @ w1.T + b1) @ w2.T + b2
        pairs = itertools.combinations(range(len(points)), 2)
        slopes = [np.linalg.norm(outputs[i] - outputs[j]) / np.linalg.norm(points[i] - points[j]) for i, j in pairs]
        product = np.linalg.norm(w1, 2) * np.linalg.norm(w2, 2)
    upper, lower = summary["lipschitz_upper"], summary["lipschitz_lower"]
    assert math.isfinite(upper)
    assert lower <= upper
    if np.isfinite(slopes).all():
        assert max(slopes) <= upper * (1 + 1e-9) + 1e-12
    if np.isfinite(product):
        assert upper <= product * (1 + 1e-4) + 1e-9


def relu(x):
    return np.maximum(x, 0)


def groupsort2(x):
    return np.sort(x.reshape(len(x), -1, 2), axis=2).reshape(x.shape)


def idx(folder: Path, name: str) -> np.ndarray:
    """The bytes of an idx file in the shape of its header."""
    plain, packed = folder / name, folder / f"{name}.gz"
    content = plain.read_bytes() if plain.exists() else packed.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    n = content[3]
    shape = struct.unpack(f">{n}I", content[4 : 4 + 4 * n])
    return np.frombuffer(content[4 + 4 * n :], np.uint8).reshape(shape)


def rows(pixels, labels) -> list[tuple[bytes, int]]:
    """A multiset of (float32 bytes, label)."""
    return sorted((np.ascontiguousarray(p, "<f4").tobytes(), int(k)) for p, k in zip(pixels, labels, strict=True))


def npz_part(file, suffix: str):
    """Inputs as float32 with the colours first, and class numbers, of an npz file opened by numpy."""
    x, y = file[f"x{suffix}"], file[f"y{suffix}"]
    if y.ndim == 2:
        y = y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1)
    x = (x.astype(np.float64) / 255 if x.dtype == np.uint8 else x).astype(np.float32)
    if x.ndim == 4 and x.shape[1] not in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    return x, y.astype(np.int64)
