"""Modules of any other kind, through the graph of ATen operations that a run of them makes."""

from __future__ import annotations

import contextlib
import inspect
import logging
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import BoundError, RobenchError
from robench.lipschitz.trace.recording import AS_IT_IS, WIDE, record
from robench.lipschitz.trace.rulebook import qualified_name
from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.trace import Trace
from robench.lipschitz.trace.twins import Twins
from robench.lipschitz.trace.values import Value
from robench.models.networks.widened import Widening, first_line, float64_default

_LIBRARY: Any = torch.library.Library("robench", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("registered(Tensor x, str path) -> Tensor")
_REGISTERED: dict[str, Callable[[Tensor], Tensor]] = {}
_SHAPES: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {}


def _run(x: Tensor, path: str) -> Tensor:
    with Widening() if x.dtype == torch.float64 else contextlib.nullcontext():  # type: ignore[no-untyped-call]
        result = _REGISTERED[path](x)
    _SHAPES[path, tuple(x.shape)] = tuple(result.shape)
    return result


def _shape(x: Tensor, path: str) -> Tensor:
    return x.new_empty(_SHAPES[path, tuple(x.shape)])


_LIBRARY.impl("registered", _run, "CompositeExplicitAutograd")
_LIBRARY.impl("registered", _shape, "Meta")


def walk_recorded(trace: Trace, module: nn.Module, view: View) -> Value:
    """What a module makes of a view, operation by operation of its recorded graph.

    Raises:
        BoundError: the module cannot be recorded, or an operation has no rule.
    """
    leaves = {
        path: child
        for path, child in module.named_modules()
        if path and trace.rules.rule_of(child) is not None and type(child).__module__.split(".")[0] != "torch"
    }
    forwards = {path: child.forward for path, child in leaves.items()}
    try:
        for path, child in leaves.items():
            _REGISTERED[path] = forwards[path]
            child.forward = _opaque(path)
        graph = _functional(trace, record(module, view.zero, trace.where, WIDE, trace.rules), view.zero)
        interpreter = Interpreter(trace, graph, leaves, forwards)
        trace.steps.append(interpreter.run)
        return interpreter.run(view, _twins(trace, graph, view, leaves))
    finally:
        for child in leaves.values():
            del child.forward
        _REGISTERED.clear()
        _SHAPES.clear()


def _twins(trace: Trace, graph: torch.fx.GraphModule, view: View, leaves: Iterable[str]) -> Twins | None:
    """The same module as it is deployed, recorded in float32."""
    if trace.deployed is None:
        return None
    module, example = trace.deployed.get_submodule(".".join(trace.path)), view.zero.float()
    children = {path: module.get_submodule(path) for path in leaves}
    try:
        for path, child in children.items():
            child.forward = _opaque(path)
        with torch.no_grad(), contextlib.suppress(Exception):
            module(example)  # as the model was asked before it was recorded: caches are filled
        narrow = _functional(trace, record(module, example, trace.where, AS_IT_IS, trace.rules), example)
    except BoundError as error:
        trace.refuse_float32(f"the float32 network cannot be traced: {error}")
        return None
    finally:
        for child in children.values():
            vars(child).pop("forward", None)
    return Twins(trace, graph.graph.nodes, narrow.graph.nodes, _given(narrow))


def _given(graph: torch.fx.GraphModule) -> dict[torch.fx.Node, Tensor]:
    """Parameters, buffers and other constants that nodes stand for."""
    fixed = [node for node in graph.graph.nodes if node.op == "get_attr"]
    return {node: operator.attrgetter(str(node.target))(graph) for node in fixed}


def _opaque(path: str) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.ops.robench.registered(x, path)


def _functional(trace: Trace, graph: torch.fx.GraphModule, example: Tensor) -> torch.fx.GraphModule:
    """The graph without operations in place, which torch.export takes out (it is slow to load: most do without)."""
    schemas = (getattr(node.target, "_schema", None) for node in graph.graph.nodes if node.op == "call_function")
    if not any(schema is not None and schema.is_mutable for schema in schemas):
        return graph
    with warnings.catch_warnings(), _silent_loggers():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(graph, (example,), strict=False).run_decompositions({})
            guards = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
            functional: torch.fx.GraphModule = program.module(**guards)
            return functional
        except RobenchError:
            raise
        except Exception as error:  # torch raises many kinds here
            raise BoundError(
                f"`{trace.where}` changes tensors in place in a way that cannot be followed: {first_line(error)}",
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
        self._graph = graph
        self._leaves = leaves
        self._forwards = forwards

    def run(self, view: View | Tensor, twins: Twins | None = None) -> Value:
        """The value of the output: abstract for a view, computed for a batch of inputs."""
        values: dict[Any, Value] = dict(_given(self._graph))
        base = self._base = list(self._trace.path)
        with float64_default():
            for node in self._graph.graph.nodes:
                if node.op == "placeholder":
                    values[node] = view
                elif node.op == "output":
                    result = self._resolve(node.args[0], values)
                    self._trace.path[:] = base
                    return result
                elif node.op == "call_function" and "_assert" not in str(node.target):  # checks compute nothing
                    self._trace.path[:] = [*base, *node.meta.get("path", ())]
                    values[node] = self._call(node, values)
                if twins is not None and node in values:
                    twins.follow(node, values[node])
        raise AssertionError("a recorded graph has an output")

    def _call(self, node: Any, values: dict[Any, Value]) -> Value:
        args = tuple(self._resolve(value, values) for value in node.args)
        kwargs = {key: self._resolve(value, values) for key, value in node.kwargs.items()}
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

    def _resolve(self, value: Any, values: dict[Any, Value]) -> Value:
        if isinstance(value, torch.fx.Node):
            return values[value]
        if isinstance(value, list | tuple):
            return [self._resolve(item, values) for item in value]
        return value
