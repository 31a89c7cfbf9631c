"""A recorded graph without operations in place."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from robench.errors import BoundError, RobenchError
from robench.lipschitz.trace.operations import is_composite, is_mutable
from robench.models.networks.widened import first_line
from robench.models.silence import torch_silenced


def functional(
    graph: torch.fx.GraphModule, example: Tensor, where: str, default: Callable[[], AbstractContextManager[None]]
) -> torch.fx.GraphModule:
    """The graph without operations in place.

    torch.export keeps operations that are made of others, which may have rules, but is slow to load and to run. Where
    it would keep none, torch.func gives the same graph in less time.

    Args:
        graph: as recorded.
        example: of its input.
        where: name of the module, for errors.
        default: a context in which constants without a dtype are made.

    Raises:
        BoundError: torch cannot follow what is written.
    """
    operations = [node.target for node in graph.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    if not any(map(is_mutable, operations)):
        return graph
    with torch_silenced(), _readable_switches(), default():
        try:
            return (_exported if any(map(_is_kept_whole, operations)) else _run_again)(graph, example)
        except RobenchError:
            raise
        except Exception as error:  # torch raises many kinds here
            raise BoundError(
                f"`{where}` changes tensors in place in a way that cannot be followed: {first_line(error)}",
                hint="write it without operations in place, or register a rule for the module: "
                "`robench.lipschitz.register(YourLayer)`",
            ) from None


def _is_kept_whole(target: torch._ops.OpOverload) -> bool:
    """Whether torch.export keeps an operation that is made of others: it takes apart those that may alias."""
    return is_composite(target) and all(argument.alias_info is None for argument in target._schema.arguments)


def _exported(graph: torch.fx.GraphModule, example: Tensor) -> torch.fx.GraphModule:
    program = torch.export.export(graph, (example,), strict=False).run_decompositions({})
    guards = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
    result: torch.fx.GraphModule = program.module(**guards)
    return result


def _run_again(graph: torch.fx.GraphModule, example: Tensor) -> torch.fx.GraphModule:
    from torch.fx.experimental.proxy_tensor import make_fx

    result: torch.fx.GraphModule = make_fx(torch.func.functionalize(graph, remove="mutations"))(example)
    return result


@contextlib.contextmanager
def _readable_switches() -> Iterator[None]:
    """Let torch.export read its old switch of TF32, which torch refuses where the new ones contradict it."""
    cudnn: Any = torch.backends.cudnn
    try:
        contradicted = cudnn.allow_tf32 is None
    except RuntimeError:
        contradicted = True  # the old one is on, the new ones are off
    kinds = (cudnn.conv, cudnn.rnn) if contradicted else ()
    before = [kind.fp32_precision for kind in kinds]
    if contradicted:
        cudnn.allow_tf32 = False
    try:
        yield
    finally:
        if contradicted:
            cudnn.allow_tf32 = True
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision
