"""The network as it is deployed in float32: its constants, and the reason if it has no bound (docs/design/0008)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robench.lipschitz.trace.values import Value


class _Pair(NamedTuple):
    """A constant of the traced network (held, so that its id stays its own), and what it is in float32."""

    own: Tensor
    narrow: Any


@dataclass(eq=False)
class Deployed:
    """What is known of the float32 network.

    Fields:
        network: the model itself; None where it is not asked for.
        unbounded: why nothing can be said of it; empty if something can.
        other_function: whether it is made of other operations or numbers than the float64 network.
    """

    network: nn.Module | None = None
    unbounded: str = ""
    other_function: bool = False
    _pairs: dict[int, _Pair] = field(default_factory=dict)

    def refuse(self, reason: str) -> None:
        """Nothing can be said of it; the first reason stays."""
        self.unbounded = self.unbounded or reason

    def refuse_as_other_function(self, reason: str) -> None:
        """Nothing can be said of it, nor of the float64 network unless their logits agree."""
        self.refuse(reason)
        self.other_function = True

    def module_at(self, path: Sequence[str]) -> nn.Module | None:
        """The part of the network at a path, if there is a network."""
        return None if self.network is None else self.network.get_submodule(".".join(path))

    def pair(self, value: Any, narrow: Any) -> None:
        """Remember what a constant of the traced network is in float32; tuples part by part."""
        if isinstance(value, list | tuple):
            for own, other in zip(value, narrow, strict=True):
                self.pair(own, other)
        elif isinstance(value, Tensor):
            self._pairs[id(value)] = _Pair(value, narrow)

    def constant(self, value: Value) -> Any:
        """A constant of the traced network as it is in float32: the paired one, or the value rounded."""
        if isinstance(value, list | tuple):
            return type(value)(self.constant(item) for item in value)
        if not isinstance(value, Tensor):
            return value
        if id(value) in self._pairs:
            return self._pairs[id(value)].narrow
        return value.to(torch.float32) if value.dtype == torch.float64 else value
