"""Copies of a model as it is now: frozen, on the CPU, in evaluation mode."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn

from robench.errors import BoundError
from robench.models.networks.plain import plain_module


def plain_copy(module: nn.Module) -> nn.Module:
    """A copy with the weights that the module uses now, in evaluation mode on the CPU, frozen, no parametrizations.

    A parametrized weight is computed once, in the module's own precision; the certificate is about that value.

    Raises:
        BoundError: the module is in training mode.
        ModelError: it cannot be copied, or computes weights in a way that is not known.
    """
    if isinstance(module, torch.fx.GraphModule):  # an exported program: its operations say themselves how they run
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, on copies of its trees
            return copy.deepcopy(module).requires_grad_(False).cpu()
    training = [name or "the model" for name, child in module.named_modules() if getattr(child, "training", False)]
    if training:
        raise BoundError(
            f"`{training[0]}` is in training mode, so the model may be random or depend on its batch",
            hint="call `model.eval()` first",
        )
    return plain_module(module).cpu()


def in_float32(module: nn.Module) -> nn.Module:
    """A plain module as it is deployed in float32: itself, unless it holds numbers of another precision."""
    tensors = [*module.parameters(), *module.buffers()]
    if all(tensor.dtype == torch.float32 for tensor in tensors if tensor.is_floating_point()):
        return module
    return plain_copy(module).float()
