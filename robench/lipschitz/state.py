"""Whether a model is one function: what it keeps from one evaluation to the next must not change its answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import BoundError
from robench.lipschitz.trace.box import Box
from robench.models.networks.held import PLAIN, detached_copy, held_values
from robench.models.networks.widened import Widened

HINT = "keep the state fixed in evaluation mode: a certificate is about one function"


class History:
    """Answers of a model to the same inputs: new, after another evaluation, and after one more.

    A cache that the first evaluation fills is filled when this is done.

    Args:
        network: in float64.
        shape: of one input.
        box: where inputs lie; None for the whole space.

    Raises:
        BoundError: a plain value that the model keeps, such as a counter, changes with each evaluation.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], box: Box | None = None) -> None:
        self.inputs = torch.zeros(0)
        self.answers: list[Tensor] = []
        if not isinstance(network, Widened):
            return  # layers of torch and robench keep nothing
        generator = torch.Generator().manual_seed(1)
        points = torch.rand(2, 2, *shape, dtype=torch.float64, generator=generator)
        other, self.inputs = points if box is None else box.place(points)
        fresh = detached_copy(network)
        self._ask(fresh)
        network(other.clone())
        self._ask(network)
        before = _plain_values(network)
        self._ask(network)
        after = _plain_values(network)
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        if changed:
            names = ", ".join(f"`{name.removeprefix('module.')}`" for name in changed[:3])
            raise BoundError(f"the model changes its own state at each evaluation: {names}", hint=HINT)

    def _ask(self, network: nn.Module) -> None:
        answer = network(self.inputs.clone())
        if isinstance(answer, Tensor):
            self.answers.append(answer.detach().clone())

    def check(self, slope: float, offset: float) -> None:
        """Compare the answers.

        Args:
            slope: rounding alone moves an answer to x by at most slope·‖x‖ + offset.
            offset: see there.

        Raises:
            BoundError: the model answers in another way after other evaluations.
        """
        if not self.answers:
            return
        allowed = 2 * (slope * torch.linalg.vector_norm(self.inputs.flatten(1), dim=1) + offset) + 1e-300
        for answer in self.answers[1:]:
            moved = torch.linalg.vector_norm((answer - self.answers[0]).reshape(len(answer), -1), dim=1)
            if answer.shape != self.answers[0].shape or not bool((moved <= allowed).all()):
                raise BoundError(
                    "the model gives an input other logits after another evaluation: it changes its own state, "
                    "or is random",
                    hint=HINT,
                )


def _plain_values(network: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in held_values(network) if isinstance(value, PLAIN)}
