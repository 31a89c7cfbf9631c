"""A user's own modules: frozen to plain weights, weights never unpickled, what does not serve refused."""

import doctest
import io
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from robench.errors import ModelError
from robench.models import load_model, loading
from robench.models.networks.plain import plain_module
from tests.models import factories

FILE = Path(factories.__file__)
SHAPE = (1, 4, 4)


def load(name, weights=None, shape=SHAPE):
    return load_model(f"{FILE}:{name}", weights=weights, input_shape=shape)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [(name, suffix) for name in ("plain", "parametrized", "dropout", "old_hook") for suffix in ("safetensors", "pt")]
    + [("shared", "pt")],  # safetensors refuses a tensor of two names
)
def test_a_factory_with_weights_gives_the_outputs_of_the_trained_module(tmp_path, name, suffix):
    torch.manual_seed(0)
    module = getattr(factories, name)()
    x = torch.rand(5, *SHAPE)
    module.train()(x)
    path = tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save({"state_dict": module.state_dict(), "epoch": 3}, path)
    else:
        safetensors.torch.save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)
    loaded = load(name, path)
    torch.testing.assert_close(loaded.module(x), module.eval()(x), atol=1e-5, rtol=1e-5)
    assert not any("parametrizations" in key for key in loaded.module.state_dict())
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    assert (loaded.outputs, loaded.name) == (3, "w")


def test_without_weights_the_digest_is_that_of_the_factorys_own():
    torch.manual_seed(0)
    first = load("plain")
    torch.manual_seed(0)
    assert load("plain").weights_sha256 == first.weights_sha256
    torch.manual_seed(1)
    assert load("plain").weights_sha256 != first.weights_sha256


def test_plain_module_leaves_the_original_working_and_parametrized():
    """The trap: `remove_parametrizations` on a deep copy takes `weight` off the class of the original."""
    torch.manual_seed(0)
    module = factories.parametrized().eval()
    x = torch.rand(3, *SHAPE)
    before = module(x)
    plain = plain_module(module)
    assert torch.equal(plain(x), before)
    assert torch.equal(module(x), before)
    assert torch.nn.utils.parametrize.is_parametrized(module[1])
    assert type(plain[1]) is torch.nn.Linear
    module.train()(x).sum().backward()
    assert module[1].parametrizations.weight.original.grad is not None
    assert torch.equal(plain(x), before)


@pytest.mark.filterwarnings("ignore")
def test_torchlip_and_orthogonium_layers_become_plain_weights():
    lip = pytest.importorskip("deel.torchlip")
    layers = pytest.importorskip("orthogonium.layers")
    torch.manual_seed(0)
    x = torch.rand(3, *SHAPE)
    for module in (
        torch.nn.Sequential(lip.SpectralConv2d(1, 2, 3, padding=1), torch.nn.Flatten(), lip.SpectralLinear(32, 4)),
        torch.nn.Sequential(torch.nn.Flatten(), layers.OrthoLinear(16, 8), layers.MaxMin(), layers.OrthoLinear(8, 3)),
    ):
        module.train()(x)
        module.eval()
        plain = plain_module(module)
        torch.testing.assert_close(plain(x), module(x), atol=1e-5, rtol=1e-5)
        assert torch.equal(plain(x), plain(x))
        assert not any("parametrizations" in key for key in plain.state_dict())


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def pickles(tmp_path):
    plain, nested = io.BytesIO(), io.BytesIO()
    pickle.dump(Bomb(), plain)
    torch.save({"weight": torch.zeros(2), "extra": Bomb()}, nested)
    whole = io.BytesIO()
    torch.save(factories.plain(), whole)
    return [plain.getvalue(), nested.getvalue(), whole.getvalue(), b"", b"\x80\x02}q\x00.", os.urandom(200)]


def test_pickles_are_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in pickles(tmp_path):
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(ModelError):
            load("plain", tmp_path / "w.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("noisy", "other outputs"),
        ("two_outputs", "not logits"),
        ("fails", "no weights here"),
        ("no_module", "returns int"),
        ("not_callable", "no function"),
        ("absent", "no function"),
    ],
)
def test_factories_that_do_not_serve_are_refused(name, message):
    with pytest.raises(ModelError, match=message):
        load(name)


def test_batch_size_two_is_no_special_case():
    with pytest.raises(ModelError, match="not logits"):
        load("one_dimensional")


def test_what_is_missing_or_wrong_is_named(tmp_path):
    with pytest.raises(ModelError, match="input shape"):
        load("plain", shape=None)
    with pytest.raises(ModelError, match="does not take a batch"):
        load("plain", shape=(3,))
    with pytest.raises(ModelError, match="does not exist"):
        load("plain", tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="does not exist"):
        load_model("absent.py:model", input_shape=SHAPE)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(ModelError, match="fails on import"):
        load_model(f"{tmp_path}/broken.py:model", input_shape=SHAPE)
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"1.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ModelError, match="do not fit"):
        load("plain", path)
    state = {name: value * torch.nan for name, value in factories.plain().state_dict().items()}
    safetensors.torch.save_file(state, path)
    with pytest.raises(ModelError, match="not finite"):
        load("plain", path)


def test_the_example_of_load_model_runs():
    failed, attempted = doctest.testmod(loading)
    assert failed == 0 < attempted
