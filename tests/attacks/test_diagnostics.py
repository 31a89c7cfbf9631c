"""Each flag is raised by a model or an evaluation with that fault, and by none without."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from robench.attacks.diagnostics import diagnose
from robench.attacks.gallery import make_gallery
from robench.records.record import AttackOutcome, AttackStatus
from robench.runs.gallery import write_gallery
from robench.specs.data import DataSpec
from robench.specs.evaluation import AttackSpec
from robench.statistics.predictions import FLAGS
from tests.attacks.nets import Model, digits, lipschitz_net, scaled
from tests.attacks.runs import attack

EPS = ("0.5", "1")
CHEAP = {"deepfool": {}, "pgd": {"steps": 10}}
CPU = torch.device("cpu")


class Wrapped(nn.Module):
    """A fault around a sound model."""

    def __init__(self, inner: nn.Module, fault: str) -> None:
        super().__init__()
        self.inner = inner
        self.fault = fault

    def forward(self, x):
        if self.fault == "quantised":
            return self.inner(torch.round(x * 16) / 16)
        if self.fault == "nan":
            z = self.inner(x)
            return z + (torch.sqrt(x.flatten(1)[:, :1] * 0) * 0)
        z = self.inner(x)
        if self.fault == "softmax":
            return torch.softmax(z, dim=1)
        if self.fault == "noise":
            return z + 0.01 * torch.randn_like(z)
        return z


@pytest.fixture(scope="module")
def sound():
    data = digits()
    return lipschitz_net(10, data, steps=100), data.take(40)


def flags(model, data, records=None, attacks=CHEAP):
    spec = AttackSpec(data=DataSpec(name="digits"), eps=EPS, attacks=attacks)
    records = records if records is not None else attack(model, data, attacks=attacks, eps=EPS)
    return {
        flag.name for flag in diagnose(model, data, records, np.zeros(len(data.index)), spec, batch_size=64, device=CPU)
    }


def faulty(model: Model, fault: str) -> Model:
    return replace(model, module=Wrapped(model.module, fault).eval())


def test_a_sound_evaluation_raises_none(sound):
    model, data = sound
    assert flags(model, data.take(20), attacks={"deepfool": {}, "cw": {"steps": 200}}) == set()


def test_quantised_inputs_have_zero_gradients(sound):
    model, data = sound
    found = flags(faulty(model, "quantised"), data.take(20))
    assert {"zero-gradients", "gradient-free-better", "unbounded-attack-fails"} <= found


def test_nan_gradients(sound):
    model, data = sound
    assert "nonfinite-gradients" in flags(faulty(model, "nan"), data)


def test_softmax_outputs(sound):
    model, data = sound
    assert "softmax-output" in flags(faulty(model, "softmax"), data)


def test_randomised_models(sound):
    model, data = sound
    assert "randomised-model" in flags(faulty(model, "noise"), data.take(10), attacks={"deepfool": {}})


def test_saturated_cross_entropy(sound):
    model, data = sound
    assert "saturated-loss" in flags(scaled(model, 1e5), data)


def test_train_mode(sound):
    model, data = sound
    wrapped = faulty(model, "none")
    wrapped.module.train()
    assert "train-mode" in flags(wrapped, data)


def test_attack_budget_too_small(sound):
    model, data = sound
    weak = {"pgd": {"steps": 6, "rel_stepsize": 0.1, "random_start": False}}
    assert "attack-budget-too-small" in flags(model, data, attacks=weak)


def test_gradient_free_search_better_than_the_records(sound):
    model, data = sound
    blind = [
        replace(r, distance=None, attack=None, attacks={"pgd": AttackOutcome(AttackStatus.NOT_FOUND, None, None)})
        if r.correct
        else r
        for r in attack(model, data, attacks=CHEAP, eps=("50",))
    ]
    assert "gradient-free-better" in flags(model, data, records=blind)


def test_every_flag_has_an_entry():
    root = Path(__file__).parents[2]
    sources = [root / "robench" / "attacks" / "diagnostics.py", root / "robench" / "models" / "output_flags.py"]
    raised = {name for path in sources for name in re.findall(r'Flag\(\s*"([a-z-]+)"', path.read_text())} | {*FLAGS}
    entries = set(re.findall(r"^### `([a-z-]+)`", (root / "docs" / "flags.md").read_text(), flags=re.M))
    assert raised == entries


def test_the_gallery_holds_adversarials_and_transports(sound, tmp_path):
    model, data = sound
    spec = AttackSpec(data=DataSpec(name="digits"), eps=("3",), attacks=CHEAP)
    gallery = make_gallery(model, data, spec, device=CPU)
    write_gallery(tmp_path, gallery.tensors(), gallery.facts())
    with safe_open(tmp_path / "gallery.safetensors", framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        reached = json.loads(file.metadata()["robench"])["reached"]
    for name in ("deepfool", "pgd"):
        found = np.isfinite(tensors[f"adversarial/{name}"]).all(axis=(1, 2, 3))
        points = torch.from_numpy(tensors[f"adversarial/{name}"][found])
        assert [label for label in reached[name] if label is not None] == model.module(points).argmax(1).tolist()
    assert set(tensors) == {"clean", "transport", "logits", "adversarial/deepfool", "adversarial/pgd"}
    expected = model.module(torch.from_numpy(tensors["clean"])).detach().numpy()
    np.testing.assert_allclose(tensors["logits"], expected, rtol=1e-4, atol=1e-5)
    assert tensors["clean"].shape == tensors["transport"].shape == (8, 1, 8, 8)
    moved = np.linalg.norm((tensors["transport"] - tensors["clean"]).reshape(8, -1), axis=1)
    nearest = np.linalg.norm((tensors["adversarial/deepfool"] - tensors["clean"]).reshape(8, -1), axis=1)
    z = model.module(torch.from_numpy(tensors["clean"])).topk(2, dim=1).values
    assert np.isfinite(nearest).any()
    assert (moved[np.isfinite(nearest)] < 4 * nearest[np.isfinite(nearest)]).all()
    assert (moved >= (z[:, 0] - z[:, 1]).numpy() * 2 / 2.0001).all()
