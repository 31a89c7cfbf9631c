"""Model folders: what is written is what is loaded; everything damaged or hostile is refused as a `ModelError`."""

import hashlib
import json
import struct

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.errors import ModelError
from robench.models import load_model, read_tensors, save_model, write_tensors
from robench.models.build import build
from robench.specs.model import Activation, Conv, Dense, Flatten, Head, ModelDescription, ModelSpec, Normalization, Pool

SPEC = ModelSpec(
    input_shape=(1, 6, 6),
    classes=3,
    outputs=3,
    layers=(
        Conv(channels=4), Activation(kind="groupsort2"), Pool(kind="l2"), Flatten(), Dense(units=6),
        Activation(kind="fullsort"), Head(),
    ),
    normalization=Normalization(mean=(0.5,), std=(0.25,)),
)  # fmt: skip
DESCRIPTION = ModelDescription(name="tiny", recipe="hkr", trained_on="digits", class_names=("a", "b", "c"), model=SPEC)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path, build(SPEC), DESCRIPTION)
    return tmp_path


def test_a_folder_holds_what_was_saved(tmp_path):
    torch.manual_seed(0)
    module = build(SPEC)
    sha256 = save_model(tmp_path, module, DESCRIPTION)
    loaded = load_model(str(tmp_path))
    x = torch.rand(4, 1, 6, 6)
    assert torch.equal(loaded.module(x), module(x))
    assert loaded.weights_sha256 == sha256 == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert (loaded.name, loaded.recipe, loaded.trained_on, loaded.classes) == ("tiny", "hkr", "digits", 3)
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    assert save_model(tmp_path, loaded.module, DESCRIPTION) == sha256


def test_a_folder_can_be_rebuilt_by_hand_with_standard_layers(folder):
    """The second implementation: only torch, numpy formulas and the two files."""
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    layers = json.loads((folder / "model.json").read_text())["model"]["layers"]
    assert [layer["type"] for layer in layers] == [
        "conv", "activation", "pool", "flatten", "dense", "activation", "head"
    ]  # fmt: skip
    x = torch.rand(2, 1, 6, 6)
    y = (x - 0.5) / 0.25
    y = torch.nn.functional.conv2d(y, tensors["conv1.weight"], tensors["conv1.bias"], padding=1)
    y = y.reshape(2, 2, 2, 6, 6).sort(dim=2).values.reshape(2, 4, 6, 6)
    y = (y**2).reshape(2, 4, 3, 2, 3, 2).sum((3, 5)).sqrt().flatten(1)
    y = (y @ tensors["dense1.weight"].T + tensors["dense1.bias"]).sort(dim=1).values
    y = y @ tensors["head.weight"].T + tensors["head.bias"]
    torch.testing.assert_close(load_model(str(folder)).module(x), y, atol=1e-5, rtol=1e-5)


def rewrite(folder, change, facts=None):
    stored = read_tensors(folder / "model.safetensors")
    change(stored.tensors)
    write_tensors(folder / "model.safetensors", stored.tensors, stored.facts if facts is None else facts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.bias"), "`head.bias` is missing"),
        (lambda t: t.update(more=torch.zeros(1)), "`more` is unknown"),
        (lambda t: t.update({"head.bias": torch.zeros(4)}), r"has shape \[4\]"),
        (lambda t: t.update({"head.bias": torch.zeros(3, dtype=torch.float64)}), "is float64, not float32"),
        (lambda t: t["head.bias"].fill_(torch.nan), "not finite"),
        (lambda t: t["conv1.weight"].fill_(torch.inf), "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(ModelError, match=message):
        load_model(str(folder))


def test_an_architecture_of_another_model_is_refused(folder):
    """Same shapes, another activation: the weights alone could not tell."""
    path = folder / "model.json"
    path.write_text(path.read_text().replace("fullsort", "relu"))
    with pytest.raises(ModelError, match="not written for the architecture"):
        load_model(str(folder))


def test_a_hostile_size_asks_for_no_memory(folder):
    data = json.loads((folder / "model.json").read_text())
    data["model"]["layers"][4]["units"] = 1_000_000
    data["model"]["layers"].insert(4, {"type": "dense", "units": 1_000_000})
    (folder / "model.json").write_text(json.dumps(data))
    rewrite(folder, lambda t: None, {"architecture": ModelDescription.from_dict(data).model.digest()})
    with pytest.raises(ModelError, match="does not fit"):
        load_model(str(folder))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cut=st.integers(0, 3000), flip=st.none() | st.tuples(st.integers(0, 700), st.integers(1, 255)))
def test_truncated_or_altered_weights_never_escape_as_another_error(tmp_path_factory, cut, flip):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    save_model(folder, build(SPEC), DESCRIPTION)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    if flip is None:
        path.write_bytes(content[: min(cut, len(content) - 1)])
        with pytest.raises(ModelError):
            load_model(str(folder))
        return
    position, mask = flip
    content[position % len(content)] ^= mask
    path.write_bytes(content)
    try:
        loaded = load_model(str(folder))
    except ModelError:
        return
    assert loaded.weights_sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 2) + b"{}", b"\x80\x04." * 10,
     struct.pack("<Q", 100_000) + b"[" * 100_000],
)  # fmt: skip
def test_files_that_are_no_safetensors_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError):
        load_model(str(folder))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"name": 3}', "[" * 100_000, '{"name": "x", "model": {"layers": []}}', "\x00"]
)
def test_broken_descriptions_are_refused(folder, text):
    (folder / "model.json").write_text(text)
    with pytest.raises(ModelError):
        load_model(str(folder))


def test_missing_pieces_are_named(tmp_path, folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors` does not exist"):
        load_model(str(folder))
    (folder / "model.json").unlink()
    with pytest.raises(ModelError, match="holds no"):
        load_model(str(folder))
    with pytest.raises(ModelError, match="does not exist"):
        load_model(str(tmp_path / "none"))


def test_a_module_that_is_not_finite_is_not_saved(tmp_path):
    module = build(SPEC)
    torch.nn.init.constant_(module.get_parameter("head.bias"), torch.nan)
    with pytest.raises(ModelError, match="not finite"):
        save_model(tmp_path, module, DESCRIPTION)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_shape_that_contradicts_the_folder_is_refused(folder):
    assert load_model(str(folder), input_shape=(1, 6, 6)).outputs == 3
    with pytest.raises(ModelError, match="takes inputs of shape"):
        load_model(str(folder), input_shape=(1, 8, 8))
