"""What names, schemas and tags say of an operation of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

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


def operation_name(target: Any) -> str:
    """`aten.conv2d` for an overload or a packet of operations."""
    name = getattr(target, "overloadpacket", target)
    return str(name)


def is_composite(func: Any) -> bool:
    """Whether an operation is made of others."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


def is_mutable(target: Any) -> bool:
    """Whether an operation writes into something that it is given."""
    schema = getattr(target, "_schema", None)
    return schema is not None and schema.is_mutable


def written(func: Any, args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes to.

    Args:
        func: the operation.
        args: its arguments by position.
        kwargs: and by name.
    """
    if not func._schema.is_mutable:
        return []
    found: list[Tensor] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = kwargs.get(argument.name, args[position] if position < len(args) else None)
            found.extend(tensors_in(value))
    return found


def replaced(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """Nested arguments with other items in the place of those of a kind.

    Args:
        value: arguments, lists and dictionaries of them.
        kind: of the items.
        function: gives the other item.
    """
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, dict):
        return {key: replaced(item, kind, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(item, kind, function) for item in value]
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def is_random(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation draws random numbers, by its arguments: many do so in training mode alone.

    Args:
        target: the operation.
        args: its arguments by position.
        kwargs: and by name.
    """
    if torch.Tag.nondeterministic_seeded not in getattr(target, "tags", ()):
        return False
    given = {argument.name: value for argument, value in zip(target._schema.arguments, args, strict=False)}
    given |= kwargs
    switches = [given[name] for name in ("train", "training", "dropout", "dropout_p") if name in given]
    return all(switches) if switches else not _has_default_off(target)


def _has_default_off(target: Any) -> bool:
    """Whether an argument that makes an operation random was left at a default that does not."""
    names = ("train", "training", "dropout", "dropout_p")
    return any(
        argument.name in names and argument.has_default_value() and not argument.default_value
        for argument in target._schema.arguments
    )
