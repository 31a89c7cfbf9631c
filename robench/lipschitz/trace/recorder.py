"""Writes down the ATen operations of a run as a graph, and keeps values of the input out of reach of the program.

Values of the *input* are out of reach because tensors that are computed in the run hold no data that Python could see
(docs/design/0011-tracing.md §2).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robench.errors import BoundError
from robench.lipschitz.trace.operations import (
    FILLED,
    METADATA,
    OVERWRITING,
    is_composite,
    is_mutable,
    operation_name,
    replaced,
    tensors_in,
    written,
)
from robench.lipschitz.trace.rulebook import Rulebook


class Traced(Tensor):
    """A tensor of the run: its shape and type are the real ones, its values are in the recorder's hands alone."""

    known: Tensor
    node: torch.fx.Node

    @staticmethod
    def __new__(cls, known: Tensor, node: torch.fx.Node) -> Traced:
        """Around a real tensor."""
        with torch.inference_mode(False):  # as its views are made by torch like those of parameters
            traced: Traced = Tensor._make_wrapper_subclass(
                cls, known.shape, known.stride(), known.storage_offset(), dtype=known.dtype, device=known.device
            )
        traced.known, traced.node = known, node
        return traced

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise BoundError(
            f"`{operation_name(func)}` is run on a value that was kept from another evaluation",
            hint="keep nothing between evaluations that depends on the input",
        )


class _Kept(NamedTuple):
    """A tensor that was there before the run (held, so that its id stays its own), and what stands for it."""

    own: Tensor
    traced: Traced


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Builds the graph while the module runs.

    Args:
        where: name of the module, for errors.
        state: tensors that the module keeps, by name.
        convert: what becomes of arguments before an operation runs.
        rules: operations that have a rule are kept whole; others are taken apart where they are made of several.

    Fields:
        path: names of the modules around the operation that runs now, relative to the recorded one.
    """

    def __init__(self, where: str, state: dict[str, Tensor], convert: Callable[[Any], Any], rules: Rulebook) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rules = rules
        self.path: list[str] = []
        self._where = where
        self._convert = convert
        self._graph = torch.fx.Graph()
        self._root = nn.Module()
        self._before = state
        self._names = {id(value): name for name, value in state.items()}
        self._constants: dict[int, _Kept] = {}
        self._changed: dict[torch.fx.Node, str] = {}
        self._input_storages: set[int] = set()
        self._state_storages: set[int] = set()
        self._storages: dict[torch.fx.Node, int] = {}
        self._alive: list[Tensor] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def start(self, example: Tensor) -> Traced:
        """The input, which the graph copies first: the module may write into what it is given."""
        copied = self._graph.call_function(torch.ops.aten.clone.default, (self._graph.placeholder("x"),))
        traced = self._traced(example, copied)
        self._input_storages.add(_storage(traced.known))
        return traced

    def finish(self, output: Any, state: dict[str, Tensor]) -> torch.fx.GraphModule:
        """The graph, without what its output does not depend on.

        Args:
            output: of the run.
            state: after the run, as it was given before it.

        Raises:
            BoundError: the output depends on a state that the run changes.
        """
        if isinstance(output, Tensor):
            output = self._constant(output)
        self._graph.output(_nodes_of(output))
        live = self._live()
        for node in reversed(self._graph.nodes):
            if node not in live and node.op not in ("placeholder", "output"):
                self._graph.erase_node(node)
        self._note_replaced(state)
        for node, name in self._changed.items():
            if node in live:
                raise self.state_refusal(f"`{name}`, which its output depends on")
        for name, known in list(self._root.named_buffers()):
            if known.is_inference():  # made in the run without an operation, as of an array of numpy: no gradient
                self._root.register_buffer(name, known.clone())
        return torch.fx.GraphModule(self._root, self._graph)

    def _note_replaced(self, state: dict[str, Tensor]) -> None:
        """Tensors that the run put another one in the place of."""
        for name, old in self._before.items():
            new = state.get(name)
            if new is old or id(old) not in self._constants:
                continue
            traced = self._constants[id(old)].traced
            known = traced.known
            after = new.known if isinstance(new, Traced) else new
            same = after is not None and after.shape == known.shape and torch.equal(self._convert(after), known)
            if not same or _storage(self._convert(after)) in self._input_storages:
                self._changed[traced.node] = name

    def _live(self) -> set[torch.fx.Node]:
        """Nodes that the output depends on, those that write into what it depends on included."""
        live: set[torch.fx.Node] = set()
        storages: set[int] = set()
        size = -1
        while len(live) != size:
            size = len(live)
            for node in reversed(self._graph.nodes):
                writes = node.op == "call_function" and is_mutable(node.target)
                if node.op == "output" or node in live or (writes and self._storages.get(node) in storages):
                    live.add(node)
                    live.update(node.all_input_nodes)
                    storages.update(self._storages[each] for each in node.all_input_nodes if each in self._storages)
        return live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = tuple(self._convert(args))
        kwargs = {key: self._convert(value) for key, value in (kwargs or {}).items()}
        name = operation_name(func)
        if name == "aten.detach_":
            return args[0]  # there is no history to forget
        if any(isinstance(value, torch.Generator) for value in kwargs.values()):
            raise BoundError(
                f"`{name}` in `{self._at}` is random: it draws numbers each time that the model runs",
                hint="switch it off in evaluation mode; numbers that are drawn once belong into a buffer",
            )
        inside = [self._constant(value) for value in tensors_in((args, kwargs))]
        dependent = any(_storage(value.known) in self._input_storages for value in inside)
        targets = written(func, args, kwargs)
        if not targets and not any("Tensor" in str(value.type) for value in func._schema.returns):
            return self._plain(func, args, kwargs, dependent)
        if name in FILLED and (dependent or name == "aten.empty"):
            return self._filled(func, args, kwargs)
        if dependent and name not in self.rules.operations and name not in self.rules.reasons and is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        for target in targets:
            self._prepare_write(target, wholly=name in OVERWRITING)
        node = self._graph.call_function(func, tuple(self._arguments(args)), self._arguments(kwargs))
        node.meta["path"] = tuple(self.path)
        known = func(*self._known(args), **self._known(kwargs))
        if name == "aten.lift_fresh":
            known = known.clone()  # a literal of the program is no state of the model
        if targets:
            return self._overwritten(targets[0], node, dependent)
        return self._results(known, node, dependent)

    def _filled(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A constant of the shape of a tensor, of which the operation takes nothing else."""
        known, value = func(*self._known(args), **self._known(kwargs)), FILLED[operation_name(func)](args)
        size, options = list(known.shape), {"dtype": known.dtype}
        node = self._graph.call_function(torch.ops.aten.full.default, (size, value), options)
        return self._traced(known.fill_(value), node)

    def _overwritten(self, target: Tensor, node: torch.fx.Node, dependent: bool) -> Tensor:
        """A tensor that was written to."""
        storage = _storage(self._constant(target).known)
        self._storages[node] = storage
        if dependent:
            self._input_storages.add(storage)
        return target

    @property
    def _at(self) -> str:
        return ".".join(self.path) or self._where

    def _plain(self, func: Any, args: Any, kwargs: Any, dependent: bool) -> Any:
        """A number or a truth value, which leaves torch."""
        if dependent and func._schema.returns and operation_name(func).split(".")[-1] not in METADATA:
            raise BoundError(
                f"`{self._at}` uses values of the input in Python (`{operation_name(func)}`): a branch on them, or a "
                "number taken from them",
                hint="write it with plain tensor operations, such as torch.where or torch.maximum, or register a rule "
                "for the module: `robench.lipschitz.register(YourLayer)`",
            )
        return func(*self._known(args), **self._known(kwargs))

    def _results(self, known: Any, node: torch.fx.Node, dependent: bool) -> Any:
        if isinstance(known, Tensor):
            if dependent:
                self._input_storages.add(_storage(known))
            return self._traced(known, node)
        if isinstance(known, list | tuple):
            items = []
            for position, item in enumerate(known):
                part = self._graph.call_function(operator.getitem, (node, position))
                items.append(self._results(item, part, dependent))
            return type(known)(items) if type(known) in (list, tuple) else tuple(items)
        return known

    def _traced(self, known: Tensor, node: torch.fx.Node) -> Traced:
        self._storages[node] = _storage(known)
        self._alive.append(known)
        traced = Traced(known, node)
        self._alive.append(traced)
        return traced

    def _constant(self, value: Tensor) -> Traced:
        """The tensor of the run that stands for a tensor."""
        if isinstance(value, Traced):
            return value
        if id(value) not in self._constants:
            name = f"constant_{len(self._constants)}"
            known = self._convert(value.detach())
            self._root.register_buffer(name, known)
            self._constants[id(value)] = _Kept(value, self._traced(known, self._graph.get_attr(name)))
            self._state_storages.add(_storage(known))
        return self._constants[id(value)].traced

    def _prepare_write(self, value: Tensor, *, wholly: bool) -> None:
        """Writing to what was there before the run is done to a copy, so that the model keeps its state."""
        traced = self._constant(value)
        if _storage(traced.known) not in self._state_storages:
            return
        if isinstance(value, Traced):
            raise self.state_refusal("a tensor that it shows in part")
        if wholly:
            shape, dtype = list(traced.known.shape), traced.known.dtype
            node = self._graph.call_function(torch.ops.aten.zeros.default, (shape,), {"dtype": dtype})
        else:
            node = self._graph.call_function(torch.ops.aten.clone.default, (traced.node,))
        node.meta["path"] = tuple(self.path)
        self._changed[traced.node] = self._names.get(id(value), "a tensor")
        self._constants[id(value)] = _Kept(value, self._traced(traced.known.clone(), node))

    def state_refusal(self, what: str) -> BoundError:
        """The run changes a state that its output depends on."""
        return BoundError(
            f"`{self._at}` changes its own state when it runs: {what}; so it is another function each time",
            hint="keep the state fixed in evaluation mode: a certificate is about one function",
        )

    def _arguments(self, value: Any) -> Any:
        """Nodes in the place of tensors."""
        return replaced(value, Tensor, lambda tensor: self._constant(tensor).node)

    def _known(self, value: Any) -> Any:
        """Real tensors in the place of those of the run."""
        return replaced(value, Tensor, lambda tensor: self._constant(tensor).known)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _nodes_of(value: Any) -> Any:
    """The output, with nodes for tensors."""
    if isinstance(value, Traced):
        return value.node
    if isinstance(value, list | tuple):
        return [_nodes_of(item) for item in value]
    return None
