"""Two classes that lie near each other and are unequal: recipes do not fall for the constant of the majority."""

import numpy as np
import pytest
import torch
from torch import nn

from robench import workflows
from robench.data import TwoClasses, load, two_classes
from robench.models import load_model
from robench.specs.data import DataSpec
from robench.training.batches import DeviceData
from robench.training.losses import HKRLoss
from robench.training.recipes import build_spec
from robench.training.scoring import score

CPU = torch.device("cpu")
UNEQUAL = {"input_shape": (1, 8, 8), "classes": 2, "data": "npz:own.npz"}


def near(path, *, share, gap=0.1, n=900, seed=1):
    """8×8 images of noise, one class brighter in the middle by `gap` < 2 m."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, count in (("train", n), ("test", 400)):
        y = (rng.random(count) < share).astype(np.int64)
        x = 0.5 + 0.1 * rng.standard_normal((count, 8, 8))
        x[:, 2:6, 2:6] += gap * (y[:, None, None] - 0.5)
        arrays |= {f"x_{split}": np.clip(x, 0, 1).astype(np.float32), f"y_{split}": y}
    np.savez(path, **arrays)
    return DataSpec(name=f"npz:{path}")


def test_the_hinge_of_the_paper_has_its_minimum_at_the_constant_of_the_majority():
    """Eq. 5 in closed form, of f = s (x - 1/2) + b on two points d apart with shares p and 1 - p, and d < m."""
    loss, distance, minority = HKRLoss(alpha=50.0, margin=1.0), 0.4, 1
    labels = torch.tensor([0, 0, 0, minority])
    x = distance * (labels.double() - 0.5)

    def at(bias):
        return float(loss((x + bias)[:, None], labels))

    grid = np.linspace(-3, 3, 2401)
    values = np.array([at(bias) for bias in grid])
    best = grid[values.argmin()]
    assert np.all(np.sign(x.numpy() + best) == -1)  # the majority's class for both
    assert best == pytest.approx(distance / 2 - 1.0, abs=3e-3)  # the majority at its margin
    narrow = HKRLoss(alpha=50.0, margin=distance / 4)
    values = np.array([float(narrow((x + bias)[:, None], labels)) for bias in grid])
    assert np.all(np.sign(x.numpy() + grid[values.argmin()]) == [-1, -1, -1, 1])


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("shape", [(3,), (1, 4, 4), (3, 2, 2)])
def test_distance_and_share_are_those_of_numpy(tmp_path, shift, shape):
    rng = np.random.default_rng(3)
    y = np.r_[np.zeros(700, dtype=np.int64), np.ones(300, dtype=np.int64)]
    x = (0.5 * rng.random((1000, *shape)) + shift * y.reshape(-1, *[1] * len(shape))).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = load(DataSpec(name=f"npz:{tmp_path / 'd.npz'}"), "train")
    means = [
        data.inputs[data.labels == label].reshape(-1, np.prod(shape)).mean(0, dtype=np.float64) for label in (0, 1)
    ]
    found = two_classes(data)
    assert found.distance == pytest.approx(np.linalg.norm(means[1] - means[0]), rel=1e-9)
    assert found.majority == 0.7


@pytest.mark.parametrize("recipe", ["hkr", "gnp-hinge", "gnp-log", "1lip-log", "margin", "adv"])
def test_all_lengths_of_a_recipe_follow_the_distance(recipe):
    far = build_spec(recipe, **UNEQUAL, apart=TwoClasses(4.0, 0.5))
    assert far == build_spec(recipe, **UNEQUAL)
    spec = build_spec(recipe, **UNEQUAL, apart=TwoClasses(0.4, 0.72))
    assert float(spec.select_eps) == 0.05
    assert spec.balance == (recipe != "adv")
    expected = {
        "hkr": ("margin", 0.1), "gnp-hinge": ("margin", 0.1), "gnp-log": ("inverse_temperature", 10.0),
        "1lip-log": ("inverse_temperature", 10.0), "margin": ("target", 0.05), "adv": ("inverse_temperature", 1.0),
    }[recipe]  # fmt: skip
    assert getattr(spec.loss, expected[0]) == expected[1]
    if recipe == "hkr":
        assert spec.loss.alpha == 50.0
    if recipe == "adv":
        assert spec.adversarial.eps == 0.05


@pytest.mark.parametrize("name", ["mnist:0-8", "mnist:4-9", "two-moons", "digits:3-8"])
def test_sets_that_the_values_were_tried_on_keep_them(name):
    task = {"data": name, "input_shape": (2,) if name == "two-moons" else (1, 28, 28), "classes": 2}
    assert build_spec("hkr", **task, apart=TwoClasses(0.3, 0.51)) == build_spec("hkr", **task)
    if name.startswith("mnist"):
        assert build_spec("hkr", **task).loss.to_dict() == {"type": "hkr", "alpha": 50.0, "margin": 1.0}


def test_a_class_that_the_draw_misses_is_looked_for_in_all_images(tmp_path):
    y = np.zeros(6000, dtype=np.int64)
    y[5990:5993] = 1
    x = 0.5 * np.ones((6000, 2), dtype=np.float32) + 0.4 * y[:, None].astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    spec = workflows.train_spec("hkr", DataSpec(name=f"npz:{tmp_path / 'd.npz'}"))
    assert spec.balance
    assert spec.loss.margin == pytest.approx(0.4 * 2**0.5 / 4, rel=0.02)


def test_means_that_coincide_leave_a_margin_above_zero():
    assert build_spec("hkr", **UNEQUAL, apart=TwoClasses(0.0, 0.5)).loss.margin == 0.02


@pytest.mark.parametrize("counts", [(90, 10), (3, 60), (40, 41), (20, 30, 7)])
@pytest.mark.parametrize("size", [8, 25])
def test_balanced_batches_hold_each_class_alike_and_each_row_before_it_comes_again(tmp_path, counts, size):
    labels = np.repeat(np.arange(len(counts)), counts)
    x = np.linspace(0, 1, len(labels), dtype=np.float32)[:, None].repeat(2, axis=1)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
    data = DeviceData(load(DataSpec(name=f"npz:{tmp_path / 'd.npz'}"), "test"), CPU)
    batches = list(data.epoch(size, seed=0, epoch=3, balance=True))
    for batch in batches:
        in_batch = torch.bincount(batch.labels, minlength=len(counts))
        assert int(in_batch.max() - in_batch.min()) <= 1
    rows = torch.cat([batch.inputs[:, 0] for batch in batches])
    assert len(rows) == len(labels)
    for label in range(len(counts)):
        times = torch.unique(rows[torch.cat([b.labels for b in batches]) == label], return_counts=True)[1]
        assert int(times.max() - times.min()) <= 1
        assert len(times) == min(counts[label], int(times.sum()))
    again = torch.cat([batch.inputs[:, 0] for batch in data.epoch(size, seed=0, epoch=3, balance=True)])
    assert torch.equal(rows, again)
    other = torch.cat([batch.inputs[:, 0] for batch in data.epoch(size, seed=0, epoch=4, balance=True)])
    assert not torch.equal(rows, other)


@pytest.mark.parametrize("share", [0.1, 0.28, 0.5])
def test_an_honest_model_outranks_the_constant_of_the_majority(tmp_path, share):
    spec = near(tmp_path / "d.npz", share=share)
    data = DeviceData(load(spec, "test"), CPU)

    def linear(weight, bias):
        model = nn.Sequential()
        model.add_module("flatten", nn.Flatten())
        model.add_module("head", nn.Linear(64, 1))
        with torch.no_grad():
            model.head.weight.copy_(weight)
            model.head.bias.fill_(bias)
        return model

    middle = torch.zeros(1, 8, 8)
    middle[:, 2:6, 2:6] = 0.25
    honest = score(linear(middle.flatten()[None], -2.0), data, eps=0.05, input_slope=1.0)
    constant = score(linear(torch.full((1, 64), 1e-3), -3.0), data, eps=0.05, input_slope=1.0)
    labels = data.labels.numpy()
    assert constant.constant
    assert constant.clean_accuracy == constant.certified_estimate == pytest.approx((labels == 0).mean())
    assert constant.balanced_accuracy == constant.balanced_certified == 0.5
    assert honest.balanced_accuracy > 0.9
    for balance in (True, False):
        assert honest.rank(balance=balance) > constant.rank(balance=balance)


@pytest.mark.parametrize("recipe", ["hkr", "gnp-log"])
def test_near_and_unequal_classes_are_told_apart(tmp_path, recipe):
    spec = workflows.train_spec(recipe, near(tmp_path / "d.npz", share=0.28), arch="dense-small", epochs=12)
    assert spec.balance
    assert spec.loss.to_dict().get("margin", 0.1) < 0.2
    outcome = workflows.train(spec, tmp_path / "m", execution=workflows.Execution(device="cpu"))
    assert not outcome.summary["flags"]
    data = load(spec.data, "test")
    logit = load_model(str(tmp_path / "m")).module(torch.from_numpy(data.batch(slice(None))))[:, 0].numpy()
    base = max(data.labels.mean(), 1 - data.labels.mean())
    assert ((logit > 0) == data.labels).mean() > base + 0.1


def test_a_training_that_ends_in_a_constant_says_so(tmp_path):
    spec = workflows.train_spec(
        "hkr",
        near(tmp_path / "d.npz", share=0.28, gap=0.02),
        arch="dense-small",
        epochs=2,
        changes={"loss.margin": 1.0, "balance": False, "select_eps": "0.5"},
    )
    summary = workflows.train(spec, tmp_path / "m", execution=workflows.Execution(device="cpu")).summary
    assert [flag["name"] for flag in summary["flags"]] == ["constant-prediction"]
    assert summary["clean_accuracy"] == pytest.approx(summary["base_rate"])


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs"), [(100, 64, 200), (1258, 64, 31), (6000, 256, 26), (60_000, 256, 20)]
)
def test_a_small_set_gets_enough_steps(images, batch_size, epochs):
    spec = build_spec("hkr", **UNEQUAL, images=images)
    assert (spec.batch_size, spec.epochs) == (batch_size, epochs)
    assert build_spec("hkr", **UNEQUAL, images=images, epochs=3).epochs == 3


@pytest.mark.parametrize("name", ["digits", "two-moons", "mnist"])
def test_sets_that_the_values_were_tried_on_keep_their_epochs(name):
    task = {"data": name, "input_shape": (1, 28, 28), "classes": 10}
    assert build_spec("hkr", **task, images=100) == build_spec("hkr", **task)


def test_epochs_of_the_recipe_margin_alone_grow_where_images_are_few_too():
    task = {"data": "cifar10", "input_shape": (3, 32, 32), "classes": 10}
    assert build_spec("margin", **task).epochs == 40
    assert build_spec("margin", **task, images=500).epochs == 77
