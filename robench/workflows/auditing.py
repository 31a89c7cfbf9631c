"""`robench audit`: the Lipschitz bound of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robench import lipschitz
from robench.progress import Progress
from robench.records.record import SCHEMA_VERSION
from robench.workflows.references import NamedModel, model_ref


def audit(model: NamedModel, *, box: Sequence[float] | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Upper bound of the Lipschitz constant of a model, per layer and whole, with the largest slope found.

    Of a classifier it is the constant of its logits, of anything else that of its outputs, all of them one vector.

    Args:
        model: a path, or a `ModelRef` that says how it is read.
        box: least and greatest value of an entry of the inputs that the bound holds for; None for the whole space.
        progress: who is told what a user should know of how the model was read.

    Raises:
        BoundError: an operation has no rule; it is named.
    """
    loaded = model_ref(model).read(progress=progress)
    result = lipschitz.lipschitz_bound(loaded, box=box)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "audit",
        "model": loaded.name,
        **loaded.identity,
        **result.to_dict(),
    }
