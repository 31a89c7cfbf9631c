"""A module as a graph of ATen operations, in which the modules it calls stay modules.

So the last operations of a user's `forward` can be read and cut off, and what is before them is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from robench.models.networks.held import detached_copy
from robench.models.silence import torch_silenced

_LIBRARY: Any = torch.library.Library("robench_outline", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("child(Tensor x, str path) -> Tensor")
_FORWARDS: dict[str, Callable[[Tensor], Tensor]] = {}
_SHAPES: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {}
_LIBRARY.impl("child", lambda x, path: _FORWARDS[path](x), "CompositeExplicitAutograd")
_LIBRARY.impl("child", lambda x, path: x.new_empty((x.shape[0], *_SHAPES[path, tuple(x.shape[1:])])), "Meta")


class Outline(NamedTuple):
    """What a module does.

    Fields:
        module: of the same function, ending in `output`.
        output: the node that is returned.
        children: by node, the path of the module that is called there, and an example of its input.
    """

    module: fx.GraphModule
    output: fx.Node
    children: dict[fx.Node, tuple[str, Tensor]]

    def replace(self, node: fx.Node, child: nn.Module) -> fx.Node:
        """Call another module at a node; other calls of the module that was there stay."""
        path, example = self.children[node]
        shared = sum(other == path for other, _ in self.children.values()) > 1
        name = f"{path.replace('.', '_')}_last" if shared else path
        if not shared:
            self.module.delete_submodule(path)
        self.module.add_submodule(name, child)
        node.target = name
        self.children[node] = (name, example)
        return node


@torch.no_grad()
def outline(module: nn.Module, example: Tensor) -> Outline | None:
    """The graph of a module on batches like the example; None where torch.export cannot make one.

    Args:
        module: in evaluation mode; it is left as it is.
        example: (2, *shape).
    """
    with torch_silenced():  # about copies and exports
        try:
            traced = detached_copy(module)  # its forward may keep what it computes: tensors that are no numbers
            called = _called(traced, example)
            made = _exported(traced, example, called)
        except Exception:  # torch raises many kinds here, all of them about the user's code
            return None
    return _with_modules(module, made, called)  # after the modules have their own `forward` again


def _exported(module: nn.Module, example: Tensor, called: dict[str, list[Tensor]]) -> nn.Module:
    free = ({0: torch.export.Dim("batch")},)
    with _opaque(module, called):
        program = torch.export.export(module, (example,), dynamic_shapes=free, strict=False)
        if any(_mutates(node) for node in program.graph.nodes):
            program = program.run_decompositions({})
        return program.module(check_guards=False)


def cut(found: Outline, node: fx.Node) -> nn.Module:
    """The module that returns a node of the outline; a module that it calls, where that is all."""
    graph = found.module.graph
    (output,) = [other for other in graph.nodes if other.op == "output"]
    output.args = (node,)
    graph.eliminate_dead_code()
    if node.op == "call_module" and node.args[0].op == "placeholder":  # type: ignore[union-attr]
        return found.module.get_submodule(str(node.target))
    return fx.GraphModule(found.module, graph).eval().requires_grad_(False)


def _called(module: nn.Module, example: Tensor) -> dict[str, list[Tensor]]:
    """Paths of the modules that `forward` itself calls, on one tensor to one tensor, with the inputs they got."""
    seen: dict[str, list[Tensor]] = {}
    unfit: set[str] = set()
    depth = 0

    def recorder(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def record(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            depth += 1
            try:
                result = forward(*args, **kwargs)
            finally:
                depth -= 1
            if depth == 0:
                plain = len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and isinstance(result, Tensor)
                if plain and result.ndim and args[0].ndim and len(result) == len(args[0]) == len(example):
                    seen.setdefault(path, []).append(args[0])
                    _SHAPES[path, tuple(args[0].shape[1:])] = tuple(result.shape[1:])
                else:
                    unfit.add(path)
            return result

        return record

    changed = {path: child for path, child in module.named_modules() if path and not _inlined(child)}
    for path, child in changed.items():
        child.forward = recorder(path, child.forward)
    try:
        module(example)
    finally:
        for child in changed.values():
            del child.forward
    return {path: inputs for path, inputs in seen.items() if path not in unfit}


def _inlined(child: nn.Module) -> bool:
    """Modules that stay no modules: activations of torch, and what hooks or an own `forward` make another."""
    hooked = bool(child._forward_hooks or child._forward_pre_hooks or "forward" in vars(child))
    activation = type(child).__module__.startswith("torch.nn.") and not list(child.children())
    return hooked or (activation and not list(child.parameters()) and not list(child.buffers()))


@contextmanager
def _opaque(module: nn.Module, paths: dict[str, list[Tensor]]) -> Iterator[None]:
    changed = {path: module.get_submodule(path) for path in paths}

    def call(path: str) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.ops.robench_outline.child(x, path)

    try:
        for path, child in changed.items():
            _FORWARDS[path] = child.forward
            child.forward = call(path)
        yield
    finally:
        for child in changed.values():
            del child.forward
        _FORWARDS.clear()
        _SHAPES.clear()


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _with_modules(module: nn.Module, made: Any, called: dict[str, list[Tensor]]) -> Outline:
    """Calls of modules in the place of the operations that stood for them."""
    graph = made.graph
    graph.set_codegen(fx.graph.CodeGen())
    (output,) = [node for node in graph.nodes if node.op == "output"]
    value = output.args[0]
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
        output.args = (value,)
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            graph.erase_node(node)
    graph.eliminate_dead_code()
    plain = fx.GraphModule(made, graph)  # holds only what is used: no weights of the modules that are called
    children = {}
    for node in list(graph.nodes):
        if node.target is torch.ops.robench_outline.child.default:
            source, path = node.args
            name = path if not _taken(plain, path) else f"called_{path.replace('.', '_')}"
            plain.add_submodule(name, module.get_submodule(path))
            with graph.inserting_before(node):
                call = graph.call_module(name, (source,))
            call.meta = dict(node.meta)
            node.replace_all_uses_with(call)
            graph.erase_node(node)
            children[call] = (name, called[path][0])
    return Outline(plain, output.args[0], children)


def _taken(plain: nn.Module, path: str) -> bool:
    """Whether something else has the place, such as a weight of the module that is also read directly."""
    at: Any = plain
    for part in path.split("."):
        if not hasattr(at, part):
            return False
        at = getattr(at, part)
    return not isinstance(at, nn.Module) or type(at) is nn.Module
