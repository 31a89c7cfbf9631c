"""What holds for every suite: the same records however it is run, and the same answers however logits are written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench.crosscheck import contradictions
from robench.records import to_line
from tests.attacks.nets import Data, Model, certificates, conv_net, digits, lipschitz_net, scaled
from tests.attacks.runs import attack

SUITES = {
    "paper": {"deepfool": {}, "fgsm": {}, "pgd": {"steps": 5}, "cw": {"steps": 30}},
    "strong": {
        "deepfool": {"steps": 2},
        "ddn": {"steps": 12},
        "apgd-ce": {"steps": 8, "restarts": 2},
        "fab": {"steps": 4, "restarts": 2},
        "apgd-t": {"steps": 8, "targets": 2},
    },
    "autoattack": {
        "apgd-ce": {"steps": 8},
        "fab": {"steps": 4, "targeted": True, "restarts": 2},
        "apgd-t": {"steps": 8, "targets": 2},
        "square": {"queries": 20},
    },
}
"""The attacks of each suite, with small budgets."""
LIBRARIES = {"paper": (), "strong": ("adv_lib",), "autoattack": ("adv_lib", "art")}
EPS = {"paper": ("0.25", "0.5", "1", "1.5"), "strong": ("0.25", "0.5", "1", "1.5"), "autoattack": ("2",)}
EACH = pytest.mark.parametrize("suite", list(SUITES))


def need(suite: str) -> None:
    for library in LIBRARIES[suite]:
        pytest.importorskip(library, reason="docs/design/0005-attacks.md says how to install it")


def enlarged(data: Data) -> Data:
    """Digits of 16 x 16 pixels, as the attack `square` needs 15."""
    return replace(data, inputs=np.ascontiguousarray(np.kron(data.inputs, np.ones((1, 1, 2, 2), dtype=np.float32))))


@pytest.fixture(scope="module")
def nets():
    """For each suite a sound net of ten classes and one of one logit, and a plain one, with their images."""
    small, pair = digits(), digits((0, 8))
    large, large_pair = enlarged(digits()), enlarged(pair)
    ordinary = {
        "multi": (lipschitz_net(10, small, steps=100), small),
        "binary": (lipschitz_net(1, pair, steps=80), pair),
        "plain": (conv_net(small, steps=60), small),
    }
    return {
        "paper": ordinary,
        "strong": ordinary,
        "autoattack": {
            "multi": (lipschitz_net(10, large, steps=60), large),
            "binary": (lipschitz_net(1, large_pair, steps=60), large_pair),
        },
    }


def run(suite: str, model: Model, data: Data, proofs=None, eps=None, **settings):
    return attack(model, data, proofs, suite=suite, attacks=SUITES[suite], eps=eps or EPS[suite], **settings)


@pytest.mark.parametrize(
    ("suite", "kind"),
    [("strong", "binary"),
     *(pytest.param(suite, kind, marks=pytest.mark.slow) for suite, kind in
       (("paper", "multi"), ("autoattack", "multi"), ("autoattack", "binary"), ("strong", "plain"),
        ("strong", "multi")))],
)  # fmt: skip
def test_records_do_not_depend_on_batch_size_or_shards(nets, suite, kind):
    need(suite)
    model, data = nets[suite][kind]
    data = data.take(8)
    proofs = certificates(model, data) if kind != "plain" else {}
    whole = [to_line(record) for record in run(suite, model, data, proofs, batch_size=500)]
    for batch_size in (1, 3, 7, 64):
        assert [to_line(record) for record in run(suite, model, data, proofs, batch_size=batch_size)] == whole
    everything = set(data.index.tolist())
    shards = [run(suite, model, data, proofs, skip=everything - set(data.index[i::3].tolist())) for i in range(3)]
    assert sorted(to_line(record) for shard in shards for record in shard) == sorted(whole)


@EACH
@pytest.mark.parametrize("kind", [pytest.param("multi", marks=pytest.mark.slow), "binary"])
def test_a_sound_net_is_not_contradicted_and_an_inflated_certificate_is(nets, suite, kind):
    need(suite)
    model, data = nets[suite][kind]
    data = data.take(8)
    proofs = certificates(model, data)
    beyond = ("8",)  # so that no certificate, inflated or not, answers the pair
    assert contradictions(proofs.values(), run(suite, model, data, proofs, beyond, full=True)) == []
    inflated = {
        index: replace(proof, radius_pairwise=proof.radius_pairwise * 4, radius_paper=proof.radius_paper * 4)
        for index, proof in proofs.items()
    }
    assert contradictions(inflated.values(), run(suite, model, data, inflated, beyond, full=True))


class Rewritten(nn.Module):
    """The same model with other logits: scaled, and with classes that never win."""

    def __init__(self, inner: nn.Module, factor: float, spare: int, mask: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor
        self.register_buffer("spare", torch.full((1, spare), mask))

    def forward(self, x: Tensor) -> Tensor:
        z = self.inner(x) * self.factor
        return torch.cat([z, self.spare.to(z.dtype).expand(len(z), -1)], dim=1)


CHANGES = {
    "scale 0.01": (0.01, 0, 0.0),
    "scale 1000": (1000.0, 0, 0.0),
    "mask -1e9": (1.0, 3, -1e9),
    "mask -1e30": (1.0, 3, -1e30),
    "1000 classes": (1.0, 990, -100.0),
    "1000 masked, scaled": (30.0, 990, -1e9),
}


@pytest.mark.parametrize(
    ("suite", "change"),
    [("strong", "mask -1e30"),
     *(pytest.param(suite, change, marks=pytest.mark.slow) for suite in SUITES for change in CHANGES
       if (suite, change) != ("strong", "mask -1e30"))],
)  # fmt: skip
def test_logits_written_in_another_way_get_the_same_answer(nets, suite, change):
    need(suite)
    model, data = nets[suite]["multi"]
    data = data.take(8)
    factor, spare, mask = CHANGES[change]
    other = replace(model, module=Rewritten(model.module, factor, spare, mask).eval(), outputs=10 + spare)

    def answers(subject: Model) -> list[list[bool]]:
        return [[r.robust_at(float(text)) for text in EPS[suite]] for r in run(suite, subject, data)]

    plain = answers(model)
    assert any(map(any, plain))
    assert not all(map(all, plain))
    assert answers(other) == plain


@pytest.mark.parametrize(
    "suite", ["strong", *(pytest.param(suite, marks=pytest.mark.slow) for suite in ("paper", "autoattack"))]
)
def test_one_logit_and_two_are_one_model(nets, suite):
    need(suite)
    model, data = nets[suite]["binary"]
    data = data.take(8)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.module

        def forward(self, x: Tensor) -> Tensor:
            f = self.inner(x)
            return torch.cat([-f / 2, f / 2], dim=1)

    two = replace(model, module=Two().eval(), outputs=2)
    assert [to_line(r) for r in run(suite, two, data)] == [to_line(r) for r in run(suite, model, data)]
    assert [[r.robust_at(float(e)) for e in EPS[suite]] for r in run(suite, scaled(model, 300.0), data)] == [
        [r.robust_at(float(e)) for e in EPS[suite]] for r in run(suite, model, data)
    ]
