"""Torch modules from a `ModelSpec`: plain ones for use, constrained ones for training, and the export between them.

A plain model is an `nn.Sequential` of standard torch layers and activations without constraints; its layers are named
`conv1`, `dense1`, ..., `head`, so that a user can rebuild it from `model.json` by hand.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict

import torch
from torch import nn

from robench.layers import (
    CircularShift,
    FullSort,
    GroupSort2,
    HouseHolder,
    InputNormalization,
    L2NormPool2d,
    ScaledAvgPool2d,
    constrain_conv,
    constrain_head,
    constrain_linear,
    export_weight,
)
from robench.specs.model import (
    Activation,
    Conv,
    Dense,
    Flatten,
    Head,
    LayerSpec,
    ModelSpec,
    Pool,
    Shape,
    Shift,
    Unshuffle,
)
from robench.specs.training import Constraint, ConvScheme, HeadKind

HEAD = "head"


def layer_names(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the layers in a built model: type and count, and `head`."""
    counts: defaultdict[str, int] = defaultdict(int)
    names = []
    for layer in spec.layers:
        counts[layer.type] += 1
        names.append(HEAD if isinstance(layer, Head) else f"{layer.type}{counts[layer.type]}")
    return tuple(names)


def build(spec: ModelSpec) -> nn.Sequential:
    """A plain model with torch's default initial weights, in training mode."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    if spec.normalization is not None:
        modules["normalization"] = InputNormalization(spec.normalization.mean, spec.normalization.std)
    for name, layer, shape in zip(layer_names(spec), spec.layers, spec.shapes(), strict=False):
        modules[name] = _module(layer, shape, spec.outputs)
    return nn.Sequential(modules)


def _module(layer: LayerSpec, shape: Shape, outputs: int) -> nn.Module:
    """The module of one layer on an input of that shape, without the batch."""
    if isinstance(layer, Dense):
        return nn.Linear(shape[0], layer.units, bias=layer.bias)
    if isinstance(layer, Head):
        return nn.Linear(shape[0], outputs, bias=layer.bias)
    if isinstance(layer, Conv):
        return nn.Conv2d(
            shape[0], layer.channels, layer.kernel, stride=layer.stride, padding=layer.padding, bias=layer.bias
        )
    if isinstance(layer, Flatten):
        return nn.Flatten()
    if isinstance(layer, Shift):
        return CircularShift(shape[0], layer.moved(shape[0]))
    if isinstance(layer, Unshuffle):
        return nn.PixelUnshuffle(layer.size)
    if isinstance(layer, Activation):
        return _activation(layer, shape[0])
    return _pool(layer)


def _activation(layer: Activation, channels: int) -> nn.Module:
    if layer.kind == "householder":
        return HouseHolder(channels)
    kinds: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "groupsort2": GroupSort2, "fullsort": FullSort}
    return kinds[layer.kind]()


def _pool(layer: Pool) -> nn.Module:
    kinds: dict[str, type[nn.Module]] = {"l2": L2NormPool2d, "avg": ScaledAvgPool2d, "max": nn.MaxPool2d}
    return kinds[layer.kind](layer.size)


def build_constrained(
    spec: ModelSpec, *, constraint: Constraint, conv_scheme: ConvScheme, head: HeadKind
) -> nn.Sequential:
    """A model to be trained: `build`, with each linear layer constrained and started at orthogonal weights.

    Orthogonal starts spare Björck the slow growth of small singular values.

    Args:
        spec: the architecture.
        constraint: of the weights.
        conv_scheme: how a convolution is constrained.
        head: how the last layer is constrained.
    """
    model = build(spec)
    if constraint == "none":
        return model
    for name, layer, shape in zip(layer_names(spec), spec.layers, spec.shapes(), strict=False):
        module = model.get_submodule(name)
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        nn.init.orthogonal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv2d):
            constrain_conv(module, constraint, conv_scheme, (shape[1], shape[2]))
        elif isinstance(layer, Head):
            constrain_head(module, head, constraint)
        else:
            constrain_linear(module, constraint)
    return model


@torch.no_grad()
def export(trained: nn.Sequential, spec: ModelSpec) -> nn.Sequential:
    """A fresh plain model with the final weights of a constrained one, in evaluation mode and frozen.

    The trained model is left as it is. (Removing parametrizations from a deep copy would break it: copies share the
    class that torch makes for a parametrized layer.)
    """
    plain = build(spec).eval().requires_grad_(False)
    for name, parameter in plain.named_parameters():
        path, _, leaf = name.rpartition(".")
        module = trained.get_submodule(path)
        if leaf == "weight" and isinstance(module, nn.Linear | nn.Conv2d):
            parameter.copy_(export_weight(module))
        else:
            parameter.copy_(module.get_parameter(leaf))
    device = next(trained.parameters()).device
    return plain.to(device)
