"""The door to models: a name as the user writes it in, a `LoadedModel` out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from robench.errors import ModelError
from robench.models.loaded import LoadedModel, Shape
from robench.models.onnx.file import load_onnx
from robench.models.reading.factory import FACTORY, factories_in
from robench.models.reading.foreign import load_factory
from robench.models.reading.program import load_program
from robench.models.storage.folder import WEIGHTS, load_folder

HINT = "name a model folder, a .pt2 file, an .onnx file, or FILE.py:factory (with --weights where it brings none)"
SCRIPTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def load_model(
    ref: str | os.PathLike[str],
    *,
    weights: Path | None = None,
    input_shape: Shape | None = None,
    shape_of_data: Callable[[], Shape] | None = None,
    threshold: float | None = None,
) -> LoadedModel:
    """Load a model: plain, in evaluation mode, frozen, on the CPU, and tried on two inputs.

    Args:
        ref: a model folder; `FILE.py:factory`; a `.pt2` file; or an `.onnx` file.
        weights: for a factory: `.safetensors`, or another file with tensors only.
        input_shape: without the batch; where the model leaves it open.
        shape_of_data: gives the shape of the inputs it is wanted for; asked where nothing else tells it.
        threshold: of one output: class 1 iff it is above. None: 0, or 1/2 where the model ends in a sigmoid or the
            like, which is then taken off.

    Raises:
        ModelError: it cannot be loaded safely, does not fit, or gives no finite logits.
    """
    ref = os.fspath(ref)
    path = Path(ref)
    if FACTORY.fullmatch(ref):
        return load_factory(ref, weights, lambda: _shape(input_shape, shape_of_data), threshold)
    if weights is not None:
        raise ModelError(f"`{ref}` has its own weights, so `{weights}` has no use", hint="leave out --weights")
    if path.is_dir():
        loaded = load_folder(path)
        if threshold is not None:
            raise ModelError(
                f"`{ref}` was trained by robench, so that class 1 is where its logit is above 0",
                hint="leave out --threshold",
            )
        if input_shape not in (None, loaded.input_shape):
            raise ModelError(
                f"`{ref}` takes inputs of shape {list(loaded.input_shape)}, not {list(input_shape or ())}",
                hint="leave out --input-shape",
            )
        return loaded
    if path.suffix == ".pt2":
        return load_program(path, input_shape, threshold, shape_of_data)
    if path.suffix == ".onnx":
        return load_onnx(path, input_shape, threshold, shape_of_data)
    if path.name == WEIGHTS and path.is_file():
        raise ModelError(f"`{ref}` is a file of a model folder", hint=f"name the folder: `{path.parent}`")
    if not path.exists():
        raise ModelError(f"`{ref}` does not exist", hint=HINT)
    if path.suffix == ".py":
        names = factories_in(path)
        known = f"; it defines {', '.join(names)}" if names else ""
        raise ModelError(f"`{ref}` names no factory{known}", hint=f"write it as {ref}:{names[0] if names else 'make'}")
    if path.suffix in SCRIPTS:
        raise ModelError(
            f"`{ref}` is a file of weights or a pickled model, which does not say what the network computes",
            hint=f"name the function that builds the network: FILE.py:factory --weights {ref}",
        )
    raise ModelError(f"`{ref}` is no model", hint=HINT)


def _shape(given: Shape | None, shape_of_data: Callable[[], Shape] | None) -> Shape | None:
    if given is None and shape_of_data is not None:
        return shape_of_data()
    return given
