"""The door to models: a name as the user writes it in, a `LoadedModel` out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from robench.errors import ModelError
from robench.models.input_shape import Shape, WantedShape
from robench.models.loaded import LoadedModel, ReadModel
from robench.models.onnx.file import load_onnx
from robench.models.reading.factory import load_factory
from robench.models.reading.program import load_program
from robench.models.reading.user_module import FACTORY, factories_in
from robench.models.storage.folder import WEIGHTS, load_folder
from robench.models.zoo import PREFIX, zoo_folder

HINT = "name a model folder, a .pt2 file, an .onnx file, or FILE.py:factory (with its weights where it brings none)"
SCRIPTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def load_model(
    path: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    input_shape: Shape | None = None,
    shape_of_data: Callable[[], Shape] | None = None,
    threshold: float | None = None,
) -> LoadedModel:
    """Read a model from a folder or a file, and try it on two inputs.

    `load_model(path).module` is a `torch.nn.Module` that gives logits: plain, in evaluation mode, frozen, float32, on
    the CPU. A sigmoid, softmax or the like at its end is taken off, and `load_model(path).link` says so.

    Args:
        path: a model folder that `robench train` wrote; `zoo:NAME`, one that comes with a checkout; `FILE.py:factory`,
            where the factory takes no arguments and returns a module; a `.pt2` file of `torch.export.save`; or an
            `.onnx` file.
        weights: of a factory that brings none: a `.safetensors` file, or another file with tensors only.
        input_shape: of one input, without the batch, where the model leaves it open.
        shape_of_data: gives that shape; asked where neither the model nor `input_shape` tells it.
        threshold: of a model with one output: class 1 where the output is above. By default 1/2 where the model ends
            in a sigmoid or the like, else 0.

    Raises:
        ModelError: the file is missing or damaged, could run code, does not fit its weights or the input shape, or
            gives no finite logits.

    Examples:
        >>> import pathlib, tempfile, robench
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "net.py"
        >>> lines = ["from torch import nn", "def make():", "    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))"]
        >>> _ = file.write_text(chr(10).join(lines))
        >>> model = robench.load_model(f"{file}:make", input_shape=(1, 2, 2))
        >>> model.name, model.classes, model.input_shape
        ('make', 3, (1, 2, 2))
    """
    found = read_model(path, weights=weights, input_shape=input_shape, shape_of_data=shape_of_data)
    if isinstance(found, ReadModel):
        return found.classifier(threshold)
    if threshold is not None:
        raise ModelError(
            f"`{os.fspath(path)}` was trained by robench: class 1 is where its logit is above 0",
            hint="leave out the threshold",
        )
    return found


def read_model(
    path: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    input_shape: Shape | None = None,
    shape_of_data: Callable[[], Shape] | None = None,
) -> ReadModel | LoadedModel:
    """Read a function of an input: as it is, whatever it gives; of a model folder the classifier.

    Args:
        path: as of `load_model`.
        weights: as of `load_model`.
        input_shape: as of `load_model`.
        shape_of_data: as of `load_model`.

    Raises:
        ModelError: as of `load_model`, but for outputs that are no row of logits.
    """
    if not isinstance(path, str | os.PathLike):
        raise ModelError(
            f"a model is read from a path, and {type(path).__name__} is none",
            hint=f"{HINT}; a module is given to `certify`, `attack` and `lipschitz_bound` as it is",
        )
    ref = os.fspath(path)
    path = zoo_folder(ref) if ref.startswith(PREFIX) else Path(ref)
    weights = None if weights is None else Path(weights)
    shape = WantedShape(None if input_shape is None else tuple(input_shape), shape_of_data)
    if FACTORY.fullmatch(ref):
        return load_factory(ref, weights, shape)
    if weights is not None:
        raise ModelError(f"`{ref}` has its own weights, so `{weights}` has no use", hint="leave out the weights")
    if path.is_dir():
        return _trained(path, shape)
    if path.suffix == ".pt2":
        return load_program(path, shape)
    if path.suffix == ".onnx":
        return load_onnx(path, shape)
    raise _no_model(ref, path)


def _trained(folder: Path, shape: WantedShape) -> LoadedModel:
    loaded = load_folder(folder)
    shape.fitted(loaded.input_shape, f"`{folder}`")
    return loaded


def _no_model(ref: str, path: Path) -> ModelError:
    """What is wrong with a path that is no model, and what to give instead."""
    if path.name == WEIGHTS and path.is_file():
        return ModelError(f"`{ref}` is a file of a model folder", hint=f"name the folder: `{path.parent}`")
    if not path.exists():
        return ModelError(f"`{ref}` does not exist", hint=HINT)
    if path.suffix == ".py":
        names = factories_in(path)
        known = f"; it defines {', '.join(names)}" if names else ""
        return ModelError(f"`{ref}` names no factory{known}", hint=f"write it as {ref}:{names[0] if names else 'make'}")
    if path.suffix in SCRIPTS:
        return ModelError(
            f"`{ref}` is a file of weights or a pickled model, which does not say what the network computes",
            hint=f"name the function that builds the network: `FILE.py:factory` with the weights `{ref}`",
        )
    return ModelError(f"`{ref}` is no model", hint=HINT)
