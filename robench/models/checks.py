"""Checks that every model must pass: finite weights, one answer to one input, equal copies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robench.errors import ModelError
from robench.models.input_shape import Shape
from robench.models.user_code.blame import blamed

AGREEMENT = 1e-4
"""Largest difference of outputs, relative to the largest output, that is taken for rounding in float32."""
MASKED = "mask classes by a finite number such as -1e9, or return the logits of the others alone"
FITS = "check the input shape (without the batch), and that the model takes any batch size and no other argument"
COUNT = {1: "one input", 2: "two inputs"}


def require_finite(module: nn.Module, source: str) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        ModelError: a parameter or buffer is not finite; it is named.
    """
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            masks = not bool(torch.isnan(tensor).any()) and not bool((tensor == torch.inf).any())
            raise ModelError(
                f"`{name}` of {source} holds {'-inf' if masks else 'values that are not finite'}",
                hint=MASKED if masks else "train the model again, or repair the file",
            )


def probe_outputs(module: nn.Module, input_shape: Shape, source: str, hint: str | None = None) -> int:
    """Number of logits of a model, found by `probe`.

    Args:
        module: in evaluation mode.
        input_shape: without the batch.
        source: how to call the model in a message.
        hint: what to do if it fails, where that is known.

    Raises:
        ModelError: as for `probe`, or what it gives is no (N, 1) or (N, q).
    """
    shape = probe(module, input_shape, source, hint)
    if len(shape) != 1:
        raise ModelError(
            f"{source} gives {[2, *shape]} for two inputs, not logits of shape (2, q)",
            hint="return one row of logits for each input; (N, 1) for one logit",
        )
    return shape[0]


@torch.no_grad()
def probe(module: nn.Module, input_shape: Shape, source: str, hint: str | None = None) -> Shape:
    """Shape of one output, found by passes of two inputs, together, each beside another one, and alone.

    Args:
        module: in evaluation mode.
        input_shape: without the batch.
        source: how to call the model in a message.
        hint: what to do if it fails, where that is known.

    Raises:
        ModelError: the model does not take that shape, gives something else than one tensor of finite floats with an
            entry for each input, or gives an input other outputs the next time, or beside another input.
    """
    if not input_shape or min(input_shape) < 1:
        raise ModelError(f"the input shape {list(input_shape)} is empty", hint="give sizes from 1 up, such as 1,28,28")
    try:
        inputs = torch.rand((2, *input_shape), generator=torch.Generator().manual_seed(0))
    except RuntimeError:
        raise ModelError(
            f"two inputs of shape {list(input_shape)} do not fit into memory", hint="check the input shape"
        ) from None
    outputs = _outputs(module, inputs, source, hint)
    again = _outputs(module, inputs, source, hint)
    if not _agree(outputs, again):
        raise ModelError(
            f"{source} gives other outputs for the same input when it runs again",
            hint="switch random operations off in evaluation mode (`F.dropout` needs `training=self.training`)",
        )
    beside = _outputs(module, torch.stack((inputs[0], 1 - inputs[1])), source, hint)
    if not _agree(outputs[:1], beside[:1]):
        raise _mixing(source)
    alone = torch.cat([_outputs(module, one, source, hint) for one in (inputs[:1], inputs[1:])])
    if not _agree(outputs, alone):
        raise _mixing(source)
    return tuple(outputs.shape[1:])


def _mixing(source: str) -> ModelError:
    return ModelError(
        f"{source} gives an input other outputs in another batch, so what it says of an image depends on the images "
        "beside it",
        hint="normalise by stored statistics in evaluation mode (`track_running_stats=True`), or by each input's",
    )


def _outputs(module: nn.Module, inputs: Tensor, source: str, hint: str | None) -> Tensor:
    """The outputs of a batch of one or two inputs; it may write into its copy of them."""
    n, shape = len(inputs), list(inputs.shape[1:])
    what = f"{source} does not take a batch of {COUNT[n]} of shape {shape}: it"
    with blamed(what, hint=hint or FITS):
        outputs = module(inputs.clone())
    if not isinstance(outputs, Tensor):
        raise ModelError(
            f"{source} gives a {type(outputs).__name__} for {COUNT[n]}, not logits of shape ({n}, q)",
            hint="return one tensor; put a model that returns several into a module that picks one",
        )
    if outputs.dim() < 1 or outputs.shape[0] != n or not outputs.numel():
        raise ModelError(
            f"{source} gives {list(outputs.shape)} for {COUNT[n]}, not logits of shape ({n}, q)",
            hint="return one row of logits for each input; (N, 1) for one logit",
        )
    if not outputs.is_floating_point():
        raise ModelError(
            f"{source} gives {str(outputs.dtype).removeprefix('torch.')} outputs, not logits",
            hint="return the logits, not the class",
        )
    if not bool(torch.isfinite(outputs).all()):
        masks = not bool(torch.isnan(outputs).any()) and not bool((outputs == torch.inf).any())
        raise ModelError(
            f"{source} gives outputs that are {'-inf' if masks else 'not finite'}",
            hint=MASKED if masks else "check its weights",
        )
    return outputs


def _agree(one: Tensor, other: Tensor) -> bool:
    """Up to the rounding of other orders of summation."""
    scale = float(one.abs().max().clamp_min(1.0))
    return one.shape == other.shape and float((one - other).abs().max()) <= AGREEMENT * scale


@torch.no_grad()
def check_agreement(one: nn.Module, other: nn.Module, inputs: Tensor, *, tolerance: float = AGREEMENT) -> float:
    """The largest difference of the outputs of two models, relative to the largest value of the same output.

    Args:
        one: a model.
        other: its export.
        inputs: a batch that both are given.
        tolerance: the largest difference allowed.

    Raises:
        ModelError: it is above `tolerance` (float32 rounding), or an output is not finite.
    """
    a, b = one(inputs.clone()), other(inputs.clone())  # a model may write into what it is given
    if a.shape != b.shape:
        raise ModelError(
            f"the export gives outputs of shape {tuple(b.shape)}, the model {tuple(a.shape)}",
            hint="export the model from evaluation mode",
        )
    if not (bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())):
        raise ModelError("the model gives outputs that are not finite", hint="train it again with a lower optimizer.lr")
    difference = float(((a - b).abs() / a.abs().amax(dim=0).clamp_min(1.0)).max())
    if difference > tolerance:
        raise ModelError(
            f"the exported weights give other outputs than the model: relative difference {difference:.1e}",
            hint="put the model in evaluation mode, and remove layers that are random or keep a state",
        )
    return difference
