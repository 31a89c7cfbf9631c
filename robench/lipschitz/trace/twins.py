"""Constants that a network computes, in float32 as the deployed network does (docs/design/0008-float32.md §1).

The float32 network is recorded too. Its graph must be that of the float64 network, operation by operation; then each
operation on constants alone is run in both precisions, so it is known how far they are apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from robench.lipschitz.trace.operations import operation_name, replaced
from robench.lipschitz.trace.trace import Trace
from robench.lipschitz.trace.values import Number, Value, depends
from robench.models.networks.widened import float32_default

CASTS = frozenset(("aten._to_copy", "aten.to"))
FILLING = frozenset(("full_like", "zeros_like", "ones_like", "new_full", "new_zeros", "new_ones", "fill"))
"""Operations whose result has the shape of a tensor and nothing else of it."""
ASKING = frozenset((
    "add", "sub", "rsub", "mul", "div", "clamp", "clamp_min", "clamp_max", "hardtanh", "softshrink", "pad",
    "constant_pad_nd", "batch_norm", "robench.swish", "robench.erf_gate", "robench.hard_gate", "robench.elu", *FILLING,
))  # fmt: skip
"""Operations on the input that bound what another number in float32 changes."""
NEAR = 2.0**-16
"""Numbers that are further apart than this are those of another function."""


class Twins:
    """Follows the walk through a graph in that of the float32 network.

    Args:
        trace: where pairs of constants go, and why nothing can be said of float32, if so.
        wide: nodes of the float64 network's graph.
        narrow: nodes of the float32 network's graph.
        given: float32 constants that nodes stand for: parameters, buffers, attributes.
    """

    def __init__(
        self, trace: Trace, wide: Iterable[Any], narrow: Iterable[Any], given: dict[torch.fx.Node, Any]
    ) -> None:
        self._trace = trace
        self._values: dict[torch.fx.Node, Any] = dict(given)
        self._partners: dict[torch.fx.Node, torch.fx.Node] = {}
        own, other = ([node for node in nodes if _is_step(node)] for nodes in (wide, narrow))
        if [_shape(node) for node in own] != [_shape(node) for node in other]:
            trace.deployed.refuse_as_other_function(
                f"in `{trace.where}`, the float32 network runs other operations than the float64 one"
            )
            return
        self._partners.update(zip(own, other, strict=True))
        for node, partner in zip(own, other, strict=True):
            node.args, node.kwargs = _numbers(node.args, partner.args), _numbers(node.kwargs, partner.kwargs)
            # a tensor, or a cast that one graph has no need of, is what the other graph has in its place
            for each, twin in zip(_given(node, torch.fx.Node), _given(partner, torch.fx.Node), strict=True):
                self._partners.setdefault(each, twin)

    def follow(self, node: torch.fx.Node, value: Value) -> None:
        """Run the partner of a node that made this value, if it is a constant."""
        partner = self._partners.get(node)
        if partner is None:
            return
        filled = node.op == "call_function" and operation_name(node.target).removeprefix("aten.") in FILLING
        if (depends(value) or filled) and _is_step(node) and not _same_numbers(node, partner):
            self._trace.deployed.refuse_as_other_function(
                f"in `{self._trace.where}`, `{node.target}` is given another number there"
            )
        if filled:
            self._values[partner] = self._filled(node, partner, value)
        if not depends(value):
            self._pair(partner, value)

    def _filled(self, node: torch.fx.Node, partner: torch.fx.Node, value: Value) -> Any:
        numbers: list[Any] = [number.deployed for number in _given(node, Number)]
        numbers += [self._value(tensor) for tensor in _given(partner, torch.fx.Node)[1:]]
        narrow = value.to(torch.float32) if value.dtype == torch.float64 else value
        return torch.full_like(narrow, numbers[0]) if numbers else narrow

    def _pair(self, partner: torch.fx.Node, value: Value) -> None:
        try:
            self._trace.deployed.pair(value, self._value(partner))
        except Exception as error:  # torch raises many kinds; LinAlgError where a matrix is singular in float32
            self._trace.refuse_float32(f"`{partner.target}` fails there: {type(error).__name__}")

    def _value(self, node: torch.fx.Node) -> Any:
        if node not in self._values:
            target: Any = node.target
            with float32_default():  # in which an operation on integers gives its result
                args, kwargs = (replaced(given, torch.fx.Node, self._value) for given in (node.args, node.kwargs))
                self._values[node] = target(*args, **kwargs)
        return self._values[node]


def _is_step(node: torch.fx.Node) -> bool:
    """Whether a node does more than to name a tensor, cast between the two precisions, check, or return."""
    if node.op != "call_function" or "_assert" in str(node.target):
        return False
    kinds = _given(node, torch.dtype) if operation_name(node.target) in CASTS else []
    return not kinds or not all(kind in (torch.float32, torch.float64) for kind in kinds)


def _shape(node: torch.fx.Node) -> tuple[Any, int]:
    """What a node runs, and on how many tensors."""
    return node.target, len(_given(node, torch.fx.Node))


def _numbers(own: Any, other: Any) -> Any:
    """What a node is given, its numbers with those of the partner where they are nearly the same."""
    if isinstance(own, dict) and isinstance(other, dict) and own.keys() == other.keys():
        return {key: _numbers(value, other[key]) for key, value in own.items()}
    if isinstance(own, list | tuple) and isinstance(other, list | tuple) and len(own) == len(other):
        return type(own)(_numbers(*each) for each in zip(own, other, strict=True))
    near = isinstance(own, float) and isinstance(other, float) and math.isclose(own, other, rel_tol=NEAR, abs_tol=NEAR)
    if near and own != other:
        number = Number(own)
        number.deployed = other
        return number
    return own


def _same_numbers(node: torch.fx.Node, partner: torch.fx.Node) -> bool:
    """Whether both are given the same numbers, or nearly so by an operation whose rule asks for the other one."""
    own, other = _plain(node), _plain(partner)
    asks = operation_name(node.target).removeprefix("aten.") in ASKING
    return len(own) == len(other) and all(
        a == b or (asks and isinstance(a, Number)) for a, b in zip(own, other, strict=True)
    )


def _plain(node: torch.fx.Node) -> list[Any]:
    """Numbers and options that an operation is given, without precisions, which differ as they should."""
    return [
        leaf for leaf in _leaves((node.args, dict(node.kwargs))) if not isinstance(leaf, torch.fx.Node | torch.dtype)
    ]


def _given(node: torch.fx.Node, kind: type) -> list[Any]:
    """What an operation is given of some kind."""
    return [leaf for leaf in _leaves((node.args, dict(node.kwargs))) if isinstance(leaf, kind)]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
