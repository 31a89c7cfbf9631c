"""The output link of a model, such as a sigmoid or a softmax: found, and taken off (docs/design/0009-output-links.md).

Class and certified radius are read from numbers whose gaps are distances, the logits. A link that is proven to change
no class is taken off; what is not proven stays where it is.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from robench.errors import ModelError
from robench.models.link.link import Link, Threshold
from robench.models.link.monotone import Step
from robench.models.link.peeling import Peeled, named, peel

CHECKED = 64
"""Random inputs on which the class before and after is compared."""
CLEAR = 1e-4
"""Outputs of the whole model that are apart by this share have a class that rounding in float32 does not decide."""


def take_off(
    module: nn.Module, input_shape: tuple[int, ...], outputs: int, threshold: float | None, source: str
) -> tuple[nn.Module, Link | None]:
    """The module that gives logits, and the link that was at its end; the module itself where there is none.

    Args:
        module: plain, evaluation mode.
        input_shape: without the batch.
        outputs: of the module.
        threshold: class 1 iff the one output is above; None if the user did not say.
        source: how to call the model in a message.

    Raises:
        ModelError: a threshold for more than one output.
    """
    if threshold is not None and outputs > 1:
        raise ModelError(f"{source} has {outputs} outputs; its class is the largest", hint="leave out the threshold")
    peeled = peel(module, _example(input_shape), outputs)
    if outputs == 1:
        found, link = _one(module, peeled, threshold)
    else:
        found, link = _several(module, peeled)
    if link is not None and link.operations and not _agree(found, link, input_shape):
        return _one(module, Peeled((), module), threshold)
    return found, link


def _several(module: nn.Module, peeled: Peeled) -> tuple[nn.Module, Link | None]:
    operations = tuple(step.name for step in peeled.steps if step.name)
    if not operations:
        return module, None
    return peeled.module or nn.Identity().eval(), Link(module, operations, None, asked=False)


def _one(module: nn.Module, peeled: Peeled, asked: float | None) -> tuple[nn.Module, Link | None]:
    """Of one output: its threshold, asked or told by its range, carried through the link."""
    operations = tuple(step.name for step in peeled.steps if step.name)
    threshold = asked if asked is not None else _told(peeled.steps)
    if threshold is None:
        return module, None
    if operations:
        ends: tuple[float, float] | None = (threshold, threshold)
        sign = 1.0
        for step in peeled.steps:
            ends = step.carried(*ends) if ends is not None else None
            sign = sign if step.increasing else -sign
        if ends is not None:
            inner = peeled.module or nn.Identity().eval()
            return _between(inner, ends, sign), Link(module, operations, threshold, asked=asked is not None)
    return _below(module, threshold, 1.0), Link(module, (), threshold, asked=asked is not None)


def _told(steps: tuple[Step, ...]) -> float | None:
    """1/2 if the last operations give numbers from 0 to 1, its logarithm if their logarithms; else not known."""
    ends = [-math.inf, math.inf]
    for step in reversed(steps):
        ends = [step.value(end) for end in ends]
    low, high = sorted(ends)
    if named(steps) and 0.0 <= low < 0.5 < high <= 1.0:
        return 0.5
    if any(step.name in ("log", "log_sigmoid") for step in steps) and (low, high) == (-math.inf, 0.0):
        return math.log(0.5)
    return None


def _below(module: nn.Module, threshold: float, sign: float) -> nn.Module:
    if threshold == 0.0 and sign == 1.0:
        return module
    return nn.Sequential(OrderedDict(model=module, threshold=Threshold(threshold, sign))).eval()


def _between(module: nn.Module, ends: tuple[float, float], sign: float) -> nn.Module:
    """Above 0 (or below) only where it is so for each threshold from one end to the other, and 0 elsewhere."""
    low, high = ends
    middle = low + (high - low) / 2
    if low == high:
        return _below(module, low, sign)
    width = math.nextafter(max(high - middle, middle - low), math.inf)
    layers = OrderedDict(model=module, threshold=Threshold(middle, sign), margin=nn.Softshrink(width))
    return nn.Sequential(layers).eval()


def _example(input_shape: tuple[int, ...], count: int = 2) -> Tensor:
    return torch.rand((count, *input_shape), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _agree(module: nn.Module, link: Link, input_shape: tuple[int, ...]) -> bool:
    """Whether the class is the same before and after, where the outputs of the whole model are clearly apart."""
    noise = torch.randn((CHECKED, *input_shape), generator=torch.Generator().manual_seed(1))
    inputs = torch.cat((_example(input_shape, CHECKED), noise))
    logits, whole = module(inputs), link.deployed(inputs)
    if whole.shape[1] == 1:
        threshold = 0.0 if link.threshold is None else link.threshold
        apart = (whole - threshold).abs() > CLEAR * whole.abs().clamp_min(abs(threshold))
        return logits.shape == whole.shape and bool(((logits > 0) == (whole > threshold))[apart].all())
    top = whole.topk(2, dim=1).values
    apart = top[:, 0] - top[:, 1] > CLEAR * top[:, 0].abs()
    return logits.shape == whole.shape and bool((logits.argmax(dim=1) == whole.argmax(dim=1))[apart].all())
