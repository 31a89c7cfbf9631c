"""Constants that a network computes, in float32 as the deployed network does (docs/design/0008-float32.md §1).

The float32 network is recorded too. Its graph must be that of the float64 network, operation by operation; then each
operation on constants alone is run in both precisions, and the audit knows how far they are apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from robench.lipschitz.trace import Trace, Value, depends


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
        if not same:
            trace.refuse_float32("the float32 network runs other operations than the float64 one", branches=True)

    def follow(self, node: torch.fx.Node, value: Value) -> None:
        """Run the partner of a node that made this value, if it is a constant."""
        partner = self._partners.get(node)
        if partner is None:
            return
        if depends(value):
            if _plain(node) != _plain(partner):
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
