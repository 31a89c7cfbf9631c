"""Exported programs: read where they are harmless, refused before they are opened where they are not."""

import io
import json
import os
import pickle
import zipfile

import pytest
import torch

from robench.errors import ModelError, SpecError
from robench.models import load_model
from robench.models.export import ONNX_PACKAGES, export_model
from tests.models import factories

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return load_model(f"{factories.__file__}:plain", input_shape=(1, 4, 4))


@pytest.fixture(scope="module")
def program(model, tmp_path_factory):
    return export_model(model, "pt2", tmp_path_factory.mktemp("program") / "net.pt2")


def test_a_program_gives_the_same_outputs(model, program):
    loaded = load_model(str(program))
    x = torch.rand(7, 1, 4, 4)
    torch.testing.assert_close(loaded.module(x), model.module(x))
    assert (loaded.input_shape, loaded.outputs, loaded.name) == ((1, 4, 4), 3, "net")


def altered(program, tmp_path, entry, change):
    """The archive with one entry changed (or added)."""
    path = tmp_path / "altered.pt2"
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(path, "w") as target:
        root = source.namelist()[0].split("/")[0]
        names = source.namelist()
        for name in names:
            content = source.read(name)
            target.writestr(name, change(content) if name == f"{root}/{entry}" else content)
        if f"{root}/{entry}" not in names:
            target.writestr(f"{root}/{entry}", change(b""))
    return path


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def in_graph(change):
    def apply(content):
        data = json.loads(content)
        change(data["graph_module"]["graph"])
        return json.dumps(data).encode()

    return apply


def call(target):
    return in_graph(lambda graph: graph["nodes"][0].update(target=target))


def size(expression):
    return in_graph(lambda graph: graph["nodes"][0].update(extra={"expr_str": expression}))


def pickled(content):
    return content.replace(b'"use_pickle": false', b'"use_pickle": true')


@pytest.mark.parametrize(
    ("entry", "change", "message"),
    [
        ("models/model.json", call("torch.hub.os.mkdir"), "no aten operator"),
        ("models/model.json", call("torch.ops.aten.x;os"), "no aten operator"),
        ("models/model.json", size("__import__('os').mkdir('exploded')"), "not plain arithmetic"),
        ("models/model.json", size("eval(chr(49))"), "not plain arithmetic"),
        ("models/model.json", in_graph(lambda g: g["inputs"].append({"as_custom_obj": {"name": "x"}})), "no tensor"),
        ("data/weights/model_weights_config.json", pickled, "pickled"),
        ("data/sample_inputs/model.pt", lambda _: pickle.dumps(Bomb()), "more than tensors"),
        ("data/aotinductor/model/x.so", lambda _: b"\x7fELF", "no part of"),
        ("data/constants/custom_obj_0.pkl", lambda _: pickle.dumps(Bomb()), "no part of"),
    ],
)
def test_programs_that_could_run_code_are_refused(program, tmp_path, monkeypatch, entry, change, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message):
        load_model(str(altered(program, tmp_path, entry, change)))
    assert not (tmp_path / "exploded").exists()


def test_an_entry_that_is_there_twice_is_refused(program, tmp_path):
    path = tmp_path / "twice.pt2"
    path.write_bytes(program.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"")
    with pytest.raises(ModelError, match="same name"):
        load_model(str(path))


def test_damaged_programs_are_refused(program, tmp_path):
    path = tmp_path / "damaged.pt2"
    for content in (b"", b"PK", program.read_bytes()[:-300], os.urandom(500)):
        path.write_bytes(content)
        with pytest.raises(ModelError):
            load_model(str(path))
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ModelError):
        load_model(str(path))


def test_weights_beside_a_program_are_refused(program, tmp_path):
    with pytest.raises(ModelError, match="its own weights"):
        load_model(str(program), weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_a_state_dict_comes_back_through_its_factory(model, tmp_path, name):
    path = export_model(model, "state-dict", tmp_path / name)
    again = load_model(f"{factories.__file__}:plain", weights=path, input_shape=(1, 4, 4))
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(again.module(x), model.module(x))


def test_unknown_formats_and_missing_packages_are_named(model, tmp_path, monkeypatch):
    with pytest.raises(SpecError, match="unknown format"):
        export_model(model, "onyx", tmp_path / "x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    with pytest.raises(ModelError, match="needs the packages onnx"):
        export_model(model, "onnx", tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_onnx_gives_the_same_outputs(model, tmp_path):
    for package in ONNX_PACKAGES:
        pytest.importorskip(package)
    path = export_model(model, "onnx", tmp_path / "net.onnx")
    assert path.stat().st_size > 0
