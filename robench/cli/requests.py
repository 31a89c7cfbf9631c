"""From parsed options to what `robench.workflows` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robench.progress import Progress
from robench.specs.data import DataSpec
from robench.workflows import DataRef, Execution, ModelRef


def model_ref(given: Mapping[str, Any]) -> ModelRef:
    """The model of the options in `options.model`."""
    return ModelRef(
        ref=given["model"],
        weights=given["weights"],
        input_shape=given["input_shape"],
        threshold=given.get("threshold"),
    )


def data_ref(given: Mapping[str, Any]) -> DataRef:
    """The images of the options in `options.data` and `options.subset`."""
    spec = DataSpec(name=given["data"], subset=given["subset"], subset_seed=given["subset_seed"])
    return DataRef(spec=spec, split=given["split"], data_dir=given["data_dir"], limit=given["limit"])


def execution(given: Mapping[str, Any], progress: Progress) -> Execution:
    """The options in `options.execution`, and `options.batch_size` where the command has it."""
    batch_size = given.get("batch_size", Execution.batch_size)
    return Execution(device=given["device"], threads=given["threads"], batch_size=batch_size, progress=progress)
