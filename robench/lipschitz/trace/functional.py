"""A recorded graph without operations in place."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from robench.errors import BoundError, RobenchError
from robench.lipschitz.trace.operations import is_mutable
from robench.models.networks.widened import first_line


def functional(graph: torch.fx.GraphModule, example: Tensor, where: str) -> torch.fx.GraphModule:
    """The graph without operations in place, which torch.export takes out (it is slow to load: most do without).

    Args:
        graph: as recorded.
        example: of its input.
        where: name of the module, for errors.

    Raises:
        BoundError: torch.export cannot follow what is written.
    """
    if not any(node.op == "call_function" and is_mutable(node.target) for node in graph.graph.nodes):
        return graph
    with warnings.catch_warnings(), _silent_loggers(), _readable_switches():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(graph, (example,), strict=False).run_decompositions({})
            guards = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
            result: torch.fx.GraphModule = program.module(**guards)
            return result
        except RobenchError:
            raise
        except Exception as error:  # torch raises many kinds here
            raise BoundError(
                f"`{where}` changes tensors in place in a way that cannot be followed: {first_line(error)}",
                hint="write it without operations in place, or register a rule for the module: "
                "`robench.lipschitz.register(YourLayer)`",
            ) from None


@contextlib.contextmanager
def _silent_loggers() -> Iterator[None]:
    """Keep torch from logging whole graphs where an export fails."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


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
