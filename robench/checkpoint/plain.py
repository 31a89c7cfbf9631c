"""Any torch module as a plain one: weights that are computed at each reading become stored weights."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize

from robench.errors import ModelError

OLD_HOOKS = ("weight_orig", "weight_g")
"""What the hooks of `torch.nn.utils.spectral_norm` and `weight_norm`, before parametrizations, leave on a layer."""


@torch.no_grad()
def plain_module(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode, frozen, without parametrizations; the original is left as it is.

    Weights are read once in evaluation mode, so layers whose parametrization drifts at each reading (orthogonium) or
    shows a cached weight (deel-torchlip) become what they show at that moment. `remove_parametrizations` on a copy
    would break the original, whose layers share the class that torch made for them: here each layer of the copy goes
    back to the class it had before.

    Raises:
        ModelError: the module cannot be copied, or computes weights in a way that is not known.
    """
    try:
        plain = copy.deepcopy(module)
    except Exception as error:
        raise ModelError(f"the model cannot be copied: {error}", hint="build it from plain torch layers") from None
    plain.eval().requires_grad_(False)
    for name, layer in plain.named_modules():
        if any(hasattr(layer, attribute) for attribute in OLD_HOOKS):
            raise ModelError(
                f"layer `{name}` normalises its weight by an old forward hook",
                hint="use torch.nn.utils.parametrizations, or remove the hook before you save the weights",
            )
    for layer in list(plain.modules()):
        if parametrize.is_parametrized(layer):
            _store_weights(layer)
    return plain


def _store_weights(layer: nn.Module) -> None:
    """Replace the parametrizations of one layer by the tensors they give now."""
    chains = layer.parametrizations
    values = {name: getattr(layer, name).detach().clone() for name in chains}  # type: ignore[union-attr]
    layer.__class__ = type(layer).__bases__[0]
    del layer._modules["parametrizations"]
    for name, value in values.items():
        layer.register_parameter(name, nn.Parameter(value, requires_grad=False))
