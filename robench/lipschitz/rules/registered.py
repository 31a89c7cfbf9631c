"""Rules of users for layers of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import BoundError
from robench.lipschitz.norms.rounding import UNITS, rounding
from robench.lipschitz.rules.table import RULES
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.trace import Trace
from robench.models.networks.widened import Widened

USER_RULE_TERMS = 1 << 12
"""Operations an entry of a user's own layer is taken to cost, for its rounding error."""
SIZES = (0.0, 1e-3, 1.0, 1e3)
"""Of the inputs that a layer is tried with in float32."""


def register(kind: type[nn.Module]) -> Callable[[Callable[[Any, tuple[int, ...]], float]], Any]:
    """Register a rule for a layer of your own: it returns a proven upper bound of the layer's Lipschitz constant.

    Args:
        kind: the class of the layer; it must map one tensor to one tensor, each sample by itself.

    Examples:
        >>> class Halved(nn.Module):
        ...     def forward(self, x):
        ...         return x / 2
        >>> @register(Halved)
        ... def bound(layer, input_shape):  # input_shape without the batch
        ...     return 0.5
    """

    def add(function: Callable[[Any, tuple[int, ...]], float]) -> Callable[[Any, tuple[int, ...]], float]:
        def apply(trace: Trace, module: nn.Module, view: View) -> View:
            slope = float(function(module, view.shape[1:]))
            if not 0.0 <= slope < float("inf"):
                raise BoundError(
                    f"the rule for `{kind.__name__}` returned {slope}", hint="return a finite number, 0 or above"
                )
            zero = Widened(module)(view.zero)
            trace.deployed.refuse(_seen_apart(trace, module, view, slope, zero))
            operation = f"{kind.__name__} (registered)"  # never the name of an operation that other rules look for
            return trace.overlapping(Function(operation, slope, terms=_terms(view)), [view], zero)

        RULES.add(kind, apply)
        return function

    return add


def _terms(view: View) -> int:
    return max(view.size, USER_RULE_TERMS)


def _seen_apart(trace: Trace, module: nn.Module, view: View, slope: float, zero: Tensor) -> str:
    """Why the layer cannot be said to err as little in float32 as is taken: seen at a few inputs; else empty.

    A rule says nothing of constants that the layer computes inside.
    """
    narrow, wide = trace.deployed.module_at(trace.path), Widened(module)
    if narrow is None:
        return ""
    generator, factor = torch.Generator().manual_seed(0), rounding(_terms(view), UNITS["float32"])
    offset = float(torch.linalg.vector_norm(zero)) + 1e-15
    for size in SIZES:
        x = torch.randn(view.shape, generator=generator) * size
        try:
            apart = float(torch.linalg.vector_norm(narrow(x).double() - wide(x.double())))
        except Exception as error:  # user code: anything
            return f"`{trace.where}` fails there: {type(error).__name__}"
        if not apart <= factor * (slope * float(torch.linalg.vector_norm(x)) + offset):
            return f"`{trace.where}` gives results that are {apart:.3g} from those in float64"
    return ""
