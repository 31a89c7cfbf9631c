"""Constants that a network computes, in float32 as the deployed network does (docs/design/0008-float32.md §1).

The float32 network is recorded too. Its graph must be that of the float64 network, operation by operation; then each
operation on constants alone is run in both precisions, and the audit knows how far they are apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from robench.lipschitz.trace import Number, Trace, Value, depends, operation_name

NEAR = 2.0**-16
"""Numbers that are further apart than this are those of another function."""
ASKING = frozenset((
    "add", "sub", "rsub", "mul", "div", "clamp", "clamp_min", "clamp_max", "hardtanh", "softshrink", "pad",
    "constant_pad_nd", "batch_norm",
))  # fmt: skip
"""Operations on the input whose rules bound what another number in float32 changes."""


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
        own, other = (
            [node for node in nodes if node.op != "output" and "_assert" not in str(node.target)]
            for nodes in (wide, narrow)
        )
        same = [_operation(node) for node in own] == [_operation(node) for node in other]
        self._partners = dict(zip(own, other, strict=True)) if same else {}
        for node, partner in self._partners.items():
            node.args, node.kwargs = _numbers(node.args, partner.args), _numbers(node.kwargs, partner.kwargs)
        if not same:
            trace.refuse_float32("the float32 network runs other operations than the float64 one", branches=True)

    def follow(self, node: torch.fx.Node, value: Value) -> None:
        """Run the partner of a node that made this value, if it is a constant."""
        partner = self._partners.get(node)
        if partner is None:
            return
        if depends(value):
            if not _same_numbers(node, partner):
                self._trace.refuse_float32(
                    f"`{node.target}` is given another number there than in float64", branches=True
                )
            return
        if partner not in self._values:
            self._run(partner)
        if partner in self._values:
            self._trace.pair(value, self._values[partner])

    def _run(self, partner: torch.fx.Node) -> None:
        try:
            args, kwargs = self._resolve(partner.args), self._resolve(partner.kwargs)
            target: Any = partner.target
            self._values[partner] = target(*args, **kwargs)
        except Exception as error:  # torch raises many kinds; LinAlgError where a matrix is singular in float32
            self._trace.refuse_float32(f"`{partner.target}` fails there: {type(error).__name__}")

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return self._values[value]
        if isinstance(value, dict):
            return {key: self._resolve(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._resolve(item) for item in value]
        return value


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


def _operation(node: torch.fx.Node) -> Any:
    return node.target if node.op == "call_function" else node.op


def _plain(node: torch.fx.Node) -> list[Any]:
    """Numbers and options that an operation is given, without precisions, which differ as they should."""
    return list(_leaves((node.args, dict(node.kwargs))))


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif not isinstance(value, torch.fx.Node | torch.dtype):
        yield value
