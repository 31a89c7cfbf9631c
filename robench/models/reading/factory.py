"""Models that robench did not train: a factory in a user's Python file, with weights from a file of tensors."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from robench.errors import ModelError
from robench.models.checks import probe
from robench.models.identity.source import source_digest
from robench.models.input_shape import WantedShape
from robench.models.loaded import ReadModel
from robench.models.networks.input_copy import is_behind_copy
from robench.models.reading.preparation import as_plain, leave_inference_mode, ready
from robench.models.reading.user_module import FACTORY, make_module
from robench.models.reading.weights import load_weights
from robench.models.user_code.blame import blamed


def load_factory(ref: str, weights: Path | None, shape: WantedShape) -> ReadModel:
    """The model that `FILE.py:factory` makes, a function without arguments that returns a torch module.

    Args:
        ref: file and function.
        weights: `.safetensors`, or another file of tensors; None where the factory brings its weights.
        shape: of an input; asked once the file is there.

    Raises:
        ModelError: the file, function, weights or shape do not serve.
    """
    match = FACTORY.fullmatch(ref)
    if match is None:
        raise ModelError(f"`{ref}` names no factory", hint="write it as FILE.py:factory")
    file = Path(match["file"])
    if not file.is_file():
        raise ModelError(f"`{file}` does not exist", hint="write the model as FILE.py:factory")
    source = f"`{ref}`"
    input_shape = shape.fitted((), source)
    module = make_module(file, match["name"])
    notes: tuple[str, ...] = ()
    with blamed(source):
        leave_inference_mode(module)
        if weights is not None:
            sha256, notes = load_weights(module, weights)
        module = ready(module, input_shape, ref)
        notes = (*notes, *_about(module, ref, weights))
        plain = as_plain(module, input_shape, ref)
        if is_behind_copy(plain):
            notes = (*notes, f"{source} writes into its input; it is given a copy each time")
        if weights is None:
            sha256 = hashlib.sha256(safetensors.torch.save(_state(plain))).hexdigest()
        return ReadModel(
            module=plain,
            input_shape=input_shape,
            output_shape=probe(plain, input_shape, source),
            source=source,
            name=match["name"] if weights is None else weights.stem,
            weights_sha256=sha256,
            source_sha256=source_digest(file),
            notes=notes,
        )


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in sorted(module.state_dict().items())}


def _about(module: nn.Module, ref: str, weights: Path | None) -> list[str]:
    """What a user should know of the weights."""
    notes = []
    if weights is None and any(True for _ in module.parameters()):
        notes.append(f"no weights given: the model has the weights that `{ref}` gives it")
    types = {str(value.dtype).removeprefix("torch.") for value in module.parameters() if value.is_floating_point()}
    if other := ", ".join(sorted(types - {"float32"})):
        notes.append(f"`{ref}` has {other} weights; what is certified and attacked is the model with them in float32")
    return notes
