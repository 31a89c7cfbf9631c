"""Random calls of every operation that has a rule, with arguments of its own: drawn from its schema, or by a recipe.

A draw is a program that runs on any `call`: that of a trace, which gives a bound, or the operations themselves.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robench.lipschitz.trace import written_out  # noqa: F401  # defines operations
from robench.lipschitz.trace.signals import BATCH

aten = torch.ops.aten
Call = Callable[..., Any]
Program = Callable[[Call, Any], Any]
X = object()
"""Stands for the input in the arguments of a draw."""

SCALARS = (0.0, 0.3, 0.5, 1.0, 1.0, 2.0, 2.0, 3.0, -0.5, -1.0, -2.0, 20.0)


class Draws(random.Random):
    """Random shapes, tensors and arguments."""

    def shape(self, rank: int | None = None, entries: int = 18) -> list[int]:
        """Of a batch: BATCH and `rank` axes of a sample (1 to 3)."""
        while True:
            sample = [self.choice((1, 1, 2, 2, 3, 4, 5)) for _ in range(rank or self.randint(1, 3))]
            if math.prod(sample) <= entries:
                return [BATCH, *sample]

    def tensor(self, *shape: int) -> Tensor:
        """Normal, sometimes of small whole numbers, so that there are ties and zeros."""
        generator = torch.Generator().manual_seed(self.getrandbits(40))
        values = torch.randn(shape, dtype=torch.float64, generator=generator)
        return values.round() if self.random() < 0.3 else values

    def constant(self, shape: list[int]) -> Tensor:
        """Of a shape that broadcasts against this one, and sometimes makes it larger."""
        sides = [1, *(1 if self.random() < 0.4 else side for side in shape[1:])]
        if self.random() < 0.4:
            sides = sides[self.randint(0, len(sides)) :]
        sides = [self.randint(2, 3) if side == 1 and place and self.random() < 0.3 else side
                 for place, side in enumerate(sides)]  # fmt: skip
        return self.tensor(*sides)

    def axis(self, shape: list[int]) -> int:
        """Of a sample mostly, counted from either end."""
        place = self.randint(0 if self.random() < 0.1 else 1, len(shape) - 1)
        return place - len(shape) if self.random() < 0.4 else place

    def axes(self, shape: list[int]) -> list[int]:
        """Some axes of a sample, each once."""
        places = self.sample(range(1, len(shape)), self.randint(1, len(shape) - 1))
        return [place - len(shape) if self.random() < 0.4 else place for place in places]

    def regrouped(self, shape: list[int]) -> list[int]:
        """Another shape with as many entries; sometimes with positions merged into the batch."""
        left, sizes = math.prod(shape[1:]), [BATCH]
        while left > 1 and len(sizes) < 4:
            side = self.choice([d for d in range(1, left + 1) if left % d == 0])
            sizes.append(side)
            left //= side
        sizes.append(left)
        if self.random() < 0.2 and len(sizes) > 2:
            sizes[:2] = [sizes[0] * sizes[1]]
        if self.random() < 0.3:
            sizes[self.randrange(len(sizes))] = -1
        return sizes

    def some(self, count: int, low: int, high: int) -> list[int]:
        return [self.randint(low, high) for _ in range(count)]


@dataclass
class Recipe:
    """One call: the operation, and its arguments with `X` for the input of this shape (batch included)."""

    shape: list[int]
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def recipe(shape: list[int], target: Any, *args: Any, **kwargs: Any) -> Recipe:
    return Recipe(shape, target, args, kwargs)


def axes_of(name: str) -> int:
    return int(next(character for character in name if character.isdigit()))


def image(d: Draws, axes: int, channels: int | None = None, least: int = 2) -> list[int]:
    most = {1: 7, 2: 4, 3: 2}[axes]
    return [BATCH, channels or d.randint(1, 2), *(d.randint(min(least, most), most) for _ in range(axes))]


def sizes(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    packet = getattr(aten, name)
    return recipe(shape, packet.default, X, d.regrouped(shape))


def expanded(d: Draws, name: str) -> Recipe:
    shape = [BATCH, *(1 if d.random() < 0.5 else side for side in d.shape()[1:])]
    wide = [-1 if d.random() < 0.3 else (d.randint(1, 3) if side == 1 and k else side) for k, side in enumerate(shape)]
    if name == "expand_as":
        return recipe(
            shape, aten.expand_as.default, X, d.tensor(*(s if w == -1 else w for s, w in zip(shape, wide, strict=True)))
        )
    return recipe(shape, aten.expand.default, X, wide)


def view_as(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    return recipe(shape, aten.view_as.default, X, torch.zeros(shape).reshape(d.regrouped(shape)))


def repeated(d: Draws, name: str) -> Recipe:
    shape = d.shape(entries=8)
    return recipe(shape, getattr(aten, name).default, X, [1, *d.some(len(shape) - 1, 1, 2)])


def permuted(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    return recipe(shape, aten.permute.default, X, [0, *d.sample(range(1, len(shape)), len(shape) - 1)])


def rolled(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    axes = d.axes(shape)
    return recipe(shape, aten.roll.default, X, d.some(len(axes), -3, 3), axes)


def turned(d: Draws, name: str) -> Recipe:
    shape = d.shape(3)
    return recipe(shape, aten.rot90.default, X, d.randint(-3, 3), d.sample([1, 2, 3, -1, -2], 2))


def flipped(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    return recipe(shape, aten.flip.default, X, d.axes(shape))


def moved(d: Draws, name: str) -> Recipe:
    shape = d.shape(3)
    places = d.axes(shape)
    return recipe(shape, aten.movedim.intlist, X, places, d.sample([1, 2, 3], len(places)))


def unflattened(d: Draws, name: str) -> Recipe:
    shape = [BATCH, d.choice([2, 4, 6]), d.randint(1, 3)]
    return recipe(shape, aten.unflatten.int, X, 1, d.choice([[2, shape[1] // 2], [-1, 2], [shape[1], 1]]))


def split_sizes(d: Draws, name: str) -> Recipe:
    shape = [BATCH, 5, d.randint(1, 3)]
    first = d.randint(1, 4)
    return recipe(shape, aten.split_with_sizes.default, X, [first, 5 - first], d.choice([1, -2]))


def shuffled(d: Draws, name: str) -> Recipe:
    if name == "pixel_shuffle":
        return recipe([BATCH, 4, 2, d.randint(1, 2)], aten.pixel_shuffle.default, X, 2)
    if name == "pixel_unshuffle":
        return recipe([BATCH, 1, 4, 2], aten.pixel_unshuffle.default, X, 2)
    return recipe([BATCH, 4, 2, 2], getattr(aten, name).default, X, 2)


def selected(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    axis = d.randint(1, len(shape) - 1)
    index = torch.tensor(d.some(d.randint(1, 4), 0, shape[axis] - 1))
    return recipe(shape, aten.index_select.default, X, axis, index)


def indexed(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    axis = d.randint(1, len(shape) - 1)
    index = torch.tensor(d.some(d.randint(1, 4), -shape[axis], shape[axis] - 1))
    return recipe(shape, getattr(aten, name).Tensor, X, [*[None] * axis, index])


def gathered(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    axis = d.randint(1, len(shape) - 1)
    index = torch.tensor(d.some(math.prod(shape[1:]), 0, shape[axis] - 1)).reshape(1, *shape[1:]).expand(shape)
    return recipe(shape, aten.gather.default, X, axis, index)


def padded(d: Draws, name: str) -> Recipe:
    axes = axes_of(name)
    shape = image(d, axes)
    return recipe(shape, getattr(aten, name).default, X, d.some(2 * axes, -1 if d.random() < 0.3 else 0, 2))


def padded_by_mode(d: Draws, name: str) -> Recipe:
    axes = d.randint(1, 2)
    shape, pads = image(d, axes), d.some(2 * axes, -1 if d.random() < 0.3 else 0, 2)
    if name == "constant_pad_nd":
        return recipe(shape, aten.constant_pad_nd.default, X, pads, d.choice([0.0, 2.0]))
    mode = d.choice(["constant", "reflect", "replicate", "circular"])
    return recipe(shape, aten.pad.default, X, pads, mode, *([1.5] if mode == "constant" else []))


def resized(d: Draws, name: str) -> Recipe:
    axes = axes_of(name)
    align = [d.random() < 0.5] if "linear" in name else []
    packet = getattr(aten, name)
    if d.random() < 0.4:
        return recipe(image(d, axes), packet.vec, X, None, *align, [d.choice([0.5, 1.5, 2.0]) for _ in range(axes)])
    return recipe(image(d, axes), packet.default, X, d.some(axes, 1, 5), *align)


def joined(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    axis = d.axis(shape)
    parts = [X if k == 0 or d.random() < 0.5 else d.tensor(*shape) for k in range(d.randint(1, 3))]
    d.shuffle(parts)
    return recipe(shape, getattr(aten, name).default, parts, *([] if name == "hstack" else [axis]))


def dense(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    n, out = shape[-1], d.randint(1, 5)
    if name == "linear":
        bias = d.choice([None, d.tensor(out)])
        return recipe(shape, aten.linear.default, X, d.tensor(out, n), bias)
    if name == "addmm":
        shape = d.shape(1)
        return recipe(shape, aten.addmm.default, d.tensor(out), X, d.tensor(shape[1], out))
    if name == "mv":
        shape = d.shape(1)
        return recipe(shape, aten.mv.default, X, d.tensor(shape[1]))
    if name == "mm":
        shape = d.shape(1)
        return recipe(shape, aten.mm.default, X, d.tensor(shape[1], out))
    if d.random() < 0.3 and len(shape) > 2:
        lead = [side if d.random() < 0.7 else 1 for side in shape[1:-2]]
        if d.random() < 0.5:
            return recipe(shape, aten.matmul.default, X, d.tensor(*lead, n, out))
        return recipe(shape, aten.matmul.default, d.tensor(*lead, out, shape[-2]), X)
    if d.random() < 0.5 or len(shape) < 3:
        return recipe(shape, aten.matmul.default, X, d.choice([d.tensor(n, out), d.tensor(n)]))
    return recipe(shape, aten.matmul.default, d.tensor(out, shape[-2]), X)


def convolved(d: Draws, name: str) -> Recipe:
    axes = d.randint(1, 2) if name == "convolution" else axes_of(name)
    groups = d.choice([1, 1, 2])
    shape = image(d, axes, groups * d.randint(1, 2 if axes < 3 else 1), least=3)
    transposed = "transpose" in name or (name == "convolution" and d.random() < 0.4)
    out = d.randint(1, 2)
    sides = d.some(axes, 1, 3)
    inner = shape[1] // groups
    weight = d.tensor(shape[1], out, *sides) if transposed else d.tensor(groups * out, inner, *sides)
    bias = d.choice([None, d.tensor(groups * out)])
    stride, padding, dilation = d.some(axes, 1, 3), d.some(axes, 0, 2), d.some(axes, 1, 2)
    more = d.some(axes, 0, 1) if transposed else [0] * axes
    packet = getattr(aten, name)
    if name == "convolution":
        return recipe(shape, packet.default, X, weight, bias, stride, padding, dilation, transposed, more, groups)
    if transposed:
        overload = "default" if axes == 1 else "input"
        return recipe(shape, getattr(packet, overload), X, weight, bias, stride, padding, more, groups, dilation)
    if d.random() < 0.2:
        same = d.choice(["same", "valid"])
        return recipe(
            shape, packet.padding, X, weight, bias, [1] * axes if same == "same" else stride, same, dilation, groups
        )
    return recipe(shape, packet.default, X, weight, bias, stride, padding, dilation, groups)


def normalised(d: Draws, name: str) -> Recipe:
    shape = d.shape(d.randint(1, 3))
    count = shape[1]
    weight, bias = d.choice([None, d.tensor(count)]), d.choice([None, d.tensor(count)])
    mean, variance = d.tensor(count), d.tensor(count).abs() + d.choice([0.0, 0.1])
    epsilon = d.choice([1e-5, 0.1])
    if name == "_native_batch_norm_legit_no_training":
        return recipe(shape, getattr(aten, name).default, X, weight, bias, mean, variance, 0.1, epsilon)
    if name == "instance_norm":
        shape = d.shape(d.randint(2, 3))
        count = shape[1]
        weight, bias, mean, variance = d.tensor(count), d.tensor(count), d.tensor(count), d.tensor(count).abs()
    rest = (False, 0.1, epsilon) + ((False,) if name in ("batch_norm", "instance_norm") else ())
    return recipe(shape, getattr(aten, name).default, X, weight, bias, mean, variance, *rest)


def pooled(d: Draws, name: str) -> Recipe:
    axes = axes_of(name)
    shape = image(d, axes, d.randint(1, 2))
    kernel = d.some(axes, 1, 3)
    stride = d.choice([[], d.some(axes, 1, 3)])
    padding = [d.randint(0, side // 2) for side in kernel]
    ceil = d.random() < 0.5
    packet = getattr(aten, name)
    if name.startswith("max"):
        return recipe(shape, packet.default, X, kernel, stride, padding, d.some(axes, 1, 2), ceil)
    rest = [ceil, d.random() < 0.5]
    if axes > 1:
        rest.append(d.choice([None, 3, 2]))
    return recipe(shape, packet.default, X, kernel, stride, padding, *rest)


def shared_out(d: Draws, name: str) -> Recipe:
    axes = axes_of(name)
    return recipe(image(d, axes), getattr(aten, name).default, X, d.some(axes, 1, 5))


def dropped(d: Draws, name: str) -> Recipe:
    return recipe(d.shape(), getattr(aten, name).default, X, 0.5, False)


def converted(d: Draws, name: str) -> Recipe:
    if name == "to":
        return recipe(d.shape(), aten.to.dtype, X, torch.float64)
    if name == "type_as":
        return recipe(d.shape(), aten.type_as.default, X, torch.zeros(1, dtype=torch.float64))
    return recipe(d.shape(), aten._to_copy.default, X, dtype=torch.float64)


def channel_slopes(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    return recipe(shape, aten.prelu.default, X, d.tensor(d.choice([1, shape[1]])))


def leaky(d: Draws, name: str) -> Recipe:
    shape, slopes = d.shape(), sorted(d.sample(SCALARS, 2))
    if name == "rrelu":
        return recipe(shape, aten.rrelu.default, X, *slopes, False)
    return recipe(shape, aten.rrelu_with_noise.default, X, torch.zeros(shape, dtype=torch.float64), *slopes, False)


def cut(d: Draws, name: str) -> Recipe:
    level = d.choice(SCALARS)
    return recipe(d.shape(), aten.threshold.default, X, level, level)


def along(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    packet = getattr(aten, name)
    if name == "logsumexp":
        return recipe(shape, packet.default, X, d.axes(shape), d.random() < 0.5)
    if name.startswith("_"):
        return recipe(shape, packet.default, X, d.axis(shape), False)
    return recipe(shape, packet.int, X, d.axis(shape))


def lengths(d: Draws, name: str) -> Recipe:
    shape, keep = d.shape(), d.random() < 0.5
    order = d.choice([2, 2, 1, math.inf])
    if name == "linalg_vector_norm":
        return recipe(shape, aten.linalg_vector_norm.default, X, order, d.axes(shape), keep)
    return recipe(shape, aten.norm.ScalarOpt_dim, X, order, d.axes(shape), keep)


def clamped_by_tensors(d: Draws, name: str) -> Recipe:
    shape = [BATCH, *(1 if d.random() < 0.5 else side for side in d.shape(entries=9)[1:])]
    if name == "clamp":
        low, high = d.choice([(True, False), (False, True), (True, True)])
        limits = [d.constant(shape) if low else None, d.constant(shape) + 1 if high else None]
        return recipe(shape, aten.clamp.Tensor, X, *limits)
    return recipe(shape, getattr(aten, name).Tensor, X, d.constant(shape))


def same(d: Draws, shape: list[int]) -> Tensor:
    """A constant of a shape, the same for each sample."""
    return d.tensor(1, *shape[1:]).expand(shape).contiguous()


def put_in(d: Draws, name: str) -> Recipe:
    """A constant written into the input, or the input into a constant."""
    shape = d.shape()
    axis = d.randint(1, len(shape) - 1)
    if d.random() < 0.5:
        place = d.randint(-shape[axis], shape[axis] - 1)
        return recipe(shape, aten.select_scatter.default, X, same(d, shape[:axis] + shape[axis + 1 :]), axis, place)
    base = [*shape[:axis], 3, *shape[axis:]]
    return recipe(shape, aten.select_scatter.default, same(d, base), X, axis, d.randint(-3, 2))


def put_on_diagonal(d: Draws, name: str) -> Recipe:
    shape = d.shape(d.randint(2, 3))
    source = [BATCH, *shape[3:], min(shape[1:3])]
    return recipe(shape, aten.diagonal_scatter.default, X, same(d, source), 0, 1, 2)


def put_at(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    axis = d.randint(1, len(shape) - 1)
    index = torch.tensor(d.some(d.randint(1, 4), -shape[axis], shape[axis] - 1))
    return recipe(shape, aten.index_put.default, X, [*[None] * axis, index], d.tensor(1))


def copied_over(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    wide = [side if side > 1 or not place else d.randint(1, 3) for place, side in enumerate(shape)]
    return recipe(shape, aten.copy.default, same(d, wide), X)


def chosen(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    mask = same(d, shape) > 0
    if name == "masked_fill":
        return recipe(shape, aten.masked_fill.Scalar, X, mask, d.choice(SCALARS))
    sides = d.choice([(X, same(d, shape)), (same(d, shape), X), (X, X)])
    return recipe(shape, aten.where.self, mask, *sides)


def gated(d: Draws, name: str) -> Recipe:
    shape, target = d.shape(), getattr(torch.ops.robench, name.removeprefix("robench.")).default
    tensors = ("robench.swish_rates", "robench.leaky")
    count = {"robench.softsign": 0, "robench.softplus": 0, "robench.hardsigmoid_gate": 0, "robench.elu": 2}.get(name, 1)
    rates = [d.constant(shape)] if name in tensors else [d.choice(SCALARS[1:]) for _ in range(count)]
    if name == "robench.elu":
        rates[0] = abs(rates[0])
    return recipe(shape, target, X, *rates)


def contraction(d: Draws, name: str) -> Recipe:
    """Letters of the input in a random order, some kept, some summed, with a constant that shares some of them."""
    count = d.randint(1, 3)
    sizes = {letter: d.randint(1, 3) for letter in "abcxyz"}
    given = "".join(d.sample("abc", count))
    own = "".join(d.sample([*given, *"xyz"[: d.randint(0, 2)]], d.randint(1, count)))
    free = [letter for letter in {*given, *own} if d.random() < 0.6]
    d.shuffle(free)
    constant, shape = d.tensor(*(sizes[letter] for letter in own)), [BATCH, *(sizes[letter] for letter in given)]
    terms, operands = [f"n{given}", own], [X, constant]
    if d.random() < 0.4:
        terms, operands = terms[::-1], operands[::-1]
    return recipe(shape, aten.einsum.default, f"{','.join(terms)}->n{''.join(free)}", operands)


def batch_of_matrices(d: Draws, name: str) -> Recipe:
    rows, inner, columns = d.some(3, 1, 3)
    lead = d.randint(1, 2)
    shape = [BATCH * lead, rows, inner]
    matrices = d.tensor(1, lead, inner, columns).expand(BATCH, -1, -1, -1).reshape(BATCH * lead, inner, columns)
    if lead > 1:  # positions merged into the batch, as attention heads are
        shape = [BATCH, lead * rows * inner]
    if name == "baddbmm":
        shape, matrices = [BATCH, rows, inner], d.tensor(1, inner, columns).expand(BATCH, -1, -1)
        options = {"alpha": d.choice(SCALARS), "beta": d.choice(SCALARS)}
        return recipe(shape, aten.baddbmm.default, d.tensor(1, rows, 1), X, matrices, **options)
    if lead == 1:
        left = d.random() < 0.5
        other = d.tensor(1, columns, rows).expand(BATCH, -1, -1) if left else matrices
        return recipe(shape, aten.bmm.default, *((other, X) if left else (X, other)))
    return recipe([BATCH, rows, inner], aten.bmm.default, X, matrices[:1].expand(BATCH, -1, -1))


def patches(d: Draws, name: str) -> Recipe:
    sides, stride = d.some(2, 2, 4), d.some(2, 1, 2)
    kernel, padding, dilation = d.some(2, 1, 2), d.some(2, 0, 1), d.some(2, 1, 2)
    if name == "im2col":
        return recipe([BATCH, d.randint(1, 2), *sides], aten.im2col.default, X, kernel, dilation, padding, stride)
    image = torch.zeros(1, d.randint(1, 2), *sides, dtype=torch.float64)
    shape = aten.im2col.default(image, kernel, dilation, padding, stride).shape
    return recipe([BATCH, *shape[1:]], aten.col2im.default, X, sides, kernel, dilation, padding, stride)


def far(d: Draws, name: str) -> Recipe:
    shape, rows, order = d.shape(d.randint(1, 2)), d.choice([1, 2, 4, 30]), d.choice([1.0, 2.0, math.inf])
    mode = 2 if order == 2.0 else d.choice([None, 2])  # else the derivative divides by a distance that is off by √u
    other = d.tensor(rows, shape[-1]) if len(shape) == 2 else d.tensor(1, rows, shape[-1]).expand(BATCH, -1, -1)
    sides = (other, X) if len(shape) == 3 and d.random() < 0.3 else (X, other)
    return recipe(shape, aten._cdist_forward.default, *sides, order, mode)


def blended(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    ends = d.choice([(X, X), (X, d.constant(shape)), (d.constant(shape), X)])
    if d.random() < 0.5:
        return recipe(shape, aten.lerp.Scalar, *ends, d.choice(SCALARS))
    return recipe(shape, aten.lerp.Tensor, *ends, d.constant(shape))


def reflected(d: Draws, name: str) -> Recipe:
    shape = d.shape(d.randint(1, 3))
    sides = [1, *(side if d.random() < 0.5 else 1 for side in shape[1:])]
    angle = d.tensor(*sides)
    constants = (torch.sin(angle / 2), torch.cos(angle / 2), torch.cos(angle), torch.sin(angle))
    other = same(d, shape)
    axis = d.randint(1, len(shape) - 1)
    return recipe(shape, torch.ops.robench.reflection.default, X, d.choice([X, other]), *constants, axis)


def along_one(d: Draws, name: str) -> Recipe:
    shape = d.shape()
    return recipe(shape, getattr(aten, name).default, X, d.axis(shape))


def cubic(d: Draws, name: str) -> Recipe:
    shape, align = image(d, 2), d.random() < 0.5
    if d.random() < 0.4:
        return recipe(shape, aten.upsample_bicubic2d.vec, X, None, align, [d.choice([0.5, 1.5, 2.0]) for _ in "ab"])
    return recipe(shape, aten.upsample_bicubic2d.default, X, d.some(2, 1, 5), align)


def sampled(d: Draws, name: str) -> Recipe:
    """Places within and without the image, the same for both samples; cubic of two axes only."""
    axes = 3 if name.endswith("3d") else 2
    shape = image(d, axes)
    grid = 0.8 * d.tensor(1, *d.some(axes, 1, 4), axes).expand(BATCH, *[-1] * (axes + 1))
    mode = d.choice([0, 1, 2] if axes == 2 else [0, 1])
    return recipe(shape, getattr(aten, name).default, X, grid, mode, d.randint(0, 2), d.random() < 0.5)


def written_at(d: Draws, name: str) -> Recipe:
    """`scatter` and its like: the input is what is written to, what is written, or both."""
    shape = d.shape()
    axis = d.axis(shape)
    side = shape[axis]
    packet = getattr(aten, name)
    if name.startswith("index"):
        count = d.randint(1, side) if name == "index_add" else side
        index = torch.tensor(d.some(count, 0, side - 1) if name == "index_add" else d.sample(range(side), side))
        if name == "index_fill":
            return recipe(shape, packet.int_Scalar, X, axis, index[: d.randint(1, side)], d.choice(SCALARS))
    else:
        turns = [torch.tensor(d.sample(range(side), side)) for _ in range(math.prod(shape[1:]) // side)]
        if name == "scatter_add":
            turns = [torch.tensor(d.some(side, 0, side - 1)) for _ in turns]
        others = [one for place, one in enumerate(shape[1:], 1) if place != axis % len(shape)]
        whole = torch.stack(turns).reshape(*others, side).movedim(-1, axis % len(shape) - 1)
        index = whole[None].expand(shape)
        if name == "scatter" and d.random() < 0.3:
            return recipe(shape, packet.value, X, axis, index, d.choice(SCALARS))
        if d.random() < 0.3:
            index = index.narrow(axis, 0, d.randint(1, side))
    sides = d.choice(
        [(X, X), (torch.zeros(shape, dtype=torch.float64), X), (X, torch.ones(shape, dtype=torch.float64))]
    )
    if name == "index_add" and len(index) < side:
        other = torch.ones([len(index) if k == axis % len(shape) else one for k, one in enumerate(shape)]).double()
        return recipe(shape, packet.default, X, axis, index, other, alpha=d.choice(SCALARS))
    more = {"alpha": d.choice(SCALARS)} if name == "index_add" else {}
    return recipe(shape, packet.src if name == "scatter" else packet.default, sides[0], axis, index, sides[1], **more)


WRITTEN_OUT = (
    "swish",
    "swish_rates",
    "erf_gate",
    "hard_gate",
    "hardsigmoid_gate",
    "softsign",
    "softplus",
    "elu",
    "leaky",
)
RECIPES: dict[str, Callable[[Draws, str], Recipe]] = {
    **dict.fromkeys(["view", "_unsafe_view", "reshape", "view_copy"], sizes),
    **dict.fromkeys(["expand", "expand_as"], expanded),
    **dict.fromkeys(["repeat", "tile"], repeated),
    **dict.fromkeys(["pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle"], shuffled),
    **{f"{mode}_pad{k}d": padded for mode in ("reflection", "replication") for k in (1, 2, 3)},
    **dict.fromkeys(["pad", "constant_pad_nd"], padded_by_mode),
    **{f"upsample_nearest{k}d": resized for k in (1, 2, 3)},
    **dict.fromkeys(["upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"], resized),
    **dict.fromkeys(["cat", "stack", "concat", "concatenate", "hstack"], joined),
    **dict.fromkeys(["linear", "matmul", "mm", "mv", "addmm"], dense),
    **dict.fromkeys(["convolution", *(f"conv{t}{k}d" for t in ("", "_transpose") for k in (1, 2, 3))], convolved),
    **dict.fromkeys(["batch_norm", "native_batch_norm", "instance_norm"], normalised),
    "_native_batch_norm_legit_no_training": normalised,
    **{f"avg_pool{k}d": pooled for k in (1, 2, 3)},
    **{f"max_pool{k}d{more}": pooled for k in (1, 2, 3) for more in ("", "_with_indices")},
    **{f"{prefix}_pool{k}d": shared_out for prefix in ("adaptive_avg", "adaptive_max") for k in (1, 2, 3)},
    "_adaptive_avg_pool2d": shared_out,
    **dict.fromkeys([f"{kind}dropout" for kind in ("", "feature_", "alpha_", "feature_alpha_", "native_")], dropped),
    **dict.fromkeys(["to", "_to_copy", "type_as"], converted),
    **dict.fromkeys(["softmax", "_softmax", "log_softmax", "_log_softmax", "logsumexp"], along),
    **dict.fromkeys(["linalg_vector_norm", "norm"], lengths),
    **dict.fromkeys(["cummax", "cummin", "logcumsumexp"], along_one),
    **dict.fromkeys(["scatter", "scatter_add", "index_add", "index_copy", "index_fill"], written_at),
    "upsample_bicubic2d": cubic,
    **dict.fromkeys(["grid_sampler", "grid_sampler_2d", "grid_sampler_3d"], sampled),
    "rrelu": leaky, "rrelu_with_noise": leaky,
    "view_as": view_as, "permute": permuted, "roll": rolled, "rot90": turned, "flip": flipped, "movedim": moved,
    "unflatten": unflattened, "split_with_sizes": split_sizes, "index_select": selected, "index": indexed,
    "_unsafe_index": indexed,
    "gather": gathered, "prelu": channel_slopes, "threshold": cut,
    "select_scatter": put_in, "diagonal_scatter": put_on_diagonal, "index_put": put_at, "copy": copied_over,
    "where": chosen, "masked_fill": chosen, "einsum": contraction, "bmm": batch_of_matrices,
    "baddbmm": batch_of_matrices, "im2col": patches, "col2im": patches, "_cdist_forward": far, "lerp": blended,
    **{f"robench.{name}": gated for name in WRITTEN_OUT},
    "robench.reflection": reflected,
}  # fmt: skip
TENSOR_LIMITS = ("clamp", "clamp_min", "clamp_max")
SQUARED = ("sqrt", "sign", "sgn")
"""Operations that are only defined on sums of squares."""
OFTEN_SQUARED = ("sum", "mean", "mul", "div", "add", "view", "reshape", "squeeze", "unsqueeze", "abs", "relu", "clone",
                 "avg_pool1d", "avg_pool2d", "adaptive_avg_pool2d", "flatten", "sub")  # fmt: skip


def draw(d: Draws, name: str) -> tuple[Program, list[int]]:
    """A program that calls the operation, and the shape of its input, batch included."""
    if name in TENSOR_LIMITS and d.random() < 0.6:
        made = clamped_by_tensors(d, name)
    elif name in RECIPES:  # only: with senseless arguments, some of these end the process
        made = RECIPES[name](d, name)
    else:
        made = by_schema(d, name)
    prelude = _prelude(d, made.shape)
    squares = name in SQUARED or (name in OFTEN_SQUARED and d.random() < 0.3)
    with_kink = d.random() < 0.15

    def program(call: Call, x: Any) -> Any:
        x = prelude(call, x)
        if squares:
            x = call(aten.pow.Tensor_Scalar, x, 2.0)
        fill = lambda value: [fill(v) for v in value] if isinstance(value, list) else x if value is X else value  # noqa: E731
        result = call(made.target, *fill(list(made.args)), **{key: fill(value) for key, value in made.kwargs.items()})
        if name in ("sign", "sgn"):
            result = call(aten.mul.Tensor, result, x)
        if with_kink and not squares and not isinstance(result, list | tuple):
            result = call(aten.relu.default, result)
        return result

    return program, made.shape


def _prelude(d: Draws, shape: list[int]) -> Program:
    """An operation before: so that the input of a rule is no fresh signal, but a view, a copy or a linear map."""
    axis = d.randint(1, len(shape) - 1)
    factors = d.tensor(*[1, *shape[1:]])
    places = torch.tensor(d.some(shape[axis], 0, shape[axis] - 1))
    preludes: list[Program] = [
        lambda call, x: call(aten.flip.default, x, [axis]),
        lambda call, x: call(aten.relu.default, x),
        lambda call, x: call(aten.neg.default, x),
        lambda call, x: call(aten.mul.Tensor, x, factors),
        lambda call, x: call(aten.index_select.default, x, axis, places),
        lambda call, x: call(aten.add.Tensor, x, call(aten.flip.default, x, [axis])),
    ]
    return d.choice(preludes) if d.random() < 0.4 else lambda call, x: x


def by_schema(d: Draws, name: str) -> Recipe:
    """A call with arguments of the kinds that the operation declares."""
    packet = getattr(aten, name)
    overloads = [each for each in packet.overloads() if not getattr(packet, each)._schema.is_mutable]
    target = getattr(packet, d.choice(overloads))
    shape = d.shape()
    arguments = target._schema.arguments
    tensors = [k for k, each in enumerate(arguments) if str(each.type) == "Tensor"]
    place = d.choice(tensors) if tensors and d.random() < 0.3 else tensors[0] if tensors else 0
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for k, argument in enumerate(arguments):
        if argument.has_default_value() and d.random() < 0.5 and not argument.kwarg_only:
            break
        value = X if k == place else _argument(d, argument, shape)
        if argument.kwarg_only:
            if d.random() < 0.5 or not argument.has_default_value():
                kwargs[argument.name] = value
        else:
            args.append(value)
    return Recipe(shape, target, tuple(args), kwargs)


def _argument(d: Draws, argument: Any, shape: list[int]) -> Any:
    kind, name = str(argument.type), argument.name
    if name in ("memory_format", "layout", "device") or (kind.startswith("Optional") and d.random() < 0.3):
        return None
    if "Tensor" in kind and "List" not in kind:
        return X if d.random() < 0.2 else d.constant(shape)
    if "dim" in name or "axis" in name:
        return d.axes(shape) if "List" in kind else d.axis(shape)
    if "List" in kind:
        return d.some(d.randint(1, len(shape)), -1, 4)
    if name in ("train", "training"):
        return False
    if name == "approximate":
        return d.choice(["none", "tanh"])
    if name == "dtype":
        return d.choice([None, torch.float64])
    if "bool" in kind:
        return d.random() < 0.5
    if "int" in kind:
        return d.randint(-2, 4)
    if "number" in kind or "float" in kind:
        return d.choice(SCALARS)
    return argument.default_value
