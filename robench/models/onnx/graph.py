"""The graph of an ONNX file as a torch module, one operation after the other."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robench.models.onnx.node import Node, Unsupported, Value
from robench.models.onnx.operations import OPERATIONS


class OnnxGraph(nn.Module):
    """What an ONNX graph computes; weights are buffers, and shapes are computed as numbers, by onnx's own reference.

    Args:
        proto: an `onnx.ModelProto` that was checked, of one input and one output.
        batch: the batch size that it is fixed to, if any.

    Raises:
        Unsupported: an operation is not known.
    """

    def __init__(self, proto: Any, batch: int | None) -> None:
        super().__init__()
        graph = proto.graph
        opset = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        to_array = importlib.import_module("onnx.numpy_helper").to_array
        weights = {tensor.name: to_array(tensor) for tensor in graph.initializer}
        self._input = next(value.name for value in graph.input if value.name not in weights)
        self._output = graph.output[0].name
        self._constants: dict[str, Any] = {}
        self._buffer_of: dict[str, str] = {}
        self._nodes: list[Node] = []
        self._numbers: dict[str, Any] = {}
        for proto_node in graph.node:
            node = _node(proto_node, opset, batch)
            if all(name in weights or not name for name in node.inputs):
                weights |= zip(node.outputs, _evaluated(proto_node, opset, weights), strict=True)
                continue
            _require_read(node, proto_node.domain)
            self._nodes.append(node)
            self._numbers[node.outputs[0]] = proto_node
        used = {name for node in self._nodes for name in node.inputs} | {self._output}
        for number, name in enumerate(name for name in weights if name in used):
            self._keep(f"weight{number}", name, weights[name])

    def _keep(self, attribute: str, name: str, value: Any) -> None:
        if np.issubdtype(value.dtype, np.floating):
            self.register_buffer(attribute, torch.from_numpy(np.array(value)))
            self._buffer_of[name] = attribute
        else:
            self._constants[name] = np.array(value)

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        values: dict[str, Value] = {"": None, self._input: x, **self._constants}
        values |= {name: getattr(self, attribute) for name, attribute in self._buffer_of.items()}
        for node in self._nodes:
            missing = [name for name in node.inputs if name not in values]
            if missing:
                raise Unsupported(f"an operation `{node.kind}` on a second output, such as the order of a sort,")
            values |= zip(node.outputs, self._run(node, [values[name] for name in node.inputs]), strict=False)
        result = values[self._output]
        assert isinstance(result, Tensor)
        return result

    def _run(self, node: Node, inputs: list[Value]) -> tuple[Value, ...]:
        if node.kind == "Shape" and isinstance(inputs[0], Tensor):
            sizes = list(inputs[0].shape)[node.get("start", 0) : node.get("end", inputs[0].dim())]
            return (np.array([int(size) for size in sizes], dtype=np.int64),)
        if not any(isinstance(value, Tensor) for value in inputs):
            given = dict(zip(node.inputs, inputs, strict=True))
            return _evaluated(self._numbers[node.outputs[0]], node.opset, given)
        if node.kind == "Cast" and node.get("to") in FLOATS:
            return (inputs[0].float() if inputs[0].dtype == torch.bool else inputs[0],)
        if node.kind not in OPERATIONS:
            raise Unsupported(f"the operation `{node.kind}` on what depends on the input")
        result = OPERATIONS[node.kind](node, *inputs)
        return result if isinstance(result, tuple) else (result,)


RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
SHAPE_OPERATIONS = ("Gather", "ConstantOfShape", "Range", "Floor", "Ceil", "Equal", "Where", "Expand")
"""Operations that serve to compute shapes, and are read on numbers alone."""
FLOATS = (1, 11)
"""float32 and float64; robench evaluates the network in the precision it asks for."""


def _node(proto_node: Any, opset: int, batch: int | None) -> Node:
    value = importlib.import_module("onnx.helper").get_attribute_value
    attributes = {entry.name: value(entry) for entry in proto_node.attribute}
    node = Node(proto_node.op_type, tuple(proto_node.input), tuple(proto_node.output), attributes, opset, batch)
    if node.kind in RANDOM:
        raise Unsupported(f"the random operation `{node.kind}`")
    return node


def _require_read(node: Node, domain: str) -> None:
    """Refuse an operation on what depends on the input that is not known."""
    if node.kind not in OPERATIONS and node.kind not in ("Shape", "Cast", *SHAPE_OPERATIONS):
        raise Unsupported(f"the operation `{node.kind}`")
    if domain not in ("", "ai.onnx"):
        raise Unsupported(f"the operation `{node.kind}` of `{domain}`")


def _evaluated(proto_node: Any, opset: int, given: dict[str, Any]) -> tuple[Any, ...]:
    """The outputs of one operation on numbers, by onnx's reference implementation."""
    onnx = importlib.import_module("onnx")
    reference = importlib.import_module("onnx.reference").ReferenceEvaluator
    names = [name for name in dict.fromkeys(proto_node.input) if name]
    declare = onnx.helper.make_value_info
    inputs = [declare(name, onnx.TypeProto()) for name in names]
    outputs = [declare(name, onnx.TypeProto()) for name in proto_node.output]
    graph = onnx.helper.make_graph([proto_node], "one", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        results = reference(model).run(None, {name: given[name] for name in names})
    except Exception:  # each operation of the reference raises its own
        raise Unsupported(f"the operation `{proto_node.op_type}` on constants") from None
    return tuple(np.asarray(value) for value in results)
