"""The architecture of a model as typed data: enough to rebuild it with standard torch layers. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from robench.errors import SpecError
from robench.specs.base import PositiveFloat, Range, Spec

ActivationKind = Literal["relu", "groupsort2", "fullsort", "householder"]
PoolKind = Literal["l2", "avg", "max"]
Shape = tuple[int, ...]

LARGEST = 1 << 20
"""No size in a spec may be above this, so that a hostile file cannot ask for all memory."""
WIDEST = LARGEST * 64
"""And no flat width above this."""
Size = Annotated[int, Range(smallest=1, largest=LARGEST)]


@dataclass(frozen=True, kw_only=True)
class Dense(Spec):
    """`nn.Linear` on a flat input: (N, d) to (N, units).

    Fields:
        units: width after it.
        bias: whether a constant is added.
    """

    type: Literal["dense"] = "dense"
    units: Size
    bias: bool = True


@dataclass(frozen=True, kw_only=True)
class Conv(Spec):
    """`nn.Conv2d` with a square kernel and zero padding: (N, C, H, W) to (N, channels, H', W').

    Fields:
        channels: after it.
        kernel: side of the window.
        stride: pixels from one window to the next.
        padding: rows and columns of zeros on each side.
        bias: whether a constant is added.
    """

    type: Literal["conv"] = "conv"
    channels: Size
    kernel: Size = 3
    stride: Size = 1
    padding: Annotated[int, Range(smallest=0, largest=LARGEST)] = 1
    bias: bool = True


@dataclass(frozen=True, kw_only=True)
class Activation(Spec):
    """A 1-Lipschitz activation over features (flat input) or channels (images).

    Fields:
        kind: `relu`; `groupsort2` sorts pairs (MaxMin); `fullsort` sorts all of them; `householder` reflects pairs.
    """

    type: Literal["activation"] = "activation"
    kind: ActivationKind


@dataclass(frozen=True, kw_only=True)
class Pool(Spec):
    """Pooling over disjoint windows of size x size.

    Fields:
        kind: `l2` is the root of the sum of squares; `avg` the average times `size`; `max` the maximum. Each is
            1-Lipschitz.
        size: side of a window.
    """

    type: Literal["pool"] = "pool"
    kind: PoolKind
    size: Size = 2


@dataclass(frozen=True, kw_only=True)
class Shift(Spec):
    """An eighth of the channels moves by one pixel in each of four directions, around the border: an isometry."""

    type: Literal["shift"] = "shift"

    def moved(self, channels: int) -> int:
        """How many of so many channels move in each direction."""
        return channels // 8


@dataclass(frozen=True, kw_only=True)
class Unshuffle(Spec):
    """`nn.PixelUnshuffle`: a window of size x size pixels becomes channels, (N, C, H, W) to (N, size² C, ...).

    Fields:
        size: side of a window.
    """

    type: Literal["unshuffle"] = "unshuffle"
    size: Size = 2


@dataclass(frozen=True, kw_only=True)
class Flatten(Spec):
    """(N, C, H, W) to (N, C*H*W)."""

    type: Literal["flatten"] = "flatten"


@dataclass(frozen=True, kw_only=True)
class Head(Spec):
    """The last layer: `nn.Linear` from a flat input to the model's outputs.

    Fields:
        bias: whether a constant is added.
    """

    type: Literal["head"] = "head"
    bias: bool = True


LayerSpec = Dense | Conv | Activation | Pool | Shift | Unshuffle | Flatten | Head


@dataclass(frozen=True, kw_only=True)
class Normalization(Spec):
    """(x - mean) / std by channel, inside the model; multiplies its Lipschitz constant by 1/min(std).

    Fields:
        mean: one for each channel.
        std: one for each channel, above 0.
    """

    mean: tuple[Annotated[float, Range()], ...]
    std: tuple[PositiveFloat, ...]

    def __post_init__(self) -> None:
        """Check that both have the same length."""
        super().__post_init__()
        if not len(self.mean) == len(self.std) > 0:
            raise SpecError(
                f"the normalisation has {len(self.mean)} means and {len(self.std)} stds",
                hint="give one finite mean and one std above 0 for each channel",
            )


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """An architecture: a chain of layers that ends in a head.

    Fields:
        input_shape: without the batch: (C, H, W) pixels, or (d,) features.
        classes: number of classes q.
        outputs: 1 (one logit, two classes: class 1 iff f(x) > 0) or q.
        layers: in order, the head last.
        normalization: before the first layer; None for none.
    """

    input_shape: tuple[Size, ...]
    classes: Annotated[int, Range(smallest=2, largest=LARGEST)]
    outputs: int
    layers: tuple[LayerSpec, ...]
    normalization: Normalization | None = None

    def __post_init__(self) -> None:
        """Check that the layers fit each other."""
        super().__post_init__()
        if len(self.input_shape) not in (1, 3):
            raise SpecError(
                f"the input shape {list(self.input_shape)} is neither (C, H, W) nor (d,)", hint="give 1 or 3 sizes"
            )
        if self.outputs != self.classes and (self.outputs, self.classes) != (1, 2):
            raise SpecError(
                f"{self.outputs} outputs do not fit {self.classes} classes",
                hint="outputs is the number of classes, or 1 for two classes",
            )
        if self.normalization is not None and len(self.normalization.mean) != self.input_shape[0]:
            raise SpecError(
                f"the normalisation has {len(self.normalization.mean)} channels, the input {self.input_shape[0]}",
                hint="give one mean and one std for each channel",
            )
        heads = [i for i, layer in enumerate(self.layers) if isinstance(layer, Head)]
        if heads != [len(self.layers) - 1]:
            raise SpecError("a model ends in its one `head` layer", hint='put {"type": "head"} last, and only there')
        self.shapes()

    def shapes(self) -> tuple[Shape, ...]:
        """Shapes, without the batch, of the input and of the output of each layer.

        Raises:
            SpecError: a layer does not fit what comes into it.
        """
        return shapes_through(self.layers, self.input_shape, self.outputs)


def shapes_through(layers: Sequence[LayerSpec], input_shape: Shape, outputs: int) -> tuple[Shape, ...]:
    """Shapes, without the batch, of the input and of the output of each layer.

    Args:
        layers: in order.
        input_shape: of one input.
        outputs: of the head.

    Raises:
        SpecError: a layer does not fit what comes into it.
    """
    shapes = [input_shape]
    for number, layer in enumerate(layers, start=1):
        try:
            shapes.append(_shape_after(layer, shapes[-1], outputs))
        except SpecError as error:
            raise SpecError(f"layer {number} (`{layer.type}`): {error.message}", hint=error.hint) from None
    return tuple(shapes)


def _shape_after(layer: LayerSpec, shape: Shape, outputs: int) -> Shape:
    if isinstance(layer, Flatten):
        if (width := math.prod(shape)) > WIDEST:
            raise SpecError(f"the flat width is {width}", hint=f"give an input of {WIDEST} numbers at most")
        return (width,)
    if isinstance(layer, Activation):
        if layer.kind in ("groupsort2", "householder") and shape[0] % 2:
            raise SpecError(
                f"`{layer.kind}` works on pairs, and the width {shape[0]} is odd",
                hint="make the layer before it even, or use `fullsort`",
            )
        return shape
    if isinstance(layer, Dense | Head):
        if len(shape) != 1:
            raise SpecError(f"needs a flat input, got {list(shape)}", hint='put {"type": "flatten"} before it')
        return (layer.units if isinstance(layer, Dense) else outputs,)
    if len(shape) != 3:
        raise SpecError(f"needs an image (C, H, W), got {list(shape)}", hint="use `dense` layers on flat inputs")
    if isinstance(layer, Shift):
        if layer.moved(shape[0]) < 1:
            raise SpecError(f"needs 8 channels, got {shape[0]}", hint="put a convolution with more channels before it")
        return shape
    if isinstance(layer, Unshuffle):
        if shape[1] % layer.size or shape[2] % layer.size:
            raise SpecError(
                f"windows of {layer.size} do not fill {shape[1]}x{shape[2]} pixels",
                hint="give a size that divides both sides",
            )
        return (shape[0] * layer.size**2, shape[1] // layer.size, shape[2] // layer.size)
    if isinstance(layer, Conv):
        sides = [(side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in shape[1:]]
        channels = layer.channels
    else:
        sides = [side // layer.size for side in shape[1:]]
        channels = shape[0]
    if min(sides) < 1:
        raise SpecError(
            f"nothing is left of an input of {shape[1]}x{shape[2]}", hint="use fewer pools or smaller kernels"
        )
    return (channels, *sides)


@dataclass(frozen=True, kw_only=True)
class ModelDescription(Spec):
    """What `model.json` of a model folder says.

    Fields:
        name: of the model, for tables.
        recipe, arch: what it was trained by; None where there was no recipe.
        trained_on: name of the data set.
        class_names: one for each class.
        constraint, head: how the weights were constrained in training, for the reader; the weights stored are plain,
            and what they are worth is for the Lipschitz bound to say.
        model: the architecture.
    """

    schema_version: Literal[1] = 1
    name: str
    recipe: str | None = None
    arch: str | None = None
    trained_on: str | None = None
    class_names: tuple[str, ...] = ()
    constraint: str | None = None
    head: str | None = None
    model: ModelSpec
