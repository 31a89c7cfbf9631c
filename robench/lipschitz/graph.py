"""Modules of any other kind, through the graph of ATen operations that torch.export makes of them."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import AuditError
from robench.lipschitz.signals import View
from robench.lipschitz.trace import MODULE_RULES, Trace, Value, qualified_name, rule_of
from robench.lipschitz.twins import Twins

_LIBRARY: Any = torch.library.Library("robench", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("registered(Tensor x, str path) -> Tensor")
_REGISTERED: dict[str, Callable[[Tensor], Tensor]] = {}
_SHAPES: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {}


def _run(x: Tensor, path: str) -> Tensor:
    return _REGISTERED[path](x)


def _shape(x: Tensor, path: str) -> Tensor:
    return x.new_empty(_SHAPES[path, tuple(x.shape)])


_LIBRARY.impl("registered", _run, "CompositeExplicitAutograd")
_LIBRARY.impl("registered", _shape, "Meta")


def walk_exported(trace: Trace, module: nn.Module, view: View) -> Value:
    """What a module makes of a view, operation by operation of its exported graph.

    Raises:
        AuditError: the module cannot be exported, or an operation has no rule.
    """
    leaves = {
        path: child
        for path, child in module.named_modules()
        if path and rule_of(child) is not None and type(child).__module__.split(".")[0] != "torch"
    }
    forwards = {path: child.forward for path, child in leaves.items()}
    try:
        for path, child in leaves.items():
            _REGISTERED[path] = forwards[path]
            child.forward = _recording(path, forwards[path])
        with torch.no_grad():
            module(view.zero)
        for path, child in leaves.items():
            child.forward = _opaque(path)
        program = _export(trace, module, view.zero)
        interpreter = Interpreter(trace, program, leaves, forwards)
        trace.steps.append(interpreter.run)
        return interpreter.run(view, _twins(trace, program, view, leaves))
    finally:
        for child in leaves.values():
            del child.forward
        _REGISTERED.clear()
        _SHAPES.clear()


def _twins(trace: Trace, program: Any, view: View, leaves: Iterable[str]) -> Twins | None:
    """The same module as it is deployed, recorded in float32."""
    if trace.deployed is None:
        return None
    module = trace.deployed.get_submodule(".".join(trace.path))
    children = {path: module.get_submodule(path) for path in leaves}
    try:
        for path, child in children.items():
            child.forward = _opaque(path)
        narrow = _export(trace, module, view.zero.float())
    except AuditError as error:
        trace.refuse_float32(f"the float32 network cannot be traced: {error}")
        return None
    finally:
        for child in children.values():
            vars(child).pop("forward", None)
    return Twins(trace, program.graph.nodes, narrow.graph.nodes, _given(narrow))


def _given(program: Any) -> dict[torch.fx.Node, Tensor]:
    """Parameters, buffers and other constants that nodes stand for."""
    signature, held = program.graph_signature, {**program.state_dict, **program.constants}
    sources = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    named = {node: held[sources[node.name]] for node in program.graph.nodes if node.name in sources}
    fixed = [node for node in program.graph.nodes if node.op == "get_attr"]
    return named | {node: getattr(program.graph_module, node.target) for node in fixed}


def _recording(path: str, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def record(x: Tensor) -> Tensor:
        result = forward(x)
        _SHAPES[path, tuple(x.shape)] = tuple(result.shape)
        return result

    return record


def _opaque(path: str) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.ops.robench.registered(x, path)


def _export(trace: Trace, module: nn.Module, example: Tensor) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(module, (example,), strict=False)
            return program.run_decompositions({}) if _mutates(program) else program
        except AuditError:
            raise
        except Exception as error:  # torch raises many kinds here, all of them about the user's code
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise AuditError(
                f"`{trace.where}` cannot be traced by torch.export: {reason}",
                hint="its control flow or operations depend on values of the input; write it with plain tensor "
                "operations, or register a rule for it: `robench.lipschitz.register(YourLayer)`",
            ) from None


def _mutates(program: Any) -> bool:
    """Whether an operation works in place, so that the graph must be made functional first (which takes longer)."""
    schemas = (getattr(node.target, "_schema", None) for node in program.graph.nodes if node.op == "call_function")
    return any(schema is not None and schema.is_mutable for schema in schemas)


class Interpreter:
    """Runs the rules over an exported program.

    Args:
        trace: the walk.
        program: what torch.export made.
        leaves: registered modules inside, by path.
        forwards: their own forwards, put back while a rule runs.
    """

    def __init__(
        self, trace: Trace, program: Any, leaves: dict[str, nn.Module], forwards: dict[str, Callable[[Tensor], Tensor]]
    ) -> None:
        self._trace = trace
        self._program = program
        self._leaves = leaves
        self._forwards = forwards

    def run(self, view: View | Tensor, twins: Twins | None = None) -> Value:
        """The value of the output: abstract for a view, computed for a batch of inputs."""
        signature = self._program.graph_signature
        if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
            state = sorted(signature.buffers_to_mutate.values())
            raise AuditError(
                f"`{self._trace.where}` changes its own state when it runs: {state}",
                hint="call `model.eval()`, or export the model to layers without a state",
            )
        values: dict[Any, Value] = dict(_given(self._program))
        base = list(self._trace.path)
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                values.setdefault(node, view)
            elif node.op == "output":
                result = self._resolve(node.args[0], values)
                self._trace.path[:] = base
                return result
            elif node.op == "call_function" and "_assert" not in str(node.target):  # checks of shapes compute nothing
                self._trace.path[:] = base + _module_path(node)
                values[node] = self._call(node, values)
            if twins is not None and node in values:
                twins.follow(node, values[node])
        raise AssertionError("an exported graph has an output")

    def _call(self, node: Any, values: dict[Any, Value]) -> Value:
        args = tuple(self._resolve(value, values) for value in node.args)
        kwargs = {key: self._resolve(value, values) for key, value in node.kwargs.items()}
        if node.target is operator.getitem:
            return args[0][args[1]]
        if node.target is torch.ops.robench.registered.default:
            return self._registered(args[0], args[1])
        if not isinstance(node.target, torch._ops.OpOverload):
            raise AuditError(
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
            self._trace.path[:] = path.split(".")
            return MODULE_RULES[qualified_name(type(module))](self._trace, module, value)
        finally:
            module.forward = opaque

    def _resolve(self, value: Any, values: dict[Any, Value]) -> Value:
        if isinstance(value, torch.fx.Node):
            return values[value]
        if isinstance(value, list | tuple):
            return [self._resolve(item, values) for item in value]
        return value


def _module_path(node: Any) -> list[str]:
    """Dotted path of the module that an operation came from, relative to the exported one."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return [part for part in stack[-1][0].split(".") if part] if stack else []
