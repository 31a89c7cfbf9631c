"""ONNX files as torch modules, checked against onnxruntime before they are believed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.errors import ModelError
from robench.models.identity.function import identify
from robench.models.link.detection import take_off
from robench.models.loaded import AGREEMENT, LoadedModel, Shape, probe_outputs, require_finite
from robench.models.onnx.graph import OnnxGraph
from robench.models.onnx.operations import HINT
from robench.models.storage.tensors import read_bytes
from robench.models.user_code.blame import blamed

PACKAGES = ("onnx", "onnxruntime")
FLOAT32 = 1
"""`TensorProto.FLOAT`."""
SCALES = (0.5, 1.0, 4.0)
"""Inputs that are compared are uniform in [0, 1], and normal of these deviations."""
COMPARED = 8
"""Inputs of each kind."""


def load_onnx(
    path: Path,
    input_shape: Shape | None,
    threshold: float | None = None,
    shape_of_data: Callable[[], Shape] | None = None,
) -> LoadedModel:
    """The network in an ONNX file: one float32 input, one output of logits.

    Args:
        path: of the file.
        input_shape: without the batch, as the user gives it; None for that of the file.
        threshold: of one output; see `load_model`.
        shape_of_data: asked where the file leaves sizes open and none is given.

    Raises:
        ModelError: packages are missing, the file is damaged or has an operation that is not read, or its outputs in
            torch differ from those in onnxruntime.
    """
    content = read_bytes(path)
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"`{path}` needs the packages {', '.join(missing)} to be read", hint="pip install 'robench[onnx]'"
        )
    proto = _read(path)
    batch, shape = _input(proto, path, input_shape, shape_of_data)
    with blamed(f"`{path}`", "to be read", HINT):
        module = OnnxGraph(proto, batch).eval().requires_grad_(False)
    require_finite(module, f"`{path}`")
    outputs = _outputs(module, path, batch, shape)
    _require_agreement(module, path, batch, shape)
    logits, link = take_off(module, shape, outputs, threshold, f"`{path}`")
    return LoadedModel(
        module=logits,
        input_shape=shape,
        outputs=outputs,
        name=path.stem,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        function=identify(module, shape),
        notes=() if link is None else (link.note,),
        link=link,
    )


def _read(path: Path) -> Any:
    onnx = importlib.import_module("onnx")
    try:
        proto = onnx.load(str(path))
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf, the checker and missing files of weights each raise their own
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"`{path}` is damaged or no ONNX file: {reason[:300]}", hint="export it again") from None
    return proto


def _input(
    proto: Any, path: Path, asked: Shape | None, shape_of_data: Callable[[], Shape] | None
) -> tuple[int | None, Shape]:
    """The batch size that is fixed in the file, if any, and the shape of an input without it."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(proto.graph.output) != 1:
        raise ModelError(
            f"`{path}` has {len(inputs)} inputs and {len(proto.graph.output)} outputs, not one of each", hint=HINT
        )
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != FLOAT32:
        raise ModelError(f"the input of `{path}` is not float32", hint="export the float32 model")
    batch, *sizes = [size.dim_value or None for size in tensor.shape.dim] or [None]
    if asked is None and (not sizes or None in sizes):
        if shape_of_data is None:
            raise ModelError(f"`{path}` leaves sizes of its input open", hint="give one with --input-shape")
        asked = shape_of_data()
    shape = tuple(size or 0 for size in sizes) if asked is None else asked
    if sizes and (len(shape) != len(sizes) or any(a not in (None, b) for a, b in zip(sizes, shape, strict=True))):
        shown = [size or "any" for size in sizes]
        raise ModelError(f"`{path}` takes inputs of shape {shown}, not {list(shape)}", hint="leave out --input-shape")
    return batch, shape


def _outputs(module: OnnxGraph, path: Path, batch: int | None, shape: Shape) -> int:
    try:
        return probe_outputs(module, shape, f"`{path}`")
    except ModelError as error:
        if batch is None:
            raise
        raise ModelError(
            f"`{path}` was exported for batches of exactly {batch}, and serves no others: {error.message}",
            hint="export it with a free batch size: torch.onnx.export(model, (x,), dynamo=True, "
            "dynamic_shapes=({0: torch.export.Dim('batch')},))",
        ) from None


@torch.no_grad()
def _require_agreement(module: OnnxGraph, path: Path, batch: int | None, shape: Shape) -> None:
    """Compare the outputs with those of onnxruntime on the file itself, at its own batch size."""
    with blamed(f"`{path}`", "in onnxruntime", HINT):
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1  # its threads spin while they wait, beside torch's own
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        for inputs in _inputs(shape):
            parts = torch.split(inputs, batch or COMPARED)
            expected = np.concatenate([_run(session, name, part, batch) for part in parts])
            found = module(inputs).numpy()
            difference = float(np.abs(expected - found).max() / max(1.0, float(np.abs(expected).max())))
            if not difference <= AGREEMENT:
                raise ModelError(
                    f"`{path}` gives other outputs in torch than in onnxruntime: relative difference {difference:.1e}",
                    hint=HINT,
                )


def _run(session: Any, name: str, inputs: Tensor, batch: int | None) -> NDArray[np.float32]:
    """The outputs of onnxruntime; a batch that is too short is filled up."""
    times = 1 if batch is None else -(-batch // len(inputs))
    filled = np.concatenate([inputs.numpy()] * times)[:batch]
    outputs: NDArray[np.float32] = session.run(None, {name: filled})[0]
    return outputs[: len(inputs)]


def _inputs(shape: Shape) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(2)
    yield torch.rand((COMPARED, *shape), generator=generator)
    for scale in SCALES:
        yield scale * torch.randn((COMPARED, *shape), generator=generator)
