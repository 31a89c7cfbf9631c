"""The walk through a model: containers and layers that have a rule directly, everything else as a recorded graph."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from robench.errors import BoundError
from robench.lipschitz.trace.rulebook import changed
from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.trace import Trace
from robench.lipschitz.trace.values import Squares, Value


def walk(trace: Trace, module: nn.Module, view: View) -> View:
    """The view that a module makes of a view.

    Args:
        trace: where signals go.
        module: in float64.
        view: what it is given.

    Raises:
        BoundError: an operation has no rule.
    """
    registered = trace.rules.rule_of(module)
    if registered is not None:
        trace.steps.append(module)
        return _single(trace, registered(trace, module, view))
    plain = (type(module).forward, type(module).__iter__) if isinstance(module, nn.Sequential) else None
    if plain == (nn.Sequential.forward, nn.Sequential.__iter__) and not changed(module):
        for name, child in module._modules.items():  # `named_children` names a module that is used twice only once
            trace.path.append(name)
            view = walk(trace, cast(nn.Module, child), view)
            trace.path.pop()
        return view
    from robench.lipschitz.trace.graph import walk_recorded  # defines an operation of torch: most models do without

    return _single(trace, walk_recorded(trace, module, view))


def _single(trace: Trace, value: Value) -> View:
    """The one view that a module must return, by itself or in a list."""
    match value[0] if isinstance(value, list | tuple) and len(value) == 1 else value:
        case View() as view:
            return view
        case Squares():
            what = "the square of a signal, which grows without bound"
        case Tensor():
            what = "a tensor that does not depend on the input"
        case list() | tuple():
            what = "several tensors"
        case _:
            what = "something without a Lipschitz bound"
    raise BoundError(f"`{trace.where}` returns {what}", hint="return one tensor of logits")
