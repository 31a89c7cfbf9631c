"""Models that robench did not train: a factory in a user's Python file, with weights from a file of tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from robench.errors import ModelError
from robench.models.build import check_agreement
from robench.models.identity.function import identify, source_digest
from robench.models.link.detection import take_off
from robench.models.loaded import LoadedModel, Shape, probe, probe_outputs, require_finite
from robench.models.networks.input_copy import behind_copy, is_behind_copy, writes_to_input
from robench.models.networks.plain import plain_module
from robench.models.reading.factory import FACTORY, make_module
from robench.models.reading.states import load_state
from robench.models.user_code.blame import blamed

CASTS = "its weights are taken in float32: let `forward` leave the dtype of its input as it is, or cast it to theirs"
QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def load_factory(
    ref: str, weights: Path | None, shape: Callable[[], Shape | None], threshold: float | None = None
) -> LoadedModel:
    """The model that `FILE.py:factory` makes, a function without arguments that returns a torch module.

    Args:
        ref: file and function.
        weights: `.safetensors`, or another file of tensors; None where the factory brings its weights.
        shape: gives that of an input, without the batch; asked once the file is there.
        threshold: class 1 iff the one output is above; None to tell it from the model.

    Raises:
        ModelError: the file, function, weights or shape do not serve.
    """
    match = FACTORY.fullmatch(ref)
    if match is None:
        raise ModelError(f"`{ref}` names no factory", hint="write it as FILE.py:factory")
    file = Path(match["file"])
    if not file.is_file():
        raise ModelError(f"`{file}` does not exist", hint="write the model as FILE.py:factory")
    input_shape = shape()
    if input_shape is None:
        raise ModelError(f"the input shape of `{ref}` is not known", hint="give it, such as `--input-shape 1,28,28`")
    module = make_module(file, match["name"])
    notes: tuple[str, ...] = ()
    with blamed(f"`{ref}`"):
        leave_inference_mode(module)
        if weights is not None:
            sha256, notes = load_state(module, weights)
        module = ready(module, input_shape, ref)
        notes = (*notes, *_about(module, ref, weights))
        plain = as_plain(module, input_shape, ref)
        if is_behind_copy(plain):
            notes = (*notes, f"`{ref}` writes into its input; it is given a copy each time")
        if weights is None:
            sha256 = hashlib.sha256(safetensors.torch.save(_state(plain))).hexdigest()
        outputs = probe_outputs(plain, input_shape, f"`{ref}`")
        logits, link = take_off(plain, input_shape, outputs, threshold, f"`{ref}`")
    return LoadedModel(
        module=logits,
        input_shape=input_shape,
        outputs=outputs,
        name=match["name"] if weights is None else weights.stem,
        weights_sha256=sha256,
        function=identify(plain, input_shape),
        source_sha256=source_digest(Path(match["file"])),
        notes=notes if link is None else (*notes, link.note),
        link=link,
    )


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in sorted(module.state_dict().items())}


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
                hint="let the factory call the model once on an input, or give the weights with --weights",
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


def _about(module: nn.Module, ref: str, weights: Path | None) -> list[str]:
    """What a user should know of the weights."""
    notes = []
    if weights is None and any(True for _ in module.parameters()):
        notes.append(f"no --weights: the model has the weights that `{ref}` gives it")
    types = {str(value.dtype).removeprefix("torch.") for value in module.parameters() if value.is_floating_point()}
    if other := ", ".join(sorted(types - {"float32"})):
        notes.append(f"`{ref}` has {other} weights; what is certified and attacked is the model with them in float32")
    return notes


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
