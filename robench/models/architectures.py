"""Architectures by name: the paper's, small ones for two cores, and a user's own list of layers in a file.

An architecture says widths and order; which activation and pooling goes between is the recipe's (`Style`), so that all
recipes share the same architectures (paper, §5).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.errors import SpecError, did_you_mean
from robench.specs.base import from_plain
from robench.specs.model import (
    Activation,
    ActivationKind,
    Conv,
    Dense,
    Flatten,
    Head,
    LayerSpec,
    Pool,
    PoolKind,
    Shape,
    Shift,
    Unshuffle,
    shapes_through,
)

Layers = tuple[LayerSpec, ...]


@dataclass(frozen=True)
class Style:
    """What a recipe puts between the linear layers.

    Fields:
        dense: activation after dense layers.
        conv: activation after convolutions.
        pool: kind of pooling.
    """

    dense: ActivationKind
    conv: ActivationKind
    pool: PoolKind


GRADIENT_NORM_PRESERVING = Style(dense="fullsort", conv="groupsort2", pool="l2")
PAIR_SORT = Style(dense="groupsort2", conv="groupsort2", pool="l2")
RELU = Style(dense="relu", conv="relu", pool="max")


def dense_layers(input_shape: Shape, style: Style, widths: Sequence[int]) -> Layers:
    """Images flattened, dense layers of those widths, each with an activation, and a head.

    Args:
        input_shape: of one input.
        style: gives the activation.
        widths: of the layers, in order.
    """
    layers: list[LayerSpec] = [Flatten()] if len(input_shape) == 3 else []
    for width in widths:
        layers += [Dense(units=width), Activation(kind=style.dense)]
    return (*layers, Head())


def conv_layers(input_shape: Shape, style: Style, blocks: Sequence[int], convs: int, widths: Sequence[int]) -> Layers:
    """Blocks of `convs` 3x3 convolutions and one 2x2 pool, then dense layers and a head.

    Args:
        input_shape: of one image.
        style: gives activations and pooling.
        blocks: channels of each block.
        convs: convolutions in each block.
        widths: of the dense layers, in order.

    Raises:
        SpecError: the input is no image.
    """
    _require_image(input_shape)
    layers: list[LayerSpec] = []
    for channels in blocks:
        layers += [Conv(channels=channels), Activation(kind=style.conv)] * convs
        layers.append(Pool(kind=style.pool))
    return (*layers, *dense_layers(input_shape, style, widths))


def shift_layers(input_shape: Shape, style: Style, blocks: Sequence[tuple[int, int]], widths: Sequence[int]) -> Layers:
    """Stages of blocks (shift, 1x1 convolution, activation) after windows folded into channels, and dense layers.

    Windows are folded where both sides are even.

    Args:
        input_shape: of one image.
        style: gives activations.
        blocks: of each stage, its channels and its number of blocks.
        widths: of the dense layers, in order.

    Raises:
        SpecError: the input is no image.
    """
    _require_image(input_shape)
    layers: list[LayerSpec] = []
    height, width = input_shape[1:]
    for channels, count in blocks:
        if height % 2 == width % 2 == 0:
            layers.append(Unshuffle())
            height, width = height // 2, width // 2
        layers += _mixed(channels, style)
        layers += [Shift(), *_mixed(channels, style)] * count
    return (*layers, *dense_layers(input_shape, style, widths))


def _mixed(channels: int, style: Style) -> Layers:
    return (Conv(channels=channels, kernel=1, padding=0), Activation(kind=style.conv))


def _require_image(input_shape: Shape) -> None:
    if len(input_shape) != 3:
        raise SpecError(
            f"convolutions need images (C, H, W), and the input shape is {list(input_shape)}",
            hint="use a dense architecture, such as `dense-small`",
        )


def _dense(*widths: int) -> Callable[[Shape, Style], Layers]:
    return lambda input_shape, style: dense_layers(input_shape, style, widths)


def _pairs(*widths: int) -> Callable[[Shape, Style], Layers]:
    """Dense layers that sort pairs where the recipe sorts all units."""

    def layers(input_shape: Shape, style: Style) -> Layers:
        return dense_layers(input_shape, PAIR_SORT if style.dense == "fullsort" else style, widths)

    return layers


def _conv(blocks: Sequence[int], convs: int, *widths: int) -> Callable[[Shape, Style], Layers]:
    return lambda input_shape, style: conv_layers(input_shape, style, blocks, convs, widths)


def _shift(blocks: Sequence[tuple[int, int]], *widths: int) -> Callable[[Shape, Style], Layers]:
    return lambda input_shape, style: shift_layers(input_shape, style, blocks, widths)


ARCHITECTURES: Mapping[str, Callable[[Shape, Style], Layers]] = {
    "dense-small": _dense(64, 64),
    "dense": _dense(256, 256),
    "dense-512": _dense(512, 512, 256),
    "dense-512-deep": _dense(512, 512, 256, 256, 256, 256),
    "dense-deep": _dense(*(128,) * 12),
    "dense-deep-pairs": _pairs(*(128,) * 12),
    "conv-small": _conv((8, 16), 1, 64),
    "conv": _conv((16, 32), 1, 100),
    "cifar-small": _conv((32, 64, 128), 1, 256),
    "cifar": _conv((128, 256, 512), 2, 512, 512),
    "faces": _conv((16, 32, 64, 128), 1, 128),
    "celeba": _conv((16, 32, 64, 128, 256), 2, 512, 512),
    "shift-small": _shift(((64, 3), (128, 3)), 256),
    "shift": _shift(((64, 4), (128, 4), (256, 4)), 256),
    "shift-large": _shift(((128, 6), (256, 6), (512, 6)), 512),
}
"""By name. `dense`, `conv`, `cifar` and `celeba` have the paper's widths (appendix D.1). `dense-deep` is as deep as
`celeba`, and `dense-deep-pairs` too."""


def architecture(name: str, input_shape: Shape, style: Style) -> Layers:
    """The layers of a named architecture, or of a layer file if `name` is the path of a .json or .toml file.

    Args:
        name: a key of `ARCHITECTURES`, or the path of a layer file.
        input_shape: of one input.
        style: gives activations and pooling.

    Raises:
        SpecError: unknown name, unreadable file, or layers that do not fit.
    """
    if name.endswith((".json", ".toml")):
        return layers_from_file(Path(name), input_shape, style)
    if name not in ARCHITECTURES:
        raise SpecError(f"unknown architecture `{name}`", hint=f"{did_you_mean(name, ARCHITECTURES)}, or a layer file")
    return ARCHITECTURES[name](input_shape, style)


def layers_from_file(path: Path, input_shape: Shape, style: Style) -> Layers:
    """The layers in a JSON or TOML file: a table `layers`, a list of tables such as {type = "dense", units = 64}.

    An `activation` or `pool` without `kind` takes the recipe's; a missing `head` is added.

    Args:
        path: of the file.
        input_shape: of one input.
        style: gives activations and pooling where the file leaves them open.

    Raises:
        SpecError: the file cannot be read, or holds something else.
    """
    data = _read_table(path)
    items = data.get("layers")
    if set(data) != {"layers"} or not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise SpecError(f"`{path}` holds no list of layers", hint='write {"layers": [{"type": "dense", "units": 64}]}')
    layers: list[LayerSpec] = []
    shape = input_shape
    for number, item in enumerate(items, start=1):
        try:
            layer: LayerSpec = from_plain(LayerSpec, _with_style(item, style, flat=len(shape) == 1), "layer")
            if not isinstance(layer, Head):
                shape = shapes_through([layer], shape, outputs=1)[-1]
        except SpecError as error:
            raise SpecError(f"layer {number} of `{path}`: {error.message}", hint=error.hint) from None
        layers.append(layer)
    if not layers or not isinstance(layers[-1], Head):
        layers.append(Head())
    return tuple(layers)


def _with_style(item: Mapping[str, Any], style: Style, *, flat: bool) -> dict[str, Any]:
    if "kind" not in item:
        if item.get("type") == "activation":
            return {**item, "kind": style.dense if flat else style.conv}
        if item.get("type") == "pool":
            return {**item, "kind": style.pool}
    return dict(item)


def _read_table(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            import tomllib

            data: Any = tomllib.loads(text)
        else:
            data = json.loads(text)
    except ModuleNotFoundError:
        raise SpecError(f"`{path}` is TOML, which needs Python 3.11 or newer", hint="write it as JSON") from None
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"`{path}` cannot be read: {error}", hint="give a JSON or TOML file of layers") from None
    return data if isinstance(data, dict) else {}
