"""`robench export`: a model as a file for another runtime."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from robench.models.export import Format, export_model
from robench.progress import Progress
from robench.workflows.references import NamedModel, model_ref


def export(model: NamedModel, format: Format, out: str | PathLike[str], *, progress: Progress | None = None) -> Path:
    """Write a model to one file, after its outputs were compared; the file.

    Args:
        model: what to export.
        format: `state-dict` (safetensors, or a `.pt` of tensors if `out` ends so), `pt2` or `onnx`.
        out: the file.
        progress: who is told how the model was read.

    Raises:
        ModelError: the model cannot be exported so, or the export gives other outputs.
        RunError: the file cannot be written.
    """
    return export_model(model_ref(model).load(progress=progress), format, Path(out))
