"""The gallery of an attack run on disk: arrays in a safetensors file, what is no array as JSON in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from robench.files import write_atomic

GALLERY = "gallery.safetensors"


def write_gallery(folder: Path, tensors: Mapping[str, npt.NDArray[np.float32]], facts: Mapping[str, Any]) -> None:
    """Write the gallery of a run.

    Args:
        folder: the run folder.
        tensors: `clean` (K, *shape), `adversarial/NAME` with NaN where the attack found nothing, and `transport`.
        facts: `index` (K,), `eps`, and `reached`, the class (K,) of each adversarial by attack.

    Raises:
        RunError: the folder cannot be written.
    """
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    write_atomic(folder / GALLERY, save(arrays, metadata={"robench": json.dumps(facts)}))
