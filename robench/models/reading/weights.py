"""The weights of a file, fitted to a module name by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robench.errors import ModelError
from robench.models.reading.states import State, StateFile, listed, read_states

NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
"""Where training scripts put the state dict in a checkpoint, in the order in which one is chosen."""
WRAPPERS = ("module", "_orig_mod")
"""Names that DataParallel, torch.compile and averaging put into those of the weights."""


def load_weights(module: nn.Module, path: Path) -> tuple[str, tuple[str, ...]]:
    """Give a module the weights of a file.

    Returns:
        SHA-256 of the file, and what a user should know of the choice that was made.

    Raises:
        ModelError: the file cannot be read, or no state dict in it fits, or several do and none is in a usual place.
    """
    stored = read_states(path)
    if not stored.states:
        held = f"; it holds {listed(stored.keys)}" if stored.keys else ""
        raise ModelError(f"`{path}` holds no state dict{held}", hint="save model.state_dict() alone")
    expected = module.state_dict()
    fit = _chosen(stored.states, expected, path)
    try:
        module.load_state_dict(fit.state, strict=False)  # the names were compared
    except Exception as error:  # hooks of the user's layers
        raise _unfit(path, [line.strip() for line in str(error).splitlines()[1:4]] or [str(error)]) from None
    return stored.sha256, tuple(_notes(path, stored, fit))


class _Fit(NamedTuple):
    """A state dict under the names of a module.

    Fields:
        state: what the module takes.
        where: place of the state dict in the file.
        prefix: what stood before the names there.
        left: names there that lie outside the prefix.
    """

    state: State
    where: str
    prefix: str
    left: list[str]

    @property
    def place(self) -> str:
        """Where the weights are, as one dotted name."""
        return ".".join(part for part in (self.where, self.prefix.removesuffix(".")) if part)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Number of unusual names on the way, then how usual the others are."""
        parts = self.place.split(".") if self.place else []
        unusual = sum(part not in NESTED + WRAPPERS for part in parts)
        return unusual, sum(NESTED.index(part) for part in parts if part in NESTED), len(parts)


def _chosen(states: Mapping[str, State], expected: Mapping[str, Tensor], path: Path) -> _Fit:
    fits = sorted(
        (fit for where, state in states.items() for fit in _fits(where, state, expected)), key=lambda fit: fit.rank
    )
    if not fits:
        raise _misfit(states, expected, path)
    best, *others = fits
    twins = [fit.place for fit in others if not _equal(fit.state, best.state)]
    if best.rank[0] and twins:
        raise ModelError(
            f"`{path}` holds several states that fit the model: {listed([best.place, *twins])}",
            hint="save only the one that you mean",
        )
    if best.rank[0] and best.left:
        raise ModelError(
            f"only a part of `{path}` fits the model: what is under `{best.place}`, and not {listed(best.left)}",
            hint="save that part alone if it is what the factory makes, or name a factory of the whole",
        )
    return best


def _fits(where: str, state: State, expected: Mapping[str, Tensor]) -> Iterator[_Fit]:
    """Each prefix under which the names and shapes are those of the module."""
    for prefix in _prefixes(state):
        found = _below(prefix, state, expected)
        if found is not None and not _differences(found, expected):
            yield _Fit(found, where, prefix, [name for name in state if not name.startswith(prefix)])


def _below(prefix: str, state: State, expected: Mapping[str, Tensor]) -> State | None:
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return _renamed(_folded(inside, expected), expected)


def _prefixes(state: State) -> list[str]:
    """All heads of the names."""
    heads = {"": None}
    for name in state:
        parts = name.split(".")[:-1]
        heads |= {".".join(parts[:n]) + ".": None for n in range(1, len(parts) + 1)}
    return list(heads)


def _renamed(state: State, expected: Mapping[str, Tensor]) -> State | None:
    """The state under the module's names; None if they are not told apart without the names of wrappers."""
    if state.keys() == expected.keys():
        return state
    theirs, ours = ({_bare(name): name for name in names} for names in (state, expected))
    if len(theirs) != len(state) or len(ours) != len(expected):
        return None
    return {ours.get(bare, bare): state[name] for bare, name in theirs.items()}


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _folded(state: State, expected: Mapping[str, Tensor]) -> State:
    """Weights that the file holds in parts and the module as one: pruned, or normalised by `weight_norm`."""
    known = {_bare(name) for name in expected}
    result = dict(state)
    for name in state:
        stem = name.removesuffix("_orig").removesuffix("_g")
        if stem == name or _bare(name) in known or _bare(stem) not in known:
            continue
        mask, direction = state.get(f"{stem}_mask"), state.get(f"{stem}_v")
        if name.endswith("_orig") and mask is not None and mask.shape == state[name].shape:
            result[stem] = result.pop(name) * result.pop(f"{stem}_mask").to(state[name].dtype)
        elif name.endswith("_g") and direction is not None:
            scale, direction = result.pop(name).double(), result.pop(f"{stem}_v").double()
            kept = [axis for axis, size in enumerate(scale.shape) if size > 1]
            axes = [axis for axis in range(direction.dim()) if axis not in kept]
            length = direction.square().sum(dim=axes, keepdim=True).sqrt() if axes else direction.abs()
            result[stem] = (direction * (scale / length)).reshape(direction.shape).to(state[name].dtype)
    return result


def _differences(state: State, expected: Mapping[str, Tensor]) -> list[str]:
    """What is missing, unknown or of another shape; counts of batches seen are no weights."""
    said = [f"missing `{name}`" for name in expected if name not in state and not _counts(name)]
    said += [f"unknown `{name}`" for name in state if name not in expected and not _counts(name)]
    for name in expected.keys() & state.keys():
        lazy = is_lazy(expected[name])
        if not lazy and expected[name].shape != state[name].shape:
            said.append(f"`{name}` has shape {list(state[name].shape)}, not {list(expected[name].shape)}")
        elif _kind(state[name]) != _kind(expected[name]):
            said.append(f"`{name}` is {_kind(state[name])}, not {_kind(expected[name])}")
    return said


def _kind(value: Tensor) -> str:
    """Kinds of numbers that are never turned into each other."""
    if value.is_quantized:
        return "quantised"
    if value.layout != torch.strided:
        return "sparse"
    if value.is_complex():
        return "complex"
    return "of real numbers" if value.is_floating_point() else "of integers"


def _counts(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _notes(path: Path, stored: StateFile, fit: _Fit) -> Iterator[str]:
    others = [place or "the top" for place in stored.states if place != fit.where]
    if others:
        yield f"the weights are those at `{fit.where or 'the top'}` of `{path}`, not those at {listed(others)}"
    if fit.left:
        yield f"the weights are those under `{fit.prefix}` in `{path}`; not used: {listed(fit.left)}"
    cut = {str(value.dtype).removeprefix("torch.") for value in fit.state.values() if value.dtype == torch.float64}
    if cut:
        yield f"the weights in `{path}` are float64; what is certified and attacked is the model with them in float32"


def _misfit(states: Mapping[str, State], expected: Mapping[str, Tensor], path: Path) -> ModelError:
    """What is wrong with the part of the file that comes nearest."""
    parts = [_below(prefix, state, expected) for state in states.values() for prefix in _prefixes(state)]
    said = [_differences(part, expected) for part in parts if part]
    return _unfit(path, min(said, key=len) if said else ["its names are those of no one module"])


def _unfit(path: Path, differences: list[str]) -> ModelError:
    return ModelError(
        f"the weights in `{path}` do not fit the model: {'; '.join(differences[:4])}"
        + (f"; and {len(differences) - 4} more" if len(differences) > 4 else ""),
        hint="use the weights of the same architecture",
    )
