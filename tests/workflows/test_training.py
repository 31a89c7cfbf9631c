"""Training: learns, is reproducible, resumes after a kill to the same weights, refuses what does not fit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from robench.data import load
from robench.errors import DataError, ModelError, RobenchError, RunError
from robench.models import load_model
from robench.progress import NoProgress
from robench.specs.data import DataSpec
from robench.specs.training import LossSpec, TrainSpec
from robench.training.recipes import RECIPES, build_spec
from robench.workflows.training import fit
from robench.workflows.training_folder import read_training, training_facts

DATA = {
    name: [load(DataSpec(name=name), split) for split in ("train", "validation")] for name in ("two-moons", "digits")
}


def spec_of(recipe, data="two-moons", *, epochs=3, **changes):
    train = DATA[data][0]
    return build_spec(recipe, data=data, input_shape=train.shape, classes=train.classes, epochs=epochs, changes=changes)


def fit_to(out, spec, **given):
    train, validation = DATA[spec.data.name]
    return fit(spec, train.take(400), validation.take(100), out=out, device="cpu", **given)


class Stop(NoProgress):
    """Raises in the middle of an epoch."""

    def __init__(self, steps):
        self.left = steps

    def advance(self, steps=1, **facts):
        self.left -= steps
        if self.left <= 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("data", ["two-moons", "digits"])
def test_every_recipe_trains_to_a_folder_that_loads_and_classifies(tmp_path, recipe, data):
    result = fit_to(tmp_path, spec_of(recipe, data, epochs=2))
    model = load_model(str(tmp_path))
    assert model.weights_sha256 == result.weights_sha256
    assert (model.recipe, model.trained_on) == (recipe, data)
    validation = DATA[data][1].take(100)
    logits = model.module(torch.from_numpy(validation.batch(slice(None)))).numpy()
    predicted = (logits[:, 0] > 0).astype(int) if model.outputs == 1 else logits.argmax(1)
    assert np.mean(predicted == validation.labels) == pytest.approx(result.clean_accuracy, abs=1e-9)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[result.kept_epoch - 1]["clean_accuracy"] == result.clean_accuracy


def test_hkr_learns_two_moons(tmp_path):
    spec = spec_of("hkr", epochs=12)
    train, validation = DATA["two-moons"]
    result = fit(spec, train, validation, out=tmp_path, device="cpu")
    assert result.clean_accuracy >= 0.97
    assert result.certified_estimate >= 0.8


def test_the_certified_estimate_is_that_of_another_computation(tmp_path):
    result = fit_to(tmp_path, spec_of("margin", "digits", epochs=3))
    model = load_model(str(tmp_path))
    validation = DATA["digits"][1].take(100)
    logits = model.module.double()(torch.from_numpy(validation.batch(slice(None)).astype(np.float64))).numpy()
    head = model.module.get_parameter("head.weight").numpy()
    certified = 0
    for row, label in zip(logits, validation.labels, strict=True):
        i = int(row.argmax())
        radii = [(row[i] - row[j]) / np.linalg.norm(head[i] - head[j]) for j in range(10) if j != i]
        certified += i == label and min(radii) > 0.5
    assert certified / 100 == pytest.approx(result.certified_estimate, abs=0.011)


@pytest.mark.parametrize("recipe", ["hkr", "adv", "margin", "kr"])
def test_same_seed_same_weights_and_a_resumed_training_ends_the_same(tmp_path, recipe):
    spec = spec_of(recipe, epochs=4)
    whole = fit_to(tmp_path / "whole", spec)
    again = fit_to(tmp_path / "again", spec)
    assert whole.weights_sha256 == again.weights_sha256
    with pytest.raises(KeyboardInterrupt):
        fit_to(tmp_path / "cut", spec, progress=Stop(5), save_seconds=0.0)
    assert json.loads((tmp_path / "cut" / "training.json").read_text())["status"] == "interrupted"
    resumed = fit_to(tmp_path / "cut", spec)
    assert resumed.weights_sha256 == whole.weights_sha256
    for name in ("model.safetensors", "model.json", "history.jsonl"):
        whole_file = (tmp_path / "whole" / name).read_text("latin-1").replace("whole", "cut")
        assert whole_file == (tmp_path / "cut" / name).read_text("latin-1"), name
    other = fit_to(tmp_path / "other", spec.override({"seed": 1}))
    assert other.weights_sha256 != whole.weights_sha256


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("adam", "cosine"), ("adamw", "constant"), ("sgd", "one-cycle"), ("muon", "one-cycle")],
)
def test_a_resumed_training_goes_on_at_its_learning_rate(tmp_path, optimizer, schedule):
    settings = {"optimizer.name": optimizer, "optimizer.schedule": schedule, "optimizer.lr": 1e-3}
    spec = spec_of("plain", epochs=3, **settings)
    fit_to(tmp_path / "whole", spec)
    with pytest.raises(KeyboardInterrupt):
        fit_to(tmp_path / "cut", spec, progress=Stop(3), save_seconds=0.0)
    fit_to(tmp_path / "cut", spec)
    for name in ("model.safetensors", "history.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


@pytest.mark.parametrize("loss", get_args(LossSpec), ids=lambda spec: spec().type)
def test_a_training_of_any_loss_resumes_before_its_first_scored_epoch(tmp_path, loss):
    spec = spec_of("margin", epochs=3, loss=loss().to_dict(), score_every=3)
    whole = fit_to(tmp_path / "whole", spec)
    with pytest.raises(KeyboardInterrupt):
        fit_to(tmp_path / "cut", spec, progress=Stop(5), save_seconds=0.0)
    assert len((tmp_path / "cut" / "history.jsonl").read_text().splitlines()) == 2
    assert fit_to(tmp_path / "cut", spec).weights_sha256 == whole.weights_sha256
    assert training_facts(tmp_path / "cut")["loss"] == spec.loss.to_dict()


def test_a_killed_process_resumes_to_the_same_weights(tmp_path):
    script = """
import os, signal, sys, torch
torch.set_num_threads(int(sys.argv[2]))
from pathlib import Path
from robench.data import load
from robench.progress import NoProgress
from robench.training.recipes import build_spec
from robench.specs.data import DataSpec
from robench.workflows.training import fit
class Kill(NoProgress):
    left = 5
    def advance(self, steps=1, **facts):
        self.left -= steps
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
train, validation = (load(DataSpec(name="two-moons"), split).take(400) for split in ("train", "validation"))
spec = build_spec("hkr", data="two-moons", input_shape=(2,), classes=2, epochs=4)
fit(spec, train, validation, out=Path(sys.argv[1]), device="cpu", progress=Kill(), save_seconds=0.0)
"""
    cut, threads = tmp_path / "cut", torch.get_num_threads()
    killed = subprocess.run([sys.executable, "-c", script, str(cut), str(threads)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (cut / "state" / "last.safetensors").exists()
    assert not (cut / "model.safetensors").exists()
    train, validation = (dataset.take(400) for dataset in DATA["two-moons"])
    shas = [
        fit(spec_of("hkr", epochs=4), train, validation, out=out, device="cpu").weights_sha256
        for out in (cut, tmp_path / "whole")
    ]
    assert shas[0] == shas[1]


def test_a_finished_training_is_left_alone_and_another_spec_is_refused(tmp_path):
    spec = spec_of("plain", epochs=2)
    first = fit_to(tmp_path, spec)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.name != ".lock"}
    second = fit_to(tmp_path, spec)
    assert second.finished_before
    assert second.weights_sha256 == first.weights_sha256
    assert times == {path: path.stat().st_mtime_ns for path in times}
    with pytest.raises(RunError, match="`seed` is 0 there and 1 here"):
        fit_to(tmp_path, spec.override({"seed": 1}))
    third = fit_to(tmp_path, spec.override({"seed": 1}), resume=False)
    assert third.weights_sha256 != first.weights_sha256


def test_a_folder_of_older_words_is_read_and_left_alone(tmp_path):
    spec = spec_of("margin", epochs=1)
    fit_to(tmp_path, spec)
    file = tmp_path / "training.json"
    old = file.read_text().replace('"center"', '"centre"').replace('"count_weight"', '"focus"')
    file.write_text(old)
    assert TrainSpec.from_dict(read_training(tmp_path)["spec"]) == spec
    assert fit_to(tmp_path, spec).finished_before
    with pytest.raises(RunError, match=r"`loss.count_weight` is 1.0 there and 2.0 here"):
        fit_to(tmp_path, spec.override({"loss.count_weight": 2.0}))
    assert file.read_text() == old


@pytest.mark.parametrize("content", ["{}", '{"spec": []}', '{"spec": {"loss": 1}}'])
def test_a_damaged_training_is_refused(tmp_path, content):
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(RunError):
        fit_to(tmp_path, spec_of("plain"))


def test_a_diverging_training_stops_and_says_so(tmp_path):
    spec = spec_of("plain", **{"optimizer.lr": 1e30, "optimizer.schedule": "constant", "optimizer.name": "sgd"})
    with pytest.raises(RobenchError, match="diverged") as caught:
        fit_to(tmp_path, spec)
    assert "optimizer.lr" in caught.value.hint
    assert not (tmp_path / "model.safetensors").exists()


def test_a_damaged_state_is_refused_not_used(tmp_path):
    spec = spec_of("hkr", epochs=3)
    with pytest.raises(KeyboardInterrupt):
        fit_to(tmp_path, spec, progress=Stop(5), save_seconds=0.0)
    state = tmp_path / "state" / "last.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated"):
        fit_to(tmp_path, spec)


def test_data_of_another_shape_is_refused(tmp_path):
    with pytest.raises(DataError, match="the model takes"):
        fit(spec_of("plain"), *DATA["digits"], out=tmp_path, device="cpu")


def test_kr_is_centered_by_equation_two(tmp_path):
    fit_to(tmp_path, spec_of("kr", epochs=2))
    model = load_model(str(tmp_path))
    train = DATA["two-moons"][0].take(400)
    logits = model.module(torch.from_numpy(train.batch(slice(None)))).numpy()[:, 0].astype(np.float64)
    means = [logits[train.labels == label].mean() for label in (0, 1)]
    assert means[0] + means[1] == pytest.approx(0.0, abs=1e-5)


def test_bfloat16_trains_to_float32_weights_that_keep_the_constraint(tmp_path):
    short, exact = (spec_of("gnp-hinge", "digits", epochs=8, precision=kind) for kind in ("bfloat16", "float32"))
    result = fit_to(tmp_path / "short", short)
    weight = load_model(str(tmp_path / "short")).module.get_parameter("dense1.weight")
    assert weight.dtype == torch.float32
    assert float(torch.linalg.matrix_norm(weight.double(), 2)) <= 1 + 1e-6
    assert result.clean_accuracy == pytest.approx(fit_to(tmp_path / "exact", exact).clean_accuracy, abs=0.1)


MNIST = Path(os.environ.get("ROBENCH_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "mnist"


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="no MNIST files; set ROBENCH_TEST_DATA")
def test_hkr_learns_mnist_in_three_epochs(tmp_path):
    splits = [load(DataSpec(name="mnist"), split, data_dir=MNIST) for split in ("train", "validation")]
    spec = build_spec("hkr", data="mnist", input_shape=(1, 28, 28), classes=10, epochs=3)
    result = fit(spec, *splits, out=tmp_path, device="cpu")
    assert result.clean_accuracy >= 0.9
    assert result.certified_estimate >= 0.3


def test_a_training_of_schema_version_1_is_read_if_it_was_finished(tmp_path):
    spec = spec_of("hkr", epochs=1)
    made = fit_to(tmp_path, spec)
    path = tmp_path / "training.json"
    record = json.loads(path.read_text())
    record["schema_version"] = 1
    record["result"]["accuracy"] = record["result"].pop("clean_accuracy")
    path.write_text(json.dumps(record))
    read = fit_to(tmp_path, spec)
    assert read.finished_before
    assert read.clean_accuracy == made.clean_accuracy
    path.write_text(json.dumps({**record, "status": "interrupted"}))
    with pytest.raises(RunError, match="`schema_version` is 1 there and 2 here"):
        fit_to(tmp_path, spec)
