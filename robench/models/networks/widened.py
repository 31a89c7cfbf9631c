"""The float64 network of a module: the same function with every computation in float64, whatever its `forward` casts.

`module.double()` converts parameters and buffers alone. A `forward` may cast (`x.float()`), build constants in float32
or complex64, and use tensors that are neither parameters nor buffers (docs/design/0011-tracing.md §1).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robench.errors import ModelError, RobenchError
from robench.models.networks.held import detached_copy, map_held

WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
"""Narrower types than these are no accident of a default: they stay, and what depends on the input is refused."""
OWN_CODE = ("torch.nn.", "robench.")
"""Where modules come from whose `forward` makes no choice of precision."""


def widened(module: nn.Module) -> nn.Module:
    """A copy of a plain module that computes in float64.

    Layers of torch and robench are converted alone, and cost nothing more; around code of other origin a mode watches
    every operation.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, on copies of its trees
        wide = detached_copy(module)
    for parameter in wide.parameters():
        parameter.requires_grad_(False)
    wide._apply(wide_tensor)  # type: ignore[no-untyped-call]
    if all(_converts(child) for child in wide.modules()):
        return wide
    map_held(wide, wide_tensor)
    return Widened(wide)


def _converts(module: nn.Module) -> bool:
    """Whether the conversion of parameters and buffers is all that this module needs."""
    foreign = not type(module).__module__.startswith(OWN_CODE)
    return not (foreign or module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def wide_tensor(tensor: Tensor) -> Tensor:
    """The same values, detached, in float64 or complex128; other types as they are."""
    floating = torch.float64 if tensor.is_floating_point() else WIDER.get(tensor.dtype)
    return tensor if floating in (None, tensor.dtype) else tensor.detach().to(floating)


def wide_argument(value: Any) -> Any:
    """An argument of an operation with dtypes and tensors of float32 and complex64 replaced by their wider ones."""
    if isinstance(value, torch.dtype):
        return WIDER.get(value, value)
    if isinstance(value, Tensor):
        return value.to(WIDER[value.dtype]) if value.dtype in WIDER else value
    if isinstance(value, list | tuple):
        return [wide_argument(item) for item in value]
    return value


def float64_default() -> contextlib.AbstractContextManager[None]:
    """Constants without a dtype are made in float64."""
    return _default(torch.float64)


def float32_default() -> contextlib.AbstractContextManager[None]:
    """Constants without a dtype are made in float32, as in the deployed network."""
    return _default(torch.float32)


@contextlib.contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Widening(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation in float64 that a program asks for in float32."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # no need to load torch's compiler, a second of the process

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*wide_argument(args), **{key: wide_argument(value) for key, value in (kwargs or {}).items()})


class Widened(nn.Module):
    """Runs a converted module under `Widening`.

    Args:
        module: its parameters and buffers are of float64 already.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def _apply(self, fn: Any, recurse: bool = True) -> Widened:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        map_held(self.module, fn)
        return self

    def forward(self, x: Tensor) -> Any:
        """What the module makes of a batch.

        Raises:
            ModelError: the module's own code fails.
        """
        try:
            with float64_default(), Widening():  # type: ignore[no-untyped-call]
                return self.module(x)
        except RobenchError:
            raise
        except Exception as error:  # user code: anything
            raise ModelError(
                f"the model fails in float64: {type(error).__name__}: {first_line(error)}",
                hint="its `forward` must run on float64 inputs too, for one input as for several",
            ) from None


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says anything."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
