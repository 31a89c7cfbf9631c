"""What gives no row of logits is audited from every kind of file, and refused only where a class is asked for."""

from __future__ import annotations

import importlib.util
import warnings

import pytest
import torch
from torch import nn

import robench
from robench import workflows
from robench.errors import ModelError

FACTORY = """
import torch
from torch import nn
class Scaled(nn.Module):
    def forward(self, x):
        return 3 * x.roll(1, 2)
def make():
    return Scaled()
"""


class Scaled(nn.Module):
    """Stretches by 3, and keeps the shape of an image."""

    def forward(self, x):
        """A permutation of the entries, three times as large."""
        return 3 * x.roll(1, 2)


def factory(folder):
    (folder / "net.py").write_text(FACTORY)
    return f"{folder}/net.py:make"


def program(folder):
    batch = torch.export.Dim("batch")
    exported = torch.export.export(Scaled().eval(), (torch.rand(2, 1, 4, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, folder / "net.pt2")
    return f"{folder}/net.pt2"


def onnx(folder):
    if importlib.util.find_spec("onnxscript") is None:
        pytest.skip("onnxscript is not installed")
    x = torch.rand(2, 1, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Scaled().eval(), (x,), folder / "net.onnx", dynamo=True, verbose=False,
                          dynamic_shapes=({0: torch.export.Dim("batch")},))  # fmt: skip
    return f"{folder}/net.onnx"


@pytest.mark.parametrize("write", [factory, program, onnx])
def test_any_output_shape_is_audited(tmp_path, write):
    ref = workflows.ModelRef(write(tmp_path), input_shape=(1, 4, 4))
    found = workflows.audit(ref)
    assert found["lipschitz_upper"] == pytest.approx(3.0, rel=1e-6)
    assert found["lipschitz_upper"] >= 3.0
    assert found["rules"] == []
    assert robench.lipschitz_bound(ref.ref, (1, 4, 4)).upper == found["lipschitz_upper"]
    with pytest.raises(ModelError, match="not logits") as refusal:
        robench.load_model(ref.ref, input_shape=(1, 4, 4))
    assert "`robench audit` takes any shape" in refusal.value.hint


def test_another_shape_than_the_file_says_is_refused(tmp_path):
    with pytest.raises(ModelError, match="shape"):
        robench.lipschitz_bound(program(tmp_path), (1, 5, 5))
