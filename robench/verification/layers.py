"""robench's own layers once more, in numpy float64: forward, and the adjoint of what is linear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from robench.errors import RunError

Array = npt.NDArray[np.float64]
Map = Callable[[Array], Array]


@dataclass(frozen=True)
class Layer:
    """One layer on a batch.

    Fields:
        forward: (N, *shape) -> (N, *shape').
        adjoint: of the linear part, (N, *shape') -> (N, *shape); None for a nonlinear layer, which is 1-Lipschitz.
        offset: whether it adds a constant, so that it is affine.
        rising: a function of each entry with slopes between 0 and 1.
    """

    forward: Map
    adjoint: Map | None = None
    offset: bool = False
    rising: bool = False


def layers(description: dict[str, Any], tensors: dict[str, Array]) -> Iterator[Layer]:
    """The layers that a model description lists.

    Raises:
        KeyError: a field or a tensor is missing.
        RunError: a type of layer is not known.
    """
    shape = tuple(description["input_shape"])
    if description.get("normalization") is not None:
        wide = (1, -1, *(1 for _ in shape[1:]))
        mean, std = tensors["normalization.mean"].reshape(wide), tensors["normalization.std"].reshape(wide)
        yield Layer(_scale(mean, std), lambda g, std=std: g / std, offset=True)  # type: ignore[misc]
    counts: dict[str, int] = {}
    for layer in description["layers"]:
        kind = layer["type"]
        counts[kind] = counts.get(kind, 0) + 1
        name = "head" if kind == "head" else f"{kind}{counts[kind]}"
        made = _layer(layer, name, tensors, shape)
        shape = made.forward(np.zeros((1, *shape))).shape[1:]
        yield made


def _scale(mean: Array, std: Array) -> Map:
    return lambda x: (x - mean) / std


def _layer(layer: dict[str, Any], name: str, tensors: dict[str, Array], shape: tuple[int, ...]) -> Layer:
    kind = layer["type"]
    if kind in ("dense", "head"):
        return _dense(tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))
    if kind == "conv":
        return _conv(tensors[f"{name}.weight"], tensors.get(f"{name}.bias"), layer["stride"], layer["padding"], shape)
    if kind == "flatten":
        return Layer(lambda x: x.reshape(len(x), -1), lambda g: g.reshape(len(g), *shape))
    if kind == "pool":
        return _pool(layer["kind"], layer["size"], shape)
    if kind == "activation":
        return Layer(_activation(layer["kind"], tensors.get(f"{name}.angle")), rising=layer["kind"] == "relu")
    raise RunError(f"the layer type `{kind}` is not known", hint="verify with the version that made the run")


def _dense(weight: Array, bias: Array | None) -> Layer:
    shift = 0.0 if bias is None else bias
    return Layer(lambda x: x @ weight.T + shift, lambda g: g @ weight, offset=True)


def _conv(weight: Array, bias: Array | None, stride: int, padding: int, shape: tuple[int, ...]) -> Layer:
    taps = weight.shape[2:]
    shift = 0.0 if bias is None else bias[:, None, None]
    height, width = shape[1] + 2 * padding, shape[2] + 2 * padding

    def forward(x: Array) -> Array:
        padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = sliding_window_view(padded, taps, axis=(2, 3))[:, :, ::stride, ::stride]
        result: Array = np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2) + shift
        return result

    def adjoint(g: Array) -> Array:
        padded = np.zeros((len(g), weight.shape[1], height, width))
        spread = np.tensordot(g, weight, axes=([1], [0]))  # (N, H', W', in, kh, kw)
        rows, columns = g.shape[2:]
        for a in range(taps[0]):
            for b in range(taps[1]):
                target = padded[:, :, a : a + stride * rows : stride, b : b + stride * columns : stride]
                target += spread[..., a, b].transpose(0, 3, 1, 2)
        return padded[:, :, padding : height - padding, padding : width - padding]

    return Layer(forward, adjoint, offset=True)


def _pool(kind: str, size: int, shape: tuple[int, ...]) -> Layer:
    channels, rows, columns = shape[0], shape[1] // size, shape[2] // size

    def windows(x: Array) -> Array:
        cut = x[:, :, : rows * size, : columns * size]
        return cut.reshape(len(x), channels, rows, size, columns, size)

    def spread(g: Array) -> Array:
        result = np.zeros((len(g), *shape))
        result[:, :, : rows * size, : columns * size] = np.repeat(np.repeat(g / size, size, axis=2), size, axis=3)
        return result

    if kind == "l2":
        return Layer(lambda x: np.sqrt(np.sum(windows(x) ** 2, axis=(3, 5))))
    if kind == "max":
        return Layer(lambda x: np.max(windows(x), axis=(3, 5)))
    return Layer(lambda x: np.sum(windows(x), axis=(3, 5)) / size, spread)


def _activation(kind: str, angle: Array | None) -> Map:
    if kind == "relu":
        return lambda x: np.maximum(x, 0.0)
    if kind == "fullsort":
        return lambda x: np.sort(x, axis=1)
    if kind == "groupsort2":
        return lambda x: np.sort(x.reshape(len(x), -1, 2, *x.shape[2:]), axis=2).reshape(x.shape)
    assert angle is not None
    normal = np.stack((np.sin(angle / 2), -np.cos(angle / 2)), axis=1)  # (pairs, 2)

    def reflect(x: Array) -> Array:
        pairs = x.reshape(len(x), -1, 2, *x.shape[2:])
        axis = normal.reshape(1, *normal.shape, *(1 for _ in x.shape[2:]))
        depth = np.minimum(np.sum(pairs * axis, axis=2, keepdims=True), 0.0)
        result: Array = (pairs - 2 * depth * axis).reshape(x.shape)
        return result

    return reflect
