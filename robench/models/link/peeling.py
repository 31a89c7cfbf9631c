"""Operations that change no class, taken off the end of a module, through the modules that are called there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robench.models.link.monotone import Step, shared_step, single_step
from robench.models.link.outline import Outline, cut, outline


class Peeled(NamedTuple):
    """What is left of a module (None: its input itself), and what was taken off, the last operation first."""

    steps: tuple[Step, ...]
    module: nn.Module | None


def peel(module: nn.Module, example: Tensor, outputs: int) -> Peeled:
    """Take off what changes no class, from the end, through the modules that are called there.

    Args:
        module: in evaluation mode.
        example: a batch of inputs.
        outputs: number of logits.
    """
    changed = bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in vars(module)
    changed &= not isinstance(module, torch.fx.GraphModule)  # those of a program only check what it is given
    if type(module) is nn.Sequential and not changed:
        return _peel_sequence(module, example, outputs)
    weighted = bool(list(module.parameters()) or list(module.buffers()))
    if changed or (type(module).__module__.startswith("torch.nn.") and weighted):
        return Peeled((), module)  # a layer with weights is no link, and torch.export is slow
    found = outline(module, example)
    return Peeled((), module) if found is None else _peel_graph(module, found, outputs)


def _peel_sequence(module: nn.Sequential, example: Tensor, outputs: int) -> Peeled:
    inputs = [example]
    with torch.no_grad():
        for child in module:
            inputs.append(child(inputs[-1]))
    layers = OrderedDict(module._modules)
    steps: list[Step] = []
    for name, given in reversed(list(zip(layers, inputs, strict=False))):
        child = layers[name]
        assert child is not None
        inner = peel(child, given, outputs)
        steps += inner.steps
        if inner.module is None:
            del layers[name]
            continue
        layers[name] = inner.module
        return Peeled(tuple(steps), nn.Sequential(layers).eval() if named(steps) else module)
    return Peeled(tuple(steps), None)


def _peel_graph(module: nn.Module, found: Outline, outputs: int) -> Peeled:
    steps: list[Step] = []
    node, kept, end = found.output, 0, found.output
    while node.op != "placeholder":
        if node in found.children:
            path, given = found.children[node]
            inner = peel(found.module.get_submodule(path), given, outputs)
            if inner.module is not None:
                if not named(inner.steps):
                    break
                return Peeled((*steps, *inner.steps), cut(found, found.replace(node, inner.module)))
            steps += inner.steps
            node = node.args[0]  # type: ignore[assignment]
        else:
            step = single_step(node) if outputs == 1 else shared_step(node)
            if step is None:
                break
            steps.append(step)
            node = step.inner
        if named(steps[kept:]):
            kept, end = len(steps), node
    else:
        return Peeled(tuple(steps), None)
    if not kept:
        return Peeled((), module)
    return Peeled(tuple(steps[:kept]), cut(found, end))  # what only shifts or scales by constants stays


def named(steps: Sequence[Step]) -> bool:
    """Whether any step does more than shift, scale or copy."""
    return any(step.name for step in steps)
