"""The door to models: a name as the user writes it in, a `LoadedModel` out."""

from __future__ import annotations

from pathlib import Path

from robench.checkpoint.folder import WEIGHTS, load_folder
from robench.checkpoint.foreign import FACTORY, load_factory
from robench.checkpoint.loaded import LoadedModel
from robench.checkpoint.program import load_program
from robench.errors import ModelError

HINT = "name a model folder, FILE.py:factory with --weights and --input-shape, or a .pt2 file"


def load_model(ref: str, *, weights: Path | None = None, input_shape: tuple[int, ...] | None = None) -> LoadedModel:
    """Load a model: plain, in evaluation mode, frozen, on the CPU, and tried on two inputs.

    Args:
        ref: a model folder; `FILE.py:factory`; or a `.pt2` file.
        weights: for a factory: `.safetensors`, or `.pt` / `.pth` with tensors only.
        input_shape: without the batch; needed for a factory.

    Raises:
        ModelError: it cannot be loaded safely, does not fit, or gives no finite logits.
    """
    path = Path(ref)
    if FACTORY.fullmatch(ref):
        return load_factory(ref, weights, input_shape)
    if weights is not None:
        raise ModelError(f"`{ref}` has its own weights, so `{weights}` has no use", hint="leave out --weights")
    if path.is_dir():
        loaded = load_folder(path)
        if input_shape not in (None, loaded.input_shape):
            raise ModelError(
                f"`{ref}` takes inputs of shape {list(loaded.input_shape)}, not {list(input_shape or ())}",
                hint="leave out --input-shape",
            )
        return loaded
    if path.suffix == ".pt2":
        return load_program(path, input_shape)
    if path.name == WEIGHTS and path.is_file():
        raise ModelError(f"`{ref}` is a file of a model folder", hint=f"name the folder: `{path.parent}`")
    if not path.exists():
        raise ModelError(f"`{ref}` does not exist", hint=HINT)
    raise ModelError(f"`{ref}` is no model", hint=HINT)
