"""Weights in users' checkpoints: found where they are unambiguous, folded rightly, refused with the true reason."""

import argparse
import io
import tarfile
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from robench.errors import ModelError
from robench.models import load_model
from tests.models import factories

SHAPE = (1, 4, 4)
MAKE = f"{factories.__file__}:plain"
X = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(3))


def network(seed=0):
    torch.manual_seed(seed)
    return factories.plain()


def load(path, ref=MAKE):
    return load_model(ref, weights=path, input_shape=SHAPE)


def saved(tmp_path, data, name="w.pt"):
    torch.save(data, tmp_path / name)
    return tmp_path / name


def logits(state):
    """The plain network by numpy in float64."""
    w1, b1, w2, b2 = (np.asarray(state[key].double()) for key in ("1.weight", "1.bias", "3.weight", "3.bias"))
    x = np.asarray(X.double()).reshape(5, -1)
    return np.maximum(x @ w1.T + b1, 0) @ w2.T + b2


def assert_gives(loaded, state):
    np.testing.assert_allclose(loaded.module(X).numpy(), logits(state), atol=1e-5)


def prefixed(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


STATE, OTHER = network(0).state_dict(), network(1).state_dict()


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (STATE, None),
        (OrderedDict(STATE), None),
        (prefixed("module.", STATE), None),
        (prefixed("_orig_mod.", STATE), None),
        (prefixed("module._orig_mod.", STATE), None),
        (prefixed("model.", STATE), None),
        (prefixed("net.", STATE), None),
        (prefixed("backbone.body.", STATE), None),
        ({"state_dict": STATE, "epoch": 3}, None),
        ({"model_state_dict": prefixed("module.", STATE), "optimizer_state_dict": {"state": {0: STATE}}}, None),
        ({"model": STATE, "args": argparse.Namespace(lr=0.1), "out": Path("x"), "best": np.float64(0.5)}, None),
        ({"net": STATE, "acc": 93.1, "epoch": np.int64(3)}, None),
        ({"checkpoint": {"model": {"state_dict": STATE}}}, None),
        ({"weights_of_mine": STATE}, None),
        ({"state_dict": prefixed("model.", STATE) | {"criterion.weight": torch.ones(3)}}, "not used: `criterion"),
        ({"state_dict": STATE, "state_dict_ema": OTHER}, "not those at `state_dict_ema`"),
        ({"ema": OTHER, "model": STATE}, "not those at `ema`"),
        (prefixed("model.", STATE) | prefixed("ema_model.", OTHER), "not used: `ema_model"),
        ({"n_averaged": torch.tensor(3)} | prefixed("module.", STATE), "not used: `n_averaged`"),
        (STATE | {"bn.num_batches_tracked": torch.tensor(4)}, None),
        ({name: value.double() for name, value in STATE.items()}, "float64"),
    ],
    ids=lambda value: " ".join(list(value)[:3]) if isinstance(value, dict) else None,
)
def test_weights_are_found_and_the_choice_is_said(tmp_path, data, note):
    loaded = load(saved(tmp_path, data))
    assert_gives(loaded, STATE)
    assert bool(loaded.notes) == (note is not None)
    assert note is None or note in loaded.notes[0]


@settings(max_examples=25, deadline=None)
@given(
    places=st.lists(st.sampled_from(["state_dict", "model", "ema", "a", "net"]), max_size=2),
    parts=st.lists(st.sampled_from(["module", "_orig_mod", "model", "net", "b"]), max_size=3),
    seed=st.integers(0, 3),
)
def test_no_place_and_no_prefix_changes_the_network(tmp_path_factory, places, parts, seed):
    state = network(seed).state_dict()
    data = prefixed("".join(part + "." for part in parts), state)
    for place in places:
        data = {place: data, "epoch": 3}
    assert_gives(load(saved(tmp_path_factory.mktemp("w"), data)), state)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({}, "holds no state dict"),
        (3, "holds no state dict"),
        ([torch.ones(3)], "holds no state dict"),
        ({"optimizer": {"state": {}, "param_groups": []}, "epoch": 4}, "it holds `optimizer`, `epoch`"),
        ({"state_dict": {}}, "holds no state dict"),
        ({"state_dict": {"a.b": torch.ones(3)}}, "missing `1.weight`"),
        (prefixed("student.", STATE) | prefixed("teacher.", OTHER), "several states.*`student`, `teacher`"),
        ({"first": STATE, "second": OTHER}, "several states.*`first`, `second`"),
        (prefixed("encoder.", STATE) | {"head.weight": torch.ones(3, 3)}, "only a part of .*`head.weight`"),
        (STATE | {"5.weight": torch.ones(3, 3)}, "unknown `5.weight`"),
        ({name: value for name, value in STATE.items() if name != "3.bias"}, "missing `3.bias`"),
        (STATE | {"3.bias": torch.ones(4)}, r"has shape \[4\], not \[3\]"),
        (STATE | {"3.bias": torch.ones(3, dtype=torch.complex64)}, "is complex"),
        (STATE | {"3.bias": torch.ones(3, dtype=torch.int8)}, "of integers"),
        (STATE | {"3.bias": torch.ones(3).to_sparse()}, "is sparse"),
        (STATE | {"3.bias": quantised()}, "is quantised"),
        (STATE | {"3.bias": torch.tensor([0.0, float("inf"), 0.0])}, "not finite"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_what_does_not_fit_is_named(tmp_path, data, named):
    path = saved(tmp_path, data)
    with pytest.raises(ModelError, match=named) as caught:
        load(path)
    assert caught.value.hint


def test_a_layer_of_a_larger_network_does_not_stand_for_a_model(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\nclass make(nn.Linear):\n  def __init__(s): super().__init__(8, 3)\n"
    )
    with pytest.raises(ModelError, match="only a part"):
        load_model(f"{tmp_path / 'net.py'}:make", weights=saved(tmp_path, STATE), input_shape=(8,))


def test_whole_models_and_scripts_are_refused_unopened(tmp_path):
    path = saved(tmp_path, network())
    with pytest.raises(ModelError, match=r"torch\.nn\.modules\.container\.Sequential") as caught:
        load(path)
    assert "weights_only=False" in caught.value.hint
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network()).save(str(tmp_path / "s.pt"))
    with pytest.raises(ModelError, match="TorchScript archive"):
        load(tmp_path / "s.pt")
    for name in ("s.pt", "w.pt"):
        with pytest.raises(ModelError, match="does not say what the network computes"):
            load_model(str(tmp_path / name), input_shape=SHAPE)


def test_other_containers_are_read_or_named(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / "misnamed.pt").write_bytes((tmp_path / "model.safetensors").read_bytes())
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(STATE, tmp_path / "pytorch_model.bin")
    for name in ("misnamed.pt", "old.pth", "pytorch_model.bin"):
        assert_gives(load(tmp_path / name), STATE)
    with tarfile.open(tmp_path / "w.tar", "w") as archive:
        info = tarfile.TarInfo("storages")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    (tmp_path / "text.pt").write_text("not found")
    for name in ("w.tar", "w.npz", "text.pt"):
        with pytest.raises(ModelError, match="damaged, or of another kind"):
            load(tmp_path / name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_weights_are_taken_exactly(tmp_path, dtype):
    narrow = {name: value.to(dtype) for name, value in STATE.items()}
    assert_gives(load(saved(tmp_path, narrow)), narrow)


class TestWeightsInParts:
    """Pruned and normalised weights, in the file alone or in the factory too, against closed forms in float64."""

    @staticmethod
    def pruned(net):
        prune.random_unstructured(net[1], "weight", 0.4)
        prune.l1_unstructured(net[1], "weight", 0.3)
        prune.ln_structured(net[3], "weight", 0.3, n=2, dim=1)
        prune.random_unstructured(net[3], "bias", 0.3)

    @staticmethod
    @pytest.mark.filterwarnings("ignore")
    def normalised(net):
        nn.utils.weight_norm(net[1])
        nn.utils.weight_norm(net[3], dim=None)
        with torch.no_grad():
            net[1].weight_g.mul_(1.7)

    @staticmethod
    def by_columns(net):
        nn.utils.weight_norm(net[3], dim=1)

    @staticmethod
    def spectral(net):
        nn.utils.spectral_norm(net[1])
        net.train()(X)

    @staticmethod
    def right(state):
        """What the parts stand for, by numpy."""
        state = {name: np.asarray(value.double()) for name, value in state.items()}
        for name in list(state):
            stem = name.removesuffix("_orig").removesuffix("_g")
            if f"{stem}_mask" in state and name.endswith("_orig"):
                state[stem] = state[name] * state[f"{stem}_mask"]
            elif name.endswith("_g"):
                direction, scale = state[f"{stem}_v"], state[name]
                axes = tuple(axis for axis in range(2) if scale.ndim == 0 or scale.shape[axis] == 1)
                state[stem] = scale * direction / np.sqrt((direction**2).sum(axis=axes, keepdims=True))
            elif f"{stem}_u" in state and name.endswith("_orig"):
                sigma = state[f"{stem}_u"] @ state[name] @ state[f"{stem}_v"]
                state[stem] = state[name] / sigma
        return {name: torch.as_tensor(value) for name, value in state.items()}

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("change", ["pruned", "normalised", "by_columns", "spectral"])
    def test_the_factory_has_the_hooks(self, tmp_path, change):
        net = network(2)
        getattr(self, change)(net)
        lines = "from tests.models.test_weights import TestWeightsInParts, network\n"
        (tmp_path / "net.py").write_text(
            f"{lines}def make():\n  net = network(5)\n  TestWeightsInParts.{change}(net)\n  return net\n"
        )
        loaded = load(saved(tmp_path, net.state_dict()), f"{tmp_path / 'net.py'}:make")
        assert_gives(loaded, self.right(net.state_dict()))
        assert set(loaded.module.state_dict()) == set(STATE)
        own = load_model(f"{tmp_path / 'net.py'}:make", input_shape=SHAPE)
        assert set(own.module.state_dict()) == set(STATE)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("change", ["pruned", "normalised", "by_columns"])
    def test_the_file_alone_has_the_parts(self, tmp_path, change):
        net = network(2)
        getattr(self, change)(net)
        state = {f"module.{name}": value for name, value in net.state_dict().items()}
        assert_gives(load(saved(tmp_path, state)), self.right(net.state_dict()))

    def test_parts_that_are_not_known_are_refused(self, tmp_path):
        net = network(2)
        nn.utils.parametrizations.orthogonal(net[1])
        with pytest.raises(ModelError, match="parametrizations"):
            load(saved(tmp_path, net.state_dict()))
