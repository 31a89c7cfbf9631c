"""A user's module made ready: on the CPU, in evaluation mode, plain, with real weights in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from robench.errors import ModelError
from robench.models.checks import check_agreement, probe, require_finite
from robench.models.input_shape import Shape
from robench.models.networks.input_copy import behind_copy, writes_to_input
from robench.models.networks.plain import plain_module

CASTS = "its weights are taken in float32: let `forward` leave the dtype of its input as it is, or cast it to theirs"
QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def leave_inference_mode(module: nn.Module) -> None:
    """Tensors made in torch's inference mode take no gradient and no other value; here they are replaced by copies."""
    copies: dict[int, Tensor] = {}
    for layer in module.modules():
        for name, parameter in layer._parameters.items():
            if parameter is not None and not is_lazy(parameter) and parameter.is_inference():
                copy = nn.Parameter(parameter.clone(), requires_grad=False)
                layer._parameters[name] = copies.setdefault(id(parameter), copy)  # type: ignore[assignment]
        for name, buffer in layer._buffers.items():
            if buffer is not None and not is_lazy(buffer) and buffer.is_inference():
                layer._buffers[name] = copies.setdefault(id(buffer), buffer.clone())


def ready(module: nn.Module, input_shape: Shape, ref: str) -> nn.Module:
    """On the CPU in evaluation mode, with real weights in every layer.

    Args:
        module: as the user's factory made it.
        input_shape: of one input.
        ref: name of the model, for errors.

    Raises:
        ModelError: a weight has no values, is complex or quantised.
    """
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if is_lazy(tensor):
            raise ModelError(
                f"`{name}` of `{ref}` has no values yet: its layer is lazy",
                hint="let the factory call the model once on an input, or give a file of weights",
            )
        if tensor.device.type == "meta":
            raise ModelError(
                f"`{name}` of `{ref}` has no values: it is on the meta device",
                hint="build the model on the CPU, or load its weights in the factory",
            )
        if tensor.is_complex():
            raise ModelError(f"`{name}` of `{ref}` is complex", hint="write it with real weights")
        if tensor.is_quantized:
            raise _quantised(name, ref)
    for name, layer in module.named_modules():
        if type(layer).__module__.startswith(QUANTISED):
            raise _quantised(name, ref)
    module = module.cpu().eval()
    if any(isinstance(layer, LazyModuleMixin) for layer in module.modules()):
        _settle(module, input_shape)
    return module


def _quantised(name: str, ref: str) -> ModelError:
    return ModelError(
        f"`{name}` of `{ref}` is quantised, and integer arithmetic has no Lipschitz constant",
        hint="certify the model of floating-point weights that it was made from",
    )


@torch.no_grad()
def _settle(module: nn.Module, input_shape: Shape) -> None:
    """Let lazy layers that were given weights become the layers they stand for, which they do in their first pass."""
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    module(torch.zeros((2, *input_shape), dtype=next(module.parameters()).dtype))
    module.load_state_dict(kept)


def as_plain(module: nn.Module, input_shape: Shape, ref: str) -> nn.Module:
    """The frozen plain copy in float32, checked to give the outputs of the module in evaluation mode.

    One that writes into its input is put behind a copy of it.

    Args:
        module: ready, in evaluation mode.
        input_shape: of one input.
        ref: name of the model, for errors.
    """
    stored = {value.dtype for value in module.parameters() if value.is_floating_point()}
    module = module.float()
    require_finite(module, f"`{ref}`")
    plain = plain_module(module)
    probe(module, input_shape, f"`{ref}`", hint=None if stored <= {torch.float32} else CASTS)
    inputs = torch.rand((4, *input_shape), generator=torch.Generator().manual_seed(1))
    check_agreement(module, plain, inputs)
    return behind_copy(plain) if writes_to_input(plain, input_shape) else plain
