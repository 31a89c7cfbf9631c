"""ONNX files: read as torch modules that give what onnxruntime gives, else refused with the true reason."""

import importlib.util
import logging

import numpy as np
import pytest
import torch
from torch import nn

from robench import lipschitz
from robench.errors import ModelError
from robench.layers import FullSort
from robench.models import load_model
from robench.models.onnx import operations as onnx_operations

READS = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
WRITES = READS and importlib.util.find_spec("onnxscript")
needs_onnx = pytest.mark.skipif(not READS, reason="needs onnx and onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore")
X = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))


class Compared(nn.Module):
    """A MinMax by comparisons."""

    def forward(self, x):
        a, b = x.chunk(2, 1)
        larger = a > b
        return torch.cat([torch.where(larger, a, b), torch.where(larger, b, a)], 1)


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Linear(36, 36), nn.Linear(36, 3)

    def forward(self, x):
        x = x.view(x.shape[0], -1)
        return self.last(x + torch.relu(self.inner(x)).clamp(0.0, 0.5))


def nets():
    torch.manual_seed(0)
    batch_norm = nn.BatchNorm2d(2)
    batch_norm(torch.randn(20, 2, 4, 4))
    return {
        "dense": nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)),
        "conv": nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1, stride=2), batch_norm, nn.LeakyReLU(0.2), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(2, 3),
        ),
        "pool": nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2), nn.ELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3)),
        "mean": nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
        "skip": Skip(),
        **{type(layer).__name__: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), layer, nn.Linear(8, 3))
           for layer in (FullSort(), Compared(), nn.SiLU(), nn.Hardswish(), nn.Mish(), nn.GELU(), nn.Softsign(),
                         nn.PReLU(), nn.Softplus())},
    }  # fmt: skip


def written(path, net, kind):
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    x = X if kind != "one" else X[:1]
    options = {"dynamic_shapes": ({0: torch.export.Dim("b")},)} if kind == "free" else {}
    torch.onnx.export(net.eval(), (x,), path, dynamo=True, verbose=False, **options)


@pytest.mark.skipif(not WRITES, reason="needs onnxscript too")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["free", "one", "five"])
@pytest.mark.parametrize("name", list(nets()))
def test_what_torch_exports_comes_back_with_outputs_and_bound(tmp_path, name, kind):
    net = nets()[name].eval()
    written(tmp_path / "net.onnx", net, kind)
    loaded = load_model(str(tmp_path / "net.onnx"))
    assert (loaded.input_shape, loaded.outputs, loaded.name) == ((1, 6, 6), 3, "net")
    torch.testing.assert_close(loaded.module(X[:3]), net(X[:3]), atol=1e-5, rtol=1e-5)
    ours, theirs = (lipschitz.bound_module(module, (1, 6, 6)).upper for module in (loaded.module, net))
    joined = name == "skip"  # the export joins relu and clamp to one function, so that the block has a bound as a whole
    assert ours <= theirs * (1 + 1e-6) if joined else ours == pytest.approx(theirs, rel=1e-6)


def model(nodes, weights=None, *, inputs=(("x", ("b", 1, 6, 6)),), dtype=1, opset=18, output="y"):
    import onnx
    from onnx import helper, numpy_helper

    values = [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs]
    out = [helper.make_tensor_value_info(output, dtype, ("n", "q"))]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", values, out, tensors)
    opsets = [helper.make_opsetid("", opset)]
    return onnx.ModelProto.SerializeToString(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def node(kind, *names, **attributes):
    from onnx import helper

    *inputs, output = names
    return helper.make_node(kind, inputs, [output], **attributes)


def flat(source="x", target="y"):
    return node("Flatten", source, target)


FORMS = {
    "uneven padding": lambda: [node("Conv", "x", "w", "c", pads=[0, 1, 2, 0]), flat("c")],
    "same upper": lambda: [node("Conv", "x", "w", "c", auto_pad="SAME_UPPER", strides=[2, 2]), flat("c")],
    "same lower": lambda: [node("Conv", "x", "w", "c", auto_pad="SAME_LOWER", strides=[2, 3]), flat("c")],
    "max pool": lambda: [node("MaxPool", "x", "c", kernel_shape=[3, 2], pads=[1, 0, 0, 1], strides=[2, 1]), flat("c")],
    "average pool": lambda: [
        node("AveragePool", "x", "c", kernel_shape=[2, 2], pads=[0, 1, 1, 0], count_include_pad=1), flat("c")
    ],
    "pad": lambda: [node("Pad", "x", "p", "v", "c"), flat("c")],
    "slice": lambda: [node("Slice", "x", "s", "e", "a", "t", "c"), flat("c")],
    "transpose": lambda: [node("Transpose", "x", "c", perm=[0, 3, 1, 2]), flat("c")],
    "gemm": lambda: [flat("x", "f"), node("Gemm", "f", "m", "n", "y", alpha=0.5, beta=2.0, transB=1)],
    "prelu": lambda: [node("PRelu", "x", "n1", "c"), flat("c")],
    "reduce": lambda: [node("ReduceMean", "x", "axes", "c", keepdims=0), flat("c")],
    "folded": lambda: [node("Transpose", "m", "mt"), flat("x", "f"), node("MatMul", "f", "mt", "y")],
    "extremes": lambda: [
        node("Max", "x", "k", "c"), node("Min", "c", "h", "d"), node("Clip", "d", "k", "h", "u"), flat("u")
    ],
    "shape": lambda: [
        node("Shape", "x", "s0"), node("Gather", "s0", "zero", "n0"), node("Unsqueeze", "n0", "zero1", "n2"),
        node("Concat", "n2", "minus", "to", axis=0), node("Reshape", "x", "to", "y"),
    ],
}  # fmt: skip


def weights():
    rng = np.random.default_rng(0)
    real = {"w": rng.normal(size=(2, 1, 3, 2)), "m": rng.normal(size=(4, 36)), "n": rng.normal(size=4)}
    real |= {"n1": np.full((1, 1, 1), 0.3), "k": np.array(0.1), "h": np.array(0.7), "v": np.array(0.4)}
    whole = {"p": [0, 0, 1, 0, 0, 0, 2, 1], "s": [1, 0], "e": [6, 5], "a": [2, 3], "t": [2, 1], "axes": [2]}
    whole |= {"zero1": [0], "minus": [-1], "zero": 0}
    floats = {name: np.asarray(value, dtype=np.float32) for name, value in real.items()}
    return floats | {name: np.asarray(value, dtype=np.int64) for name, value in whole.items()}


@needs_onnx
@pytest.mark.parametrize("form", list(FORMS))
def test_forms_of_operations_give_what_onnxruntime_gives(tmp_path, form):
    import onnxruntime

    nodes = FORMS[form]()
    used = {name for one in nodes for name in one.input}
    content = model(nodes, {name: value for name, value in weights().items() if name in used})
    (tmp_path / "net.onnx").write_bytes(content)
    loaded = load_model(str(tmp_path / "net.onnx"))
    x = np.random.default_rng(1).normal(size=(3, 1, 6, 6)).astype(np.float32)
    expected = onnxruntime.InferenceSession(content).run(None, {"x": x})[0]
    np.testing.assert_allclose(loaded.module(torch.from_numpy(x)).numpy(), expected, atol=1e-5)


@needs_onnx
@pytest.mark.parametrize("kind", ["Relu", "Flatten", "Gemm"])
def test_a_wrong_operation_is_found_by_onnxruntime(tmp_path, monkeypatch, kind):
    rng = np.random.default_rng(2)
    parts = {"a": rng.normal(size=(36, 36)), "b": rng.normal(size=36)}
    nodes = [flat("x", "f"), node("Gemm", "f", "a", "b", "g"), node("Relu", "g", "y")]
    content = model(nodes, {name: value.astype(np.float32) for name, value in parts.items()})
    (tmp_path / "net.onnx").write_bytes(content)
    load_model(str(tmp_path / "net.onnx"))
    right = onnx_operations.OPERATIONS[kind]
    monkeypatch.setitem(onnx_operations.OPERATIONS, kind, lambda *args: 1.01 * right(*args))
    with pytest.raises(ModelError, match="other outputs in torch than in onnxruntime"):
        load_model(str(tmp_path / "net.onnx"))


@needs_onnx
@pytest.mark.parametrize(
    ("nodes", "options", "named"),
    [
        (lambda: [node("Det", "x", "d"), node("Unsqueeze", "d", "zero1", "y")], {}, "`Det`"),
        (lambda: [node("RandomNormalLike", "x", "r"), flat("r")], {}, "random operation `RandomNormalLike`"),
        (lambda: [node("Add", "x", "z", "u"), flat("u")], {"inputs": (("x", (2, 36)), ("z", (2, 36)))}, "2 inputs"),
        (lambda: [flat()], {"dtype": 11}, "is not float32"),
        (lambda: [flat()], {"inputs": (("x", ("b", 1, "h", "w")),)}, "leaves sizes"),
        (lambda: [node("Transpose", "x", "c", perm=[1, 0, 2, 3]), flat("c")], {}, "not logits|does not take"),
        (lambda: [node("Flatten", "x", "y", axis=2)], {}, "`Flatten` of another axis"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_not_read_is_named(tmp_path, nodes, options, named):
    made = nodes()
    used = {name for one in made for name in one.input}
    (tmp_path / "net.onnx").write_bytes(model(made, {k: v for k, v in weights().items() if k in used}, **options))
    with pytest.raises(ModelError, match=named) as caught:
        load_model(str(tmp_path / "net.onnx"))
    assert caught.value.hint


@needs_onnx
def test_damaged_files_and_other_shapes_are_refused(tmp_path):
    path = tmp_path / "net.onnx"
    for content in (b"", b"not a model", model([flat()])[:-9]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"damaged|inputs"):
            load_model(str(path))
    path.write_bytes(model([flat()], inputs=(("x", ("b", 1, "h", 6)),)))
    assert load_model(str(path), shape_of_data=lambda: (1, 2, 6)).outputs == 12
    with pytest.raises(ModelError, match=r"takes inputs of shape \[1, 'any', 6\]"):
        load_model(str(path), input_shape=(1, 2, 5))


def test_missing_packages_are_named(tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    with pytest.raises(ModelError, match="needs the packages onnx, onnxruntime") as caught:
        load_model(str(tmp_path / "net.onnx"))
    assert caught.value.hint == "pip install 'robench[onnx]'"
    with pytest.raises(ModelError, match="does not exist"):
        load_model(str(tmp_path / "absent.onnx"))
