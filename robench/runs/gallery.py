"""The gallery of an attack run on disk: arrays in a safetensors file, what is no array as JSON in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from robench.errors import RunError
from robench.files import write_atomic

GALLERY = "gallery.safetensors"
ADVERSARIAL = "adversarial/"


def write_gallery(folder: Path, tensors: Mapping[str, npt.NDArray[np.float32]], facts: Mapping[str, Any]) -> None:
    """Write the gallery of a run.

    Args:
        folder: the run folder.
        tensors: `clean` (K, *shape), `adversarial/NAME` with NaN where the attack found nothing, `transport`, and
            `logits` (K, q) of the inputs.
        facts: `index` (K,), `eps`, and `reached`, the class (K,) of each adversarial by attack.

    Raises:
        RunError: the folder cannot be written.
    """
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    write_atomic(folder / GALLERY, save(arrays, metadata={"robench": json.dumps(facts)}))


@dataclass(frozen=True, eq=False)
class Gallery:
    """A few inputs of an attack run.

    Fields:
        clean: (K, *input) the inputs, in user units.
        adversarial: (K, *input) by attack; NaN where the attack found nothing.
        transport: (K, *input) x - 2 f(x) grad f(x), section 3.2 of the paper; None if it was not computed.
        logits: (K, q) of the inputs; None if they were not stored.
        index: (K,) positions in the split; None if they were not stored.
        reached: (K,) class of each adversarial, by attack; attacks of which it was not stored are not there.
    """

    clean: npt.NDArray[np.float64]
    adversarial: Mapping[str, npt.NDArray[np.float64]]
    transport: npt.NDArray[np.float64] | None
    logits: npt.NDArray[np.float64] | None
    index: tuple[int, ...] | None
    reached: Mapping[str, Sequence[int | None]]

    @property
    def is_plane(self) -> bool:
        """Whether the inputs are points of the plane."""
        return self.clean.shape[1:] == (2,)

    @property
    def is_image(self) -> bool:
        """Whether the inputs are grey or colour images."""
        return self.clean.ndim == 4 and self.clean.shape[1] in (1, 3)


def read_gallery(folder: Path) -> Gallery | None:
    """The gallery of a run folder, if it has one with at least one input.

    Raises:
        RunError: the file is broken, or its arrays do not fit each other.
    """
    path = folder / GALLERY
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: np.asarray(file.get_tensor(name), dtype=np.float64) for name in sorted(file.keys())}
            stored: Any = json.loads((file.metadata() or {}).get("robench", "{}"))
    except (OSError, ValueError, SafetensorError) as error:
        raise _broken(path, str(error)) from None
    clean = tensors.get("clean")
    if clean is None or not len(clean):
        return None
    wrong = [name for name, value in tensors.items() if name != "clean" and not _fits(name, value, clean)]
    if wrong:
        raise _broken(path, f"`{wrong[0]}` is not of the shape of `clean`")
    attacks = {name.removeprefix(ADVERSARIAL): tensors[name] for name in tensors if name.startswith(ADVERSARIAL)}
    facts = stored if isinstance(stored, dict) else {}
    reached = facts.get("reached")
    by_attack = {name: _numbers(reached.get(name), len(clean)) for name in attacks} if isinstance(reached, dict) else {}
    classes = {name: labels for name, labels in by_attack.items() if labels is not None}
    index = _numbers(facts.get("index"), len(clean))
    places = None if index is None or None in index else tuple(place for place in index if place is not None)
    logits = tensors.get("logits")
    if logits is not None and (logits.ndim != 2 or len(logits) != len(clean)):
        raise _broken(path, "`logits` are not one row an input")
    return Gallery(clean, attacks, tensors.get("transport"), logits, places, classes)


def _numbers(stored: Any, n: int) -> tuple[int | None, ...] | None:
    """`n` whole numbers with gaps; None where something else was stored."""
    if not isinstance(stored, list) or len(stored) != n:
        return None
    return tuple(stored) if all(item is None or isinstance(item, int) for item in stored) else None


def _fits(name: str, value: npt.NDArray[np.float64], clean: npt.NDArray[np.float64]) -> bool:
    shown = name.startswith(ADVERSARIAL) or name == "transport"
    return not shown or value.shape == clean.shape


def _broken(path: Path, reason: str) -> RunError:
    return RunError(
        f"`{path}` is not a gallery: {reason}",
        hint="move it elsewhere; the report is made without it",
    )
