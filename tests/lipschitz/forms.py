"""Plain functions as modules."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Form(nn.Module):
    """A plain function as a module, so that it is recorded."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)
