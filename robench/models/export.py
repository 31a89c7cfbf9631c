"""Models in formats of others: a state dict, an exported program, ONNX; each checked to give the same outputs."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from robench.errors import ModelError, SpecError, did_you_mean
from robench.files import create_folder, write_atomic
from robench.models.checks import check_agreement
from robench.models.loaded import LoadedModel

Format = Literal["state-dict", "pt2", "onnx"]
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export_model(model: LoadedModel, format: Format, out: Path) -> Path:
    """Write a model to one file, atomically, after its outputs were compared.

    Args:
        model: what to export.
        format: `state-dict` (safetensors, or a `.pt` of tensors if `out` ends so), `pt2` (torch.export, free batch
            size), or `onnx` (float32, free batch size).
        out: the file.

    Raises:
        SpecError: the format is unknown.
        ModelError: the model cannot be exported so, or the export gives other outputs.
        RunError: the file cannot be written.
    """
    if format not in WRITERS:
        raise SpecError(f"unknown format `{format}`", hint=did_you_mean(format, WRITERS))
    inputs = torch.rand((3, *model.input_shape), generator=torch.Generator().manual_seed(0))
    content = WRITERS[format](model.deployed, inputs, out)
    create_folder(out.resolve().parent)
    write_atomic(out, content)
    return out


def _state_dict(module: nn.Module, inputs: Tensor, out: Path) -> bytes:
    state = {name: value.detach().contiguous().clone() for name, value in sorted(module.state_dict().items())}
    if out.suffix in (".pt", ".pth"):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()
    return safetensors.torch.save(state)


def _pt2(module: nn.Module, inputs: Tensor, out: Path) -> bytes:
    try:
        program = torch.export.export(module, (inputs,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        content = buffer.getvalue()
        loaded = torch.export.load(io.BytesIO(content)).module()
    except Exception as error:
        raise _cannot("pt2", error) from None
    check_agreement(module, loaded, inputs)
    return content


def _onnx(module: nn.Module, inputs: Tensor, out: Path) -> bytes:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"the export to ONNX needs the packages {', '.join(missing)}", hint=f"pip install {' '.join(missing)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals,
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # and about packages that it does not need
            dynamic = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(module, (inputs,), dynamic_shapes=dynamic, dynamo=True, verbose=False)
            content: bytes = program.model_proto.SerializeToString()  # type: ignore[union-attr]
            session = importlib.import_module("onnxruntime").InferenceSession(content)
    except Exception as error:
        raise _cannot("onnx", error) from None
    check_agreement(module, _OnnxModule(session), inputs)
    return content


class _OnnxModule(nn.Module):
    """An ONNX session, called like the model it came from."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session

    def forward(self, inputs: Tensor) -> Tensor:
        """The first output."""
        name = self._session.get_inputs()[0].name
        return torch.from_numpy(self._session.run(None, {name: inputs.numpy()})[0])


def _cannot(format: str, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(f"the model cannot be exported as {format}: {reason}", hint="use the format `state-dict`")


WRITERS: Mapping[str, Callable[[nn.Module, Tensor, Path], bytes]] = {
    "state-dict": _state_dict,
    "pt2": _pt2,
    "onnx": _onnx,
}
