"""`robench audit`: the Lipschitz bound of a model."""

from __future__ import annotations

from typing import Any

from robench import lipschitz
from robench.progress import Progress
from robench.records.record import SCHEMA_VERSION
from robench.workflows.references import NamedModel, model_ref


def audit(model: NamedModel, *, progress: Progress | None = None) -> dict[str, Any]:
    """Upper bound of the Lipschitz constant of a model, per layer and whole, with the largest slope found.

    Args:
        model: a path, or a `ModelRef` that says how it is read.
        progress: who is told what a user should know of how the model was read.

    Raises:
        BoundError: an operation has no rule; it is named.
    """
    loaded = model_ref(model).load(progress=progress)
    result = lipschitz.lipschitz_bound(loaded)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "audit",
        "model": loaded.name,
        **loaded.identity,
        **result.to_dict(),
    }
