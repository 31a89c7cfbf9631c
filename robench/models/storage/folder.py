"""Model folders: exported plain weights and what is needed to rebuild the model (docs/design/0003-model-folder.md)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from robench.errors import ModelError, RunError, SpecError
from robench.files import create_folder, read_json, write_json
from robench.models.build import build
from robench.models.checks import probe_outputs, require_finite
from robench.models.identity.function import identify
from robench.models.loaded import LoadedModel
from robench.models.storage.tensors import TensorFile, read_tensors, write_tensors
from robench.specs.model import ModelDescription

WEIGHTS, DESCRIPTION, TRAINING, HISTORY, STATE = (
    "model.safetensors",
    "model.json",
    "training.json",
    "history.jsonl",
    "state",
)


def save_model(folder: Path, module: nn.Module, description: ModelDescription) -> str:
    """Write `model.json` and `model.safetensors`; what is there of them is replaced.

    The header of the weights holds the digest of the architecture, so that files of two models are never mixed.

    Args:
        folder: made if absent.
        module: plain, as `models.build(description.model)` makes it.
        description: what the model is.

    Returns:
        SHA-256 of the bytes of the weights.

    Raises:
        ModelError: the module is not of that architecture, or its weights are not finite float32.
        RunError: the folder cannot be written.
    """
    state = module.state_dict()
    _require_fit(state, description, "the model")
    require_finite(module, "the model")
    create_folder(folder)
    write_json(folder / DESCRIPTION, description.to_dict())
    return write_tensors(folder / WEIGHTS, state, {"architecture": description.model.digest()})


def load_folder(folder: Path) -> LoadedModel:
    """The model in a model folder.

    Raises:
        ModelError: files are missing, truncated, from another model, wrongly shaped or not finite.
    """
    description = read_description(folder)
    stored = read_tensors(folder / WEIGHTS)
    if stored.facts.get("architecture") != description.model.digest():
        raise ModelError(
            f"`{WEIGHTS}` in `{folder}` was not written for the architecture in `{DESCRIPTION}`",
            hint="copy the whole folder again, or train the model again",
        )
    module = _rebuild(description, stored, folder)
    require_finite(module, f"`{folder / WEIGHTS}`")
    spec = description.model
    probe_outputs(module, spec.input_shape, f"the model in `{folder}`")
    return LoadedModel(
        module=module,
        input_shape=spec.input_shape,
        outputs=spec.outputs,
        name=description.name,
        recipe=description.recipe,
        weights_sha256=stored.sha256,
        trained_on=description.trained_on,
        function=identify(module, spec.input_shape),
    )


def read_description(folder: Path) -> ModelDescription:
    """What `model.json` says.

    Raises:
        ModelError: missing, no JSON, or not a model description.
    """
    if not (folder / DESCRIPTION).is_file():
        raise ModelError(f"`{folder}` holds no `{DESCRIPTION}`", hint="name a model folder that `robench train` wrote")
    try:
        return ModelDescription.from_dict(read_json(folder / DESCRIPTION))
    except (RunError, SpecError, RecursionError) as error:
        reason = error.message if isinstance(error, RunError | SpecError) else "it is nested too deeply"
        raise ModelError(
            f"`{folder / DESCRIPTION}` is no model description: {reason}", hint="copy it again, or train again"
        ) from None


def _rebuild(description: ModelDescription, stored: TensorFile, folder: Path) -> nn.Sequential:
    """The module with the stored tensors; built without memory first, so that a hostile spec cannot ask for it all."""
    with torch.device("meta"):
        module = build(description.model)
    _require_fit(stored.tensors, description, f"`{folder / WEIGHTS}`")
    module.load_state_dict(stored.tensors, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def _require_fit(state: dict[str, Tensor], description: ModelDescription, source: str) -> None:
    with torch.device("meta"):
        expected = build(description.model).state_dict()
    problems = [f"`{name}` is missing" for name in expected if name not in state]
    problems += [f"`{name}` is unknown" for name in state if name not in expected]
    for name in expected.keys() & state.keys():
        have, want = state[name], expected[name]
        if have.shape != want.shape:
            problems.append(f"`{name}` has shape {list(have.shape)}, not {list(want.shape)}")
        elif have.dtype != torch.float32:
            problems.append(f"`{name}` is {str(have.dtype).removeprefix('torch.')}, not float32")
    if problems:
        shown = "; ".join(sorted(problems)[:4]) + ("; ..." if len(problems) > 4 else "")
        raise ModelError(f"{source} does not fit its architecture: {shown}", hint="use weights of the same model")
