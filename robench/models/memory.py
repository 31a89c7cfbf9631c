"""A model in memory, copied and prepared like a model from a file."""

from __future__ import annotations

import os
from typing import NamedTuple, TypeAlias

import torch
from torch import nn

from robench.errors import ModelError, SpecError
from robench.models.checks import probe, probe_outputs
from robench.models.input_shape import Shape
from robench.models.link.detection import take_off
from robench.models.loaded import HeldModel, ReadModel
from robench.models.loading import load_model, read_model
from robench.models.networks.held import detached_copy
from robench.models.reading.preparation import as_plain, leave_inference_mode, ready
from robench.models.reading.user_module import as_module
from robench.models.user_code.blame import blamed

CALLED = "its forward must take a batch (N, *shape) of any size and return logits (N, q)"


Model: TypeAlias = "nn.Module | str | os.PathLike[str] | HeldModel"
"""What a user gives for a model."""


class HeldFunction(NamedTuple):
    """A plain module, and the shape of its inputs without the batch."""

    module: nn.Module
    input_shape: Shape


def hold(model: Model, input_shape: Shape) -> HeldModel:
    """A model that gives logits: a module is copied, a path is read, and what was held or loaded before stays itself.

    Args:
        model: a module in evaluation mode, on any device; a path as `load_model` takes it; or a loaded model.
        input_shape: of one input, without the batch.

    Raises:
        ModelError: it is no model, is in training mode, has weights that float32 does not hold, cannot be copied or
            read, takes inputs of another shape, or gives no finite logits for them.
    """
    if isinstance(model, str | os.PathLike):
        model = load_model(os.fspath(model), shape_of_data=lambda: input_shape)
    if isinstance(model, HeldModel):
        _require_shape(model.input_shape, input_shape)
        return model
    return _classifier(_plain(model, input_shape), input_shape, type(model).__name__)


def hold_any(model: Model | ReadModel, input_shape: Shape | None) -> HeldFunction:
    """Any function of an input: the logits of a classifier, else whatever tensor a module or a file gives.

    Args:
        model: as for `hold`, or what `read_model` returns.
        input_shape: of one input, without the batch; None where a path or a loaded model tells it.

    Raises:
        ModelError: as for `hold`, but for outputs that are no row of logits.
        SpecError: there is no shape.
    """
    if isinstance(model, str | os.PathLike):
        known = None if input_shape is None else tuple(input_shape)
        model = read_model(model, shape_of_data=None if known is None else lambda: known)
    if isinstance(model, ReadModel) and model.is_classifier:
        model = model.classifier(None)
    if isinstance(model, ReadModel | HeldModel):
        _require_shape(model.input_shape, input_shape)
        return HeldFunction(model.module, model.input_shape)
    if input_shape is None:
        raise SpecError(
            "a module does not tell the shape of its inputs", hint="give `input_shape`, such as (1, 28, 28)"
        )
    plain = _plain(model, input_shape)
    name = type(model).__name__
    if len(probe(plain, input_shape, f"`{name}`")) != 1:
        return HeldFunction(plain, input_shape)
    return HeldFunction(_classifier(plain, input_shape, name).module, input_shape)


def _require_shape(own: Shape, wanted: Shape | None) -> None:
    if wanted is not None and tuple(own) != tuple(wanted):
        raise ModelError(
            f"the model takes inputs of shape {own}, not {tuple(wanted)}",
            hint="give inputs of the shape that it was trained on, without normalising or resizing them otherwise",
        )


def _classifier(plain: nn.Module, input_shape: Shape, name: str) -> HeldModel:
    """What a plain module says of classes: its logits, and the link that may be behind them."""
    with blamed(f"`{name}`", hint=CALLED), torch.no_grad():
        outputs = probe_outputs(plain, input_shape, f"`{name}`")
        logits, link = take_off(plain, input_shape, outputs, None, f"`{name}`")
    return HeldModel(logits, input_shape, outputs, link)


def _plain(model: nn.Module, input_shape: Shape) -> nn.Module:
    """A plain, checked copy of a user's module."""
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"the model is of type {type(model).__name__}, no torch.nn.Module",
            hint="give a torch.nn.Module, a path, or what `load_model` returns",
        )
    _require_evaluation(model)
    name = type(model).__name__
    with blamed(f"`{name}`", hint=CALLED), torch.no_grad():
        copy = as_module(detached_copy(model), name)
        leave_inference_mode(copy)
        _require_single(copy)
        return as_plain(ready(copy, input_shape, name), input_shape, name)


def _require_evaluation(model: nn.Module) -> None:
    training = [name or "the model itself" for name, part in model.named_modules() if part.training]
    if training:
        raise ModelError(
            f"the model is in training mode ({len(training)} modules, the first: {training[0]})",
            hint="call `model.eval()` first; of an exported program give the module that it was exported from",
        )


def _require_single(model: nn.Module) -> None:
    """A model of other weights is another model: the points found would not fool the one that was given."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.dtype == torch.float64 and not torch.equal(tensor.float().double(), tensor):
            raise ModelError(
                f"`{name}` holds float64 values that float32 cannot hold, and robench takes weights in float32",
                hint="give the rounded model, `copy.deepcopy(model).float()`, if that is the one to be judged",
            )
