"""The walk through a module of any kind, by the graph of ATen operations that a run of it makes."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import BoundError
from robench.lipschitz.trace.functional import functional
from robench.lipschitz.trace.idioms import recognised
from robench.lipschitz.trace.leaves import opaque, running
from robench.lipschitz.trace.operations import replaced
from robench.lipschitz.trace.recording import AS_IT_IS, WIDE, Precision, record
from robench.lipschitz.trace.rulebook import qualified_name
from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.trace import Trace
from robench.lipschitz.trace.twins import Twins
from robench.lipschitz.trace.unstacking import unstacked
from robench.lipschitz.trace.values import Value
from robench.models.networks.widened import float64_default


def walk_recorded(trace: Trace, module: nn.Module, view: View) -> Value:
    """What a module makes of a view, operation by operation of its recorded graph.

    Args:
        trace: where signals go.
        module: in float64.
        view: what it is given.

    Raises:
        BoundError: the module cannot be recorded, or an operation has no rule.
    """
    leaves = {path: child for path, child in module.named_modules() if path and _is_leaf(trace, child)}
    forwards = {path: child.forward for path, child in leaves.items()}
    with running(forwards), opaque(leaves):
        interpreter = Interpreter(trace, _graph(trace, module, view.zero, WIDE), leaves, forwards)
        trace.steps.append(interpreter.run)
        return interpreter.run(view, _twins(trace, interpreter.graph, view, leaves))


def _is_leaf(trace: Trace, module: nn.Module) -> bool:
    """Whether a module is one operation of the graph; layers of torch are recorded like all else."""
    return trace.rules.rule_of(module) is not None and type(module).__module__.split(".")[0] != "torch"


def _graph(trace: Trace, module: nn.Module, example: Tensor, precision: Precision) -> torch.fx.GraphModule:
    recorded = record(module, example, trace.where, precision, trace.rules)
    return unstacked(recognised(functional(recorded, example, trace.where, precision.default)))


def _twins(trace: Trace, graph: torch.fx.GraphModule, view: View, leaves: Iterable[str]) -> Twins | None:
    """The same module as it is deployed, recorded in float32."""
    module, example = trace.deployed.module_at(trace.path), view.zero.float()
    if module is None:
        return None
    try:
        with opaque({path: module.get_submodule(path) for path in leaves}):
            with torch.no_grad(), contextlib.suppress(Exception):
                module(example)  # as the model was asked before it was recorded: caches are filled
            narrow = _graph(trace, module, example, AS_IT_IS)
    except BoundError as error:
        trace.refuse_float32(f"the float32 network cannot be traced: {error}")
        return None
    return Twins(trace, graph.graph.nodes, narrow.graph.nodes, _constants(narrow))


def _constants(graph: torch.fx.GraphModule) -> dict[torch.fx.Node, Tensor]:
    """Parameters, buffers and other constants that nodes stand for."""
    fixed = [node for node in graph.graph.nodes if node.op == "get_attr"]
    return {node: operator.attrgetter(str(node.target))(graph) for node in fixed}


class Interpreter:
    """Runs the rules over a recorded graph.

    Args:
        trace: the walk.
        graph: one placeholder, ATen operations, one output.
        leaves: registered modules inside, by path.
        forwards: their own forwards, put back while a rule runs.
    """

    def __init__(
        self,
        trace: Trace,
        graph: torch.fx.GraphModule,
        leaves: dict[str, nn.Module],
        forwards: dict[str, Callable[[Tensor], Tensor]],
    ) -> None:
        self._trace = trace
        self.graph = graph
        self._leaves = leaves
        self._forwards = forwards

    def run(self, view: View | Tensor, twins: Twins | None = None) -> Value:
        """The value of the output: abstract for a view, computed for a batch of inputs."""
        values: dict[Any, Value] = dict(_constants(self.graph))
        base = self._base = list(self._trace.path)
        with float64_default():
            for node in self.graph.graph.nodes:
                if node.op == "placeholder":
                    values[node] = view
                elif node.op == "output":
                    result = replaced(node.args[0], torch.fx.Node, values.__getitem__)
                    self._trace.path[:] = base
                    return result
                elif node.op == "call_function" and "_assert" not in str(node.target):  # checks compute nothing
                    self._trace.path[:] = [*base, *node.meta.get("path", ())]
                    values[node] = self._call(node, values)
                if twins is not None and node in values:
                    twins.follow(node, values[node])
        raise AssertionError("a recorded graph has an output")

    def _call(self, node: Any, values: dict[Any, Value]) -> Value:
        args, kwargs = (replaced(given, torch.fx.Node, values.__getitem__) for given in (node.args, node.kwargs))
        if node.target is operator.getitem:
            return args[0][args[1]]
        if node.target is torch.ops.robench.registered.default:
            return self._registered(args[0], args[1])
        if not isinstance(node.target, torch._ops.OpOverload):
            raise BoundError(
                f"`{node.target}` in `{self._trace.where}` is not a tensor operation",
                hint="write the model without data-dependent control flow",
            )
        return self._trace.call(node.target, *args, **kwargs)

    def _registered(self, value: Value, path: str) -> Value:
        if not isinstance(value, View):
            return self._forwards[path](value)
        module = self._leaves[path]
        opaque = module.forward
        module.forward = self._forwards[path]
        try:
            self._trace.path[:] = [*self._base, *path.split(".")]
            return self._trace.rules.modules[qualified_name(type(module))](self._trace, module, value)
        finally:
            module.forward = opaque
