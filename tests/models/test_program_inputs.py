"""What an exported program takes and gives: read where robench can evaluate it, else refused with the true reason."""

import warnings

import pytest
import torch
from torch import nn

from robench.errors import ModelError
from robench.models import load_model

pytestmark = pytest.mark.filterwarnings("ignore")
Dim = torch.export.Dim
FREE = {"dynamic_shapes": ({0: Dim("batch")},)}
X = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    ).eval()


class Two(nn.Module):
    def forward(self, x, y):
        return (x + y).flatten(1)[:, :3]


class Named(nn.Module):
    def forward(self, *, x):
        return x.flatten(1)[:, :3]


class Several(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.net, self.kind = net(), kind

    def forward(self, x):
        y = self.net(x)
        return {"pair": (y, x), "single": (y,), "table": {"y": y}, "classes": y.argmax(1, keepdim=True)}[self.kind]


def written(tmp_path, module, args=(X,), kwargs=None, **options):
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(module, args, kwargs, **options), path)
    return path


@pytest.mark.parametrize(
    ("make", "args", "options", "named"),
    [
        (net, (X[:1],), {}, "batches of exactly 1"),
        (net, (X,), {}, "batches of exactly 4"),
        (net, (X,), {"dynamic_shapes": ({0: Dim("batch", max=16)},)}, "batches of at most 16"),
        (net, (X,), {"dynamic_shapes": ({0: 2 * Dim("half")},)}, "of the form"),
        (Two, (X, X), {"dynamic_shapes": ({0: Dim("b")}, {0: Dim("b")})}, "it has 2 inputs"),
        (Named, (), {"kwargs": {"x": X}, "dynamic_shapes": {"x": {0: Dim("b")}}}, "by name"),
        (lambda: net().double(), (X.double(),), FREE, "float64"),
        (lambda: net().half(), (X.half(),), FREE, "float16"),
        (lambda: net().bfloat16(), (X.bfloat16(),), FREE, "bfloat16"),
        (lambda: Several("pair"), (X,), FREE, "a tuple"),
        (lambda: Several("single"), (X,), FREE, "a tuple"),
        (lambda: Several("table"), (X,), FREE, "a dict"),
        (lambda: Several("classes"), (X,), FREE, "int64 outputs"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(16, 3)), (X,), FREE, "runs again"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_it_takes_or_gives_is_named(tmp_path, make, args, options, named):
    path = written(tmp_path, make(), args, **options)
    for shape in (None, (1, 4, 4)):
        with pytest.raises(ModelError, match=named) as caught:
            load_model(str(path), input_shape=shape)
        assert caught.value.hint


def test_free_sizes_of_an_image_are_those_asked_for(tmp_path):
    path = written(tmp_path, net(), dynamic_shapes=({0: Dim("b"), 2: Dim("h"), 3: Dim("w")},))
    with pytest.raises(ModelError, match="leaves sizes open") as caught:
        load_model(str(path))
    assert "`input_shape=(1, 28, 28)`" in caught.value.hint
    with pytest.raises(ModelError, match=r"of shape \[1, 'any', 'any'\]"):
        load_model(str(path), input_shape=(2, 4, 4))
    for loaded, size in (
        (load_model(str(path), input_shape=(1, 6, 8)), (6, 8)),
        (load_model(str(path), shape_of_data=lambda: (1, 4, 6)), (4, 6)),
    ):
        assert loaded.input_shape == (1, *size)
        x = torch.rand(3, 1, *size)
        torch.testing.assert_close(loaded.module(x), net()(x))


def test_another_shape_than_the_programs_is_refused(tmp_path):
    path = written(tmp_path, net(), **FREE)
    for shape in ((1, 4, 5), (16,), (1, 1, 4, 4)):
        with pytest.raises(ModelError, match=r"takes inputs of shape \[1, 4, 4\]"):
            load_model(str(path), input_shape=shape)
    assert load_model(str(path)).input_shape == (1, 4, 4)


def test_scripts_and_files_of_tensors_under_its_name_are_refused(tmp_path):
    path = tmp_path / "net.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(net()).save(str(path))
    with pytest.raises(ModelError, match="TorchScript"):
        load_model(str(path))
    torch.save(net().state_dict(), path)
    with pytest.raises(ModelError, match="no part of a plain exported program"):
        load_model(str(path))
