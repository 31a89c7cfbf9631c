"""Attacks as row programs: many images share the tiles, each with its own state, and none waits for another.

A tile has a slot for each row. When the attack of a slot's image ends, the next image takes the slot, so that tiles
stay full although images need different numbers of steps. All arithmetic is on whole tiles (`classifier`), so what
happens to an image depends on nothing but the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from robench.attacks.classifier import TiledModel

State = dict[str, Tensor]
"""Tensors with one row for each slot. Always there: `x` (T, *shape), `label`, `scale`, `index` (T,), `eps` (T, K) the
radii asked in ascending order, padded with infinity, `distance` (T,) of the nearest adversarial known, infinity where
none is, `goal` (T,) a distance that leaves nothing to ask; and of the result `point` (T, *shape) and `found` (T,)."""


class RowAttack(Protocol):
    """An attack whose rows do not know of each other."""

    def begin(self, model: TiledModel, rows: State, active: int) -> State:
        """The state of a tile of new images; `rows` has what is always there, less the result."""

    def step(self, model: TiledModel, state: State, active: int) -> Tensor:
        """Go on by about one pass, in place; returns which rows (T,) have ended."""


def rows_of(tensors: State, index: Tensor | slice) -> State:
    """Some rows of each tensor."""
    return {name: tensor[index] for name, tensor in tensors.items()}


def count(tensors: State) -> int:
    """Number of rows."""
    return len(tensors["x"])


def padded(tensors: State, size: int) -> State:
    """The rows, with the first one repeated up to `size`."""
    missing = size - count(tensors)
    if missing <= 0:
        return tensors
    return {name: torch.cat([t, t[:1].expand(missing, *t.shape[1:])]) for name, t in tensors.items()}


def tiles(model: TiledModel, rows: State) -> Iterator[tuple[State, int]]:
    """The rows in tiles: each padded, with its number of real rows."""
    largest = model.fit(count(rows))
    for start in range(0, count(rows), largest):
        part = rows_of(rows, slice(start, start + largest))
        yield padded(part, model.fit(count(part))), count(part)


def run_rows(attack: RowAttack, model: TiledModel, jobs: State) -> tuple[Tensor, Tensor]:
    """Run an attack on all rows of `jobs`.

    Args:
        attack: what to run.
        model: what to run it on.
        jobs: rows as in `State`, less the result.

    Returns:
        The points found (N, *shape), and where one was found (N,); a point claims to be adversarial, no more.
    """
    points = jobs["x"].clone()
    found = torch.zeros(count(jobs), dtype=torch.bool, device=points.device)
    supply = _begun(attack, model, jobs)
    first = list(islice(supply, model.fit(count(jobs))))
    owners = [job for job, _ in first]
    state = padded({name: torch.stack([row[name] for _, row in first]) for name in first[0][1]}, model.fit(len(owners)))
    while owners:
        done = attack.step(model, state, len(owners)).tolist()
        ended = [slot for slot, owner in enumerate(owners) if done[slot]]
        for slot in ended:
            points[owners[slot]] = state["point"][slot]
            found[owners[slot]] = state["found"][slot]
        vacant = _refill(state, owners, ended, supply)
        if vacant:
            kept = [slot for slot in range(len(owners)) if slot not in vacant]
            owners = [owners[slot] for slot in kept]
            if kept:
                rows = rows_of(state, torch.tensor(kept, device=points.device))
                state = padded(rows, model.fit(len(kept)))
    return points, found


def _begun(attack: RowAttack, model: TiledModel, jobs: State) -> Iterator[tuple[int, State]]:
    """Rows with their first state, begun a tile at a time when the tile before is used up."""
    job = 0
    for tile, real in tiles(model, jobs):
        state = attack.begin(model, tile, real)
        for row in range(real):
            yield job, {name: tensor[row] for name, tensor in state.items()}
            job += 1


def _refill(state: State, owners: list[int], ended: list[int], supply: Iterator[tuple[int, State]]) -> set[int]:
    """Give the slots of ended rows to the next ones; returns the slots for which there is none."""
    vacant = set()
    for slot in ended:
        following = next(supply, None)
        if following is None:
            vacant.add(slot)
            continue
        owners[slot], row = following
        for name, tensor in row.items():
            state[name][slot] = tensor
    return vacant


def expand(flags: Tensor, like: Tensor) -> Tensor:
    """(T,) with as many dimensions as (T, *shape)."""
    return flags.reshape(-1, *([1] * (like.ndim - 1)))


def norms(difference: Tensor) -> Tensor:
    """L2 norm of each row (T,)."""
    length: Tensor = torch.linalg.vector_norm(difference.flatten(1), dim=1)
    return length


def project(x: Tensor, center: Tensor, radius: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Each row moved into the ball of its radius around its center, then into the box."""
    shift = x - center
    factor = (radius / norms(shift).clamp_min(1e-30)).clamp_max(1.0)
    return (center + shift * expand(factor, shift)).clamp(*bounds)
