"""Models that robench did not train: a factory in a user's Python file, with weights from a file of tensors."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from robench.checkpoint.function import identify, source_digest
from robench.checkpoint.loaded import LoadedModel, probe_outputs, require_finite
from robench.checkpoint.plain import plain_module
from robench.checkpoint.tensors import read_bytes, read_tensors
from robench.errors import ModelError
from robench.models import check_agreement

FACTORY = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
NESTED = ("state_dict", "model_state_dict", "model")
"""Where training scripts put the state dict in a checkpoint."""


def load_factory(ref: str, weights: Path | None, input_shape: tuple[int, ...] | None) -> LoadedModel:
    """The model that `FILE.py:factory` makes, a function without arguments that returns a torch module.

    Args:
        ref: file and function.
        weights: `.safetensors`, or `.pt` / `.pth` of tensors only; None where the factory brings its weights.
        input_shape: without the batch.

    Raises:
        ModelError: the file, function, weights or shape do not serve.
    """
    match = FACTORY.fullmatch(ref)
    if match is None:
        raise ModelError(f"`{ref}` names no factory", hint="write it as FILE.py:factory")
    if input_shape is None:
        raise ModelError(f"the input shape of `{ref}` is not known", hint="give it, such as `--input-shape 1,28,28`")
    module = _call(_factory(Path(match["file"]), match["name"]), ref)
    if weights is None:
        sha256 = hashlib.sha256(safetensors.torch.save(_own_state(module))).hexdigest()
    else:
        state, sha256 = read_state(weights)
        _load_state(module, state, weights)
    plain = _as_plain(module, input_shape, ref)
    return LoadedModel(
        module=plain,
        input_shape=input_shape,
        outputs=probe_outputs(plain, input_shape, f"`{ref}`"),
        name=match["name"] if weights is None else weights.stem,
        recipe=None,
        weights_sha256=sha256,
        trained_on=None,
        function=identify(plain, input_shape),
        source_sha256=source_digest(Path(match["file"])),
    )


def read_state(path: Path) -> tuple[dict[str, Tensor], str]:
    """A state dict and the SHA-256 of its file. Nothing is unpickled but tensors.

    Raises:
        ModelError: missing, damaged, or more than tensors.
    """
    if path.suffix == ".safetensors":
        stored = read_tensors(path)
        return stored.tensors, stored.sha256
    content = read_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickle protocols that it then refuses
            data = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise nearly anything
        raise ModelError(
            f"`{path}` is damaged, or holds Python objects beyond tensors, which are never unpickled: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}",
            hint="save the weights alone: safetensors.torch.save_file(model.state_dict(), FILE)",
        ) from None
    return _state_in(data, path), hashlib.sha256(content).hexdigest()


def _state_in(data: Any, path: Path) -> dict[str, Tensor]:
    for candidate in (data, *(data.get(key) for key in NESTED if isinstance(data, Mapping))):
        if isinstance(candidate, Mapping) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            return {str(name): value for name, value in candidate.items()}
    raise ModelError(f"`{path}` holds no state dict", hint="save model.state_dict() alone")


def _factory(path: Path, name: str) -> Callable[[], Any]:
    if not path.is_file():
        raise ModelError(f"`{path}` does not exist", hint="write the model as FILE.py:factory")
    key = f"robench_user_model_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(key, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"`{path}` is no Python file", hint="write the model as FILE.py:factory")
    user_file = importlib.util.module_from_spec(spec)
    sys.modules[key] = user_file
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # so that the file finds its neighbours, as when it is run
    try:
        spec.loader.exec_module(user_file)
    except Exception as error:
        raise ModelError(
            f"`{path}` fails on import: {type(error).__name__}: {error}", hint="check that `python FILE.py` runs"
        ) from error
    finally:
        sys.path.remove(folder)
    factory = getattr(user_file, name, None)
    if not callable(factory):
        raise ModelError(f"`{path}` has no function `{name}`", hint="name a function that returns the model")
    return factory  # type: ignore[no-any-return]


def _call(factory: Callable[[], Any], ref: str) -> nn.Module:
    try:
        module = factory()
    except Exception as error:
        raise ModelError(
            f"`{ref}` fails: {type(error).__name__}: {error}", hint="the factory takes no arguments"
        ) from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"`{ref}` returns {type(module).__name__}", hint="return a torch.nn.Module")
    return module


def _own_state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in sorted(module.state_dict().items())}


def _load_state(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]] or [str(error)]
        raise ModelError(
            f"the weights in `{path}` do not fit the model: {' '.join(lines)}",
            hint="use the weights of the same architecture",
        ) from None


def _as_plain(module: nn.Module, input_shape: tuple[int, ...], ref: str) -> nn.Module:
    """The frozen plain copy, checked to give the outputs of the module in evaluation mode."""
    module = module.cpu().float().eval()
    require_finite(module, f"`{ref}`")
    plain = plain_module(module)
    probe_outputs(module, input_shape, f"`{ref}`")
    inputs = torch.rand((4, *input_shape), generator=torch.Generator().manual_seed(1))
    check_agreement(module, plain, inputs)
    return plain
