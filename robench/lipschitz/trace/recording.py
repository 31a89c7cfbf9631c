"""Records what a module's `forward` computes as a graph of ATen operations.

The module runs on the input 0 with its real parameters and buffers. A branch on these is taken as the model takes it;
one on values of the input is refused by the recorder (docs/design/0011-tracing.md §2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from robench.errors import BoundError, RobenchError
from robench.lipschitz.trace.attention import batch_in_front
from robench.lipschitz.trace.recorder import Recorder, Traced
from robench.lipschitz.trace.rulebook import Rulebook
from robench.models.networks.held import held_values
from robench.models.networks.widened import first_line, float32_default, float64_default, wide_argument

REPLACE = (
    "bound it over a box of inputs: `--box 0,1`, `box=(0, 1)`; or replace it with a Lipschitz layer, or register "
    "a rule for a module: `robench.lipschitz.register(YourLayer)`"
)


class Precision(NamedTuple):
    """What a program computes in.

    Fields:
        convert: what becomes of the arguments of an operation.
        default: a context in which constants without a dtype are made.
    """

    convert: Callable[[Any], Any]
    default: Callable[[], AbstractContextManager[None]]


WIDE = Precision(wide_argument, float64_default)
"""All in float64."""
AS_IT_IS = Precision(lambda value: value, float32_default)
"""What the program says, where torch's default dtype is float32."""


def record(
    module: nn.Module, example: Tensor, where: str, precision: Precision, rules: Rulebook
) -> torch.fx.GraphModule:
    """The graph of what a module computes from inputs of the shape of an example, at its parameters and state.

    Args:
        module: in float64; it is left as it is.
        example: a batch.
        where: name of the module, for errors.
        precision: what it computes in.
        rules: which operations are kept whole.

    Raises:
        BoundError: it uses values of the input outside of torch, is a function of a state that it changes, or fails.
    """
    recorder, given = Recorder(where, _state(module), precision.convert, rules), example.clone()
    try:
        with _put_back(module):
            with (
                torch.inference_mode(),
                precision.default(),
                _no_fast_attention(),
                batch_in_front(),
                _no_autocast(where),
                _paths(module, recorder),
                recorder,
            ):
                output = module(recorder.start(given))
            return recorder.finish(output, _state(module))
    except RobenchError:
        raise
    except Exception as error:  # user code: anything
        reason = f"{type(error).__name__}: {first_line(error)}"
        if "not supported for tensor subclasses" in str(error):
            reason = "it makes an array of numpy, or a list, of a tensor that it computes"
        if "SparseTensorImpl" in str(error) or "SparseCsrTensorImpl" in str(error):
            reason = "it computes with a sparse tensor; keep it dense (`to_dense()`)"
        raise BoundError(
            f"`{where}` fails while it is traced: {reason}",
            hint="its `forward` must be made of torch operations alone, and run on float64 inputs; or register a rule "
            "for the module: `robench.lipschitz.register(YourLayer)`",
        ) from None


@contextmanager
def _put_back(module: nn.Module) -> Iterator[None]:
    """Give the attributes, buffers and parameters back as they were."""
    before = [
        (child, vars(child).copy(), child._buffers.copy(), child._parameters.copy()) for child in module.modules()
    ]
    try:
        yield
    finally:
        for child, attributes, buffers, parameters in before:
            vars(child).clear()
            vars(child).update(attributes)
            child._buffers.clear()
            child._buffers.update(buffers)
            child._parameters.clear()
            child._parameters.update(parameters)


@contextmanager
def _no_fast_attention() -> Iterator[None]:
    """Switch off torch's fast path, which hides the operations."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _state(module: nn.Module) -> dict[str, Tensor]:
    held = {name: value for name, value in held_values(module) if isinstance(value, Tensor)}
    return {**held, **dict(module.named_buffers()), **dict(module.named_parameters())}


@contextmanager
def _no_autocast(where: str) -> Iterator[None]:
    """Refuses blocks of torch.autocast, of which an operation that is recorded shows nothing."""
    own: Callable[[Any], Any] = torch.autocast.__enter__

    def enter(block: Any) -> Any:
        if block._enabled and block.fast_dtype in (torch.float16, torch.bfloat16):
            raise BoundError(
                f"`{where}` computes in {block.fast_dtype} under torch.autocast, whose rounding has no bound",
                hint="leave autocast out of `forward`, so that the model that is certified is the one that runs",
            )
        return own(block)

    torch.autocast.__enter__ = enter  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = own  # type: ignore[method-assign]


@contextmanager
def _paths(module: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Keeps the recorder's path at the module that runs."""
    names = {id(child): name for name, child in module.named_modules()}
    stack: list[list[str]] = []

    def enter(child: nn.Module, inputs: Any) -> None:
        reason = next((why for kind, why in recorder.rules.module_reasons.items() if isinstance(child, kind)), None)
        if reason is not None and any(isinstance(value, Traced) for value in inputs):
            raise BoundError(f"`{names.get(id(child), 'the model')}` cannot be bounded: {reason}", hint=REPLACE)
        stack.append(recorder.path)
        name = names.get(id(child))
        recorder.path = recorder.path if name is None else [part for part in name.split(".") if part]

    def leave(child: nn.Module, inputs: Any, output: Any) -> None:
        recorder.path = stack.pop()

    hooks = [torch_module.register_module_forward_pre_hook(enter), torch_module.register_module_forward_hook(leave)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
