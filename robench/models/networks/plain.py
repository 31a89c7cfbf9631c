"""Any torch module as a plain one: weights that are computed at each reading become stored weights."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from robench.errors import ModelError
from robench.models.networks.held import detached_copy


@torch.no_grad()
def plain_module(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode, frozen, without parametrizations; the original is left as it is.

    Weights are read once in evaluation mode, so layers whose parametrization drifts at each reading (orthogonium) or
    shows a cached weight (deel-torchlip) become what they show at that moment. `remove_parametrizations` on a copy
    would break the original, whose layers share the class that torch made for them: here each layer of the copy goes
    back to the class it had before. Hooks of torch that compute a weight before each pass (pruning, `weight_norm`,
    `spectral_norm` of before parametrizations) are removed from the copy by torch's own functions, which store what
    the hook gives in evaluation mode.

    Raises:
        ModelError: the module cannot be copied, or is TorchScript.
    """
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise script_refusal(f"`{name}`" if name else "the model")
    try:
        plain = detached_copy(module)
    except Exception as error:
        raise ModelError(f"the model cannot be copied: {error}", hint="build it from plain torch layers") from None
    plain.eval()
    for layer in list(plain.modules()):
        _remove_hooks(layer)
        if parametrize.is_parametrized(layer):
            _store_weights(layer)
    for parameter in plain.parameters():
        parameter.requires_grad_(False)
    return plain


def script_refusal(what: str) -> ModelError:
    """TorchScript hides its operations."""
    return ModelError(
        f"{what} is TorchScript, which robench does not read",
        hint="give the nn.Module that it was made from (FILE.py:factory), or a .pt2 file by torch.export.save",
    )


def _remove_hooks(layer: nn.Module) -> None:
    """Replace what torch's hooks compute before each pass by stored weights.

    The last hook is removed first: it computes from the weight that those before it gave.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch would rather see parametrizations
        for hook in reversed(list(layer._forward_pre_hooks.values())):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(layer, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(layer, hook.name)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(layer, hook._tensor_name)  # type: ignore[no-untyped-call]


def _store_weights(layer: nn.Module) -> None:
    """Replace the parametrizations of one layer by the tensors they give now."""
    chains = layer.parametrizations
    values = {name: getattr(layer, name).detach().clone() for name in chains}  # type: ignore[union-attr]
    layer.__class__ = type(layer).__bases__[0]
    del layer._modules["parametrizations"]
    for name, value in values.items():
        layer.register_parameter(name, nn.Parameter(value, requires_grad=False))
