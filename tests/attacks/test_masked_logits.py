"""What no class depends on changes no answer: masks on classes that never win, the logit scale, a common offset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robench.attacks.diagnostics import diagnose
from robench.attacks.line_search import CLEARANCE, clearly_wrong
from robench.errors import ModelError
from robench.models.checks import check_agreement
from robench.runs.adversarials import read_adversarials
from robench.specs.data import DataSpec
from robench.specs.evaluation import AttackSpec
from tests.attacks.nets import Model, digits, lipschitz_net
from tests.attacks.runs import attack, robust

ATTACKS = {"deepfool": {}, "pgd": {"steps": 10}, "cw": {"steps": 30, "binary_search_steps": 3}}
EPS = ("0.25", "0.5", "1", "2")
FMIN = float(torch.finfo(torch.float32).min)


class Changed(nn.Module):
    """The logits of three more classes are a constant; all logits are scaled, then shifted."""

    def __init__(self, inner: nn.Module, mask: float, scale: float, shift: float) -> None:
        super().__init__()
        self.inner, self.scale, self.shift = inner, scale, shift
        self.register_buffer("mask", torch.tensor([0.0] * 10 + [mask] * 3))

    def forward(self, x: Tensor) -> Tensor:
        z = nn.functional.pad(self.inner(x) * self.scale, (0, 3))
        return z + self.mask + self.shift


@pytest.fixture(scope="module")
def sound():
    data = digits()
    return lipschitz_net(10, data, steps=80), data.take(12)


def changed(model: Model, mask: float = -1e2, scale: float = 1.0, shift: float = 0.0) -> Model:
    return replace(model, module=Changed(model.module, mask, scale, shift).eval(), outputs=13)


@pytest.fixture(scope="module")
def answers(sound):
    model, data = sound
    records = attack(model, data, attacks=ATTACKS, eps=EPS)
    counts = [robust(records, float(text)) for text in EPS]
    assert counts[0] > counts[-1]  # so that a blind attack would be seen
    return counts


@pytest.mark.parametrize(
    "change",
    [{"mask": -1e9}, {"mask": -1e11}, {"mask": FMIN}, {"mask": -1e9, "scale": 1e-2}, {"mask": -1e5, "scale": 1e3},
     {"mask": -1e9, "shift": 1e3}],
    ids=str,
)  # fmt: skip
def test_masks_scales_and_offsets_change_no_answer(sound, answers, change, tmp_path):
    model, data = sound
    records = attack(changed(model, **change), data, attacks=ATTACKS, eps=EPS, folder=tmp_path)
    assert np.abs(np.array([robust(records, float(text)) for text in EPS]) - answers).max() <= 1
    layers = [(m.weight.double().numpy(), m.bias.double().numpy()) for m in model.module if isinstance(m, nn.Linear)]
    points = read_adversarials(tmp_path)
    found = [record for record in records if record.distance]
    assert found
    for record in found:
        z = points[record.index].reshape(-1).astype(np.float64)
        for k, (weight, bias) in enumerate(layers):
            z = weight @ z + bias
            if k < 2:
                pairs = z.reshape(-1, 2)
                z = np.stack((pairs.max(axis=1), pairs.min(axis=1)), axis=1).reshape(-1)
        assert int(z.argmax()) != record.label


@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=5),
    st.floats(-100, 100),
    st.sampled_from([-1e2, -1e9, -1e30, FMIN, -float("inf")]),
    st.sampled_from([2.0**-7, 1.0, 2.0**10]),
)
def test_a_wrong_class_is_judged_by_the_two_logits(values, gap, mask, scale):
    own, best = values[0], max(values[1:])
    plain = torch.tensor([values], dtype=torch.float64)
    masked = torch.cat((plain * scale, torch.full((1, 2), mask * scale, dtype=torch.float64)), dim=1)
    expected = best - own > CLEARANCE * max(abs(best), abs(own))
    if not mask > best:
        assert bool(clearly_wrong(plain, torch.tensor([0]))) == expected
        assert bool(clearly_wrong(masked, torch.tensor([0]))) == (expected if best > mask else mask > own)
    tie = torch.tensor([[own, own, gap]], dtype=torch.float64)
    assert gap > own or not bool(clearly_wrong(tie, torch.tensor([0])))


def test_an_offset_that_float32_cannot_hold_is_flagged(sound):
    model, data = sound[0], sound[1].take(4)
    spec = AttackSpec(data=DataSpec(name="digits"), eps=("0.5",), attacks={"deepfool": {}})

    def flags(subject: Model) -> set[str]:
        records = attack(subject, data, attacks=spec.attacks, eps=spec.eps)
        found = diagnose(
            subject, data, records, np.zeros(len(data.index)), spec, batch_size=64, device=torch.device("cpu")
        )
        return {flag.name for flag in found}

    assert "float32-margins" in flags(changed(model, shift=1e9))
    assert "float32-margins" not in flags(changed(model, mask=FMIN))


def test_a_mask_hides_no_disagreement_of_two_models():
    inputs = torch.rand(4, 3)
    one = nn.Sequential(nn.Linear(3, 3))
    with torch.no_grad():
        one[0].bias[2] = -1e9
    check_agreement(one, one, inputs)
    other = nn.Sequential(nn.Linear(3, 3))
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        other[0].bias[0] += 1.0
    with pytest.raises(ModelError, match="other outputs"):
        check_agreement(one, other, inputs)
