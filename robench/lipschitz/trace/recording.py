"""Records what a module's `forward` computes as a graph of ATen operations.

The module runs on the input 0 with its real parameters and buffers. A branch on these is taken as the model takes it;
only a value of the *input* is out of reach, as tensors that are computed in the run hold no data that Python could see
(docs/design/0011-tracing.md §2).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import TorchDispatchMode

from robench.errors import BoundError, RobenchError
from robench.lipschitz.trace.rulebook import Rulebook
from robench.lipschitz.trace.trace import operation_name
from robench.models.networks.held import held_values
from robench.models.networks.widened import first_line, float32_default, float64_default, wide_argument

REPLACE = "replace it with a Lipschitz layer, or register a rule for a module: `robench.lipschitz.register(YourLayer)`"
METADATA = frozenset(("is_same_size", "is_floating_point", "is_complex", "is_signed", "size", "stride", "dim", "numel"))
"""Operations that answer about a tensor without looking at its values."""
FILLED: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("aten.zeros_like", "aten.new_zeros"), lambda args: 0),
    **dict.fromkeys(("aten.ones_like", "aten.new_ones"), lambda args: 1),
    "aten.full_like": lambda args: args[1],
    "aten.new_full": lambda args: args[2],
    **dict.fromkeys(("aten.empty_like", "aten.new_empty", "aten.empty"), lambda args: 0),
}
"""Operations that take no more of a tensor than its shape and dtype, and what they fill the result with.

Memory that is not filled holds anything; a model whose output depends on that is no function, so 0 will do.
"""
OVERWRITING = frozenset(("aten.copy_", "aten.fill_", "aten.zero_"))
"""Operations in place that leave nothing of what was there."""


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


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Builds the graph while the module runs.

    Args:
        where: name of the module, for errors.
        state: tensors that the module keeps, by name.
        convert: what becomes of arguments before an operation runs.
        rules: of which it keeps the operations whole; others are taken apart where they are made of several.

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
        self._constants: dict[int, tuple[Tensor, Traced]] = {}
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
        self._graph.output(_nodes(output))
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
            known = self._constants[id(old)][1].known
            after = new.known if isinstance(new, Traced) else new
            same = after is not None and after.shape == known.shape and torch.equal(self._convert(after), known)
            if not same or _storage(self._convert(after)) in self._input_storages:
                self._changed[self._constants[id(old)][1].node] = name

    def _live(self) -> set[torch.fx.Node]:
        """Nodes that the output depends on, those that write into what it depends on included."""
        live: set[torch.fx.Node] = set()
        storages: set[int] = set()
        size = -1
        while len(live) != size:
            size = len(live)
            for node in reversed(self._graph.nodes):
                writes = node.op == "call_function" and _mutable(node.target)
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
        inside = [self._constant(value) for value in _tensors((args, kwargs))]
        dependent = any(_storage(value.known) in self._input_storages for value in inside)
        returns, written = func._schema.returns, _written(func, args, kwargs)
        if not written and not any("Tensor" in str(value.type) for value in returns):
            return self._plain(func, args, kwargs, dependent)
        if name in FILLED and (dependent or name == "aten.empty"):
            size, value = list(func(*self._known(args), **self._known(kwargs)).shape), FILLED[name](args)
            known = func(*self._known(args), **self._known(kwargs)).fill_(value)
            options = {"dtype": known.dtype}
            node = self._graph.call_function(torch.ops.aten.full.default, (size, value), options)
            return self._traced(known, node)
        if dependent and name not in self.rules.operations and name not in self.rules.reasons and _composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        for value in written:
            self._prepare_write(value, wholly=name in OVERWRITING)
        node = self._graph.call_function(func, tuple(self._arguments(args)), self._arguments(kwargs))
        node.meta["path"] = tuple(self.path)
        known = func(*self._known(args), **self._known(kwargs))
        if name == "aten.lift_fresh":
            known = known.clone()  # a literal of the program is no state of the model
        if written:
            target = self._constant(written[0])
            self._storages[node] = _storage(target.known)
            if dependent:
                self._input_storages.add(_storage(target.known))
            return written[0]
        return self._results(known, node, dependent)

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
            self._constants[id(value)] = (value, self._traced(known, self._graph.get_attr(name)))
            self._state_storages.add(_storage(known))
        return self._constants[id(value)][1]

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
        self._constants[id(value)] = (value, self._traced(traced.known.clone(), node))

    def state_refusal(self, what: str) -> BoundError:
        """The run changes a state that its output depends on."""
        return BoundError(
            f"`{self._at}` changes its own state when it runs: {what}; so it is another function each time",
            hint="keep the state fixed in evaluation mode: a certificate holds for one function",
        )

    def _arguments(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._constant(value).node
        if isinstance(value, dict):
            return {key: self._arguments(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._arguments(item) for item in value]
        return value

    def _known(self, value: Any) -> Any:
        """Real tensors in the place of those of the run."""
        if isinstance(value, Tensor):
            return self._constant(value).known
        if isinstance(value, dict):
            return {key: self._known(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._known(item) for item in value]
        return value


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _nodes(value: Any) -> Any:
    """The output, with nodes for tensors."""
    if isinstance(value, Traced):
        return value.node
    if isinstance(value, list | tuple):
        return [_nodes(item) for item in value]
    return None


def _composite(func: Any) -> bool:
    """Whether an operation is made of others."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


def _mutable(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and schema.is_mutable


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes to."""
    if not func._schema.is_mutable:
        return []
    found: list[Tensor] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = kwargs.get(argument.name, args[position] if position < len(args) else None)
            found.extend(_tensors(value))
    return found


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
    before = [
        (child, vars(child).copy(), child._buffers.copy(), child._parameters.copy()) for child in module.modules()
    ]
    recorder, given = Recorder(where, _state(module), precision.convert, rules), example.clone()
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # it hides the operations
        with torch.inference_mode(), precision.default(), _no_autocast(where), _paths(module, recorder), recorder:
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
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
        for child, attributes, buffers, parameters in before:
            vars(child).clear()
            vars(child).update(attributes)
            child._buffers.clear()
            child._buffers.update(buffers)
            child._parameters.clear()
            child._parameters.update(parameters)


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
