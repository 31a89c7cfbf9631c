"""ONNX files as torch modules, checked against onnxruntime before they are believed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.errors import ModelError
from robench.models.checks import AGREEMENT, probe, require_finite
from robench.models.input_shape import Shape, WantedShape
from robench.models.loaded import ReadModel
from robench.models.onnx.graph import OnnxGraph
from robench.models.onnx.node import HINT
from robench.models.storage.tensors import read_bytes
from robench.models.user_code.blame import blamed

PACKAGES = ("onnx", "onnxruntime")
FLOAT32 = 1
"""`TensorProto.FLOAT`."""
SCALES = (0.5, 1.0, 4.0)
"""Inputs that are compared are uniform in [0, 1], and normal of these deviations."""
COMPARED = 8
"""Inputs of each kind."""


def load_onnx(path: Path, shape: WantedShape) -> ReadModel:
    """The network in an ONNX file: one float32 input, one output.

    Args:
        path: of the file.
        shape: of an input, where the file leaves sizes open.

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
    batch, sizes = _input_sizes(proto, path)
    input_shape = shape.fitted(sizes, f"`{path}`")
    with blamed(f"`{path}`", "to be read", HINT):
        module = OnnxGraph(proto, batch).eval().requires_grad_(False)
    require_finite(module, f"`{path}`")
    outputs = _outputs(module, path, batch, input_shape)
    _require_agreement(module, path, batch, input_shape)
    return ReadModel(
        module=module,
        input_shape=input_shape,
        output_shape=outputs,
        source=f"`{path}`",
        name=path.stem,
        weights_sha256=hashlib.sha256(content).hexdigest(),
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


def _input_sizes(proto: Any, path: Path) -> tuple[int | None, list[int | None]]:
    """The batch size and the other sizes of the input, None for one that is open; none if it tells no sizes."""
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
    return batch, sizes


def _outputs(module: OnnxGraph, path: Path, batch: int | None, shape: Shape) -> Shape:
    try:
        return probe(module, shape, f"`{path}`")
    except ModelError as error:
        if batch is None:
            raise
        raise ModelError(
            f"`{path}` was exported for batches of exactly {batch}, and fails for others: {error.message}",
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
