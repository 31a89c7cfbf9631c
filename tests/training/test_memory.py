"""`robench.train`: on arrays, tensors and names, the same weights as a model folder."""

import numpy as np
import pytest
import torch

import robench
from robench import workflows
from robench.data import load
from robench.errors import DataError, SpecError
from robench.models import load_model
from robench.specs.data import DataSpec
from robench.training import train
from robench.training.planning import train_spec

CPU = {"device": "cpu"}


def equal(one, other):
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def folder_model(spec, out):
    workflows.train(spec, out, execution=workflows.Execution(device="cpu"))
    return load_model(str(out)).module


@pytest.mark.parametrize("recipe", ["hkr", "adv", "margin"])
def test_a_name_gives_the_weights_of_the_folder(tmp_path, recipe):
    spec = train_spec(recipe, DataSpec(name="two-moons"), epochs=2, seed=3)
    trained = train(recipe, "two-moons", epochs=2, seed=3, **CPU)
    assert equal(trained, folder_model(spec, tmp_path / "model"))
    assert equal(trained, train(spec, "two-moons", **CPU))
    assert not trained.training
    assert not any(parameter.requires_grad for parameter in trained.parameters())


def test_arrays_tensors_and_a_file_of_them_give_the_same_weights(tmp_path):
    """The file's two near and unequal classes are measured, and a tenth of each is kept for validation."""
    rng = np.random.default_rng(0)
    y = (rng.random(500) < 0.3).astype(np.int64)
    x = np.clip(0.5 + 0.1 * rng.standard_normal((500, 1, 6, 6)) + 0.1 * y[:, None, None, None], 0, 1).astype("f4")
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    spec = train_spec("hkr", DataSpec(name=f"npz:{tmp_path / 'own.npz'}"), epochs=2)
    assert spec.balance
    assert spec.loss.margin < 1
    models = [
        folder_model(spec, tmp_path / "model"),
        train("hkr", x, y, epochs=2, **CPU),
        train("hkr", torch.from_numpy(x), torch.from_numpy(y), epochs=2, **CPU),
        train("hkr", x, y, epochs=2, device="cpu", changes={"loss.margin": spec.loss.margin}),
    ]
    assert all(equal(models[0], model) for model in models[1:])


def test_a_trained_model_is_certified():
    images = load(DataSpec(name="digits"), "test", limit=50).batch(slice(None))
    model = train("hkr", "digits", epochs=2, **CPU)
    assert robench.lipschitz_bound(model, (1, 8, 8)).upper < 2
    assert (robench.certify(model, images).radius > 0).any()


def test_given_validation_images_are_used_and_all_others_trained_on():
    train_set, held_out = (load(DataSpec(name="digits"), split) for split in ("train", "validation"))
    pairs = [(images.batch(slice(None)), images.labels) for images in (train_set, held_out)]
    spec = train_spec("gnp-log", DataSpec(name="digits"), epochs=1)
    named = train(spec, "digits", **CPU)
    assert equal(train(spec, *pairs[0], validation=pairs[1], **CPU), named)
    assert equal(train(spec, train_set, validation=held_out, **CPU), named)


def test_the_settings_of_the_program_change_nothing_and_stay():
    x, y = np.tile(np.float32([[0.1, 0.1], [0.9, 0.9]]), (50, 1)), [0, 1] * 50
    expected = train("hkr", x, y, epochs=1, **CPU)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            found = train("hkr", x, y, epochs=1, **CPU)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert equal(expected, found)
    assert torch.equal(before, torch.random.get_rng_state())


X = np.full((40, 2), 0.5, dtype=np.float32)
Y = np.arange(40) % 4
SPEC = train_spec("hkr", DataSpec(name="two-moons"), epochs=1)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (("hrk", X, Y), SpecError, "unknown recipe `hrk`"),
        ((3, X, Y), SpecError, "the recipe is 3"),
        (("adv", X * 255, Y), DataError, "outside of their bounds"),
        (("hkr", X * 255, None), DataError, "no labels"),
        (("hkr", "two-moons", Y), DataError, "has its own labels"),
        (("hkr", X, Y[:-1]), DataError, "labels of shape"),
        (("hkr", X[:8], Y[:8]), DataError, "too few"),
        (("hkr", X, np.zeros(40, dtype=int)), DataError, "one class only"),
        ((SPEC, X, Y), DataError, "labels go up to 3, but there are 2 classes"),
        ((SPEC, X[:, :1], Y % 2), DataError, r"the model takes \[2\]"),
    ],
)
def test_what_does_not_serve_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        train(*given, **CPU)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"validation": (X, Y)}, DataError, "validation labels go up to 3, but there are 2 classes"),
        ({"validation": ("two-moons", None)}, SpecError, "bounds"),
        ({"validation": X}, DataError, "no pair"),
        ({"validation": (X[:, :1], Y % 2)}, DataError, "validation images have shape"),
        ({"changes": {"loss.alfa": 1}}, SpecError, "unknown field"),
    ],
)
def test_settings_that_do_not_serve_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        train("plain", X, Y % 2, epochs=1, **given, **CPU)


def test_a_whole_spec_takes_no_settings_beside_it():
    with pytest.raises(SpecError, match="settings beside it"):
        train(SPEC, X, Y % 2, epochs=3, **CPU)
