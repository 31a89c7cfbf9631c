"""What holds for every suite: the same records however it is run, and the same answers however logits are written."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench.attacks.advlib_attacks import build
from robench.attacks.classifier import Classifier
from robench.attacks.examples import Examples
from robench.attacks.passes import PassCounter
from robench.attacks.plan import build as build_any
from robench.errors import SpecError
from robench.records.crosscheck import contradictions
from robench.records.record import to_line
from robench.specs.attacks import ATTACKS, ApgdCeSpec, ApgdTSpec, DdnSpec, FabSpec
from robench.specs.data import DataSpec
from robench.specs.evaluation import AttackSpec
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
EPS = {"paper": ("0.25", "0.5", "1", "1.5"), "strong": ("0.25", "0.5", "1", "1.5"), "autoattack": ("1",)}
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
    for batch_size in (1, 7):  # of eight images; 64 is one batch, as 500 is
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
    assert contradictions(proofs.values(), run(suite, model, data, proofs, beyond, full=True)) == ()
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
    "suite", ["paper", *(pytest.param(suite, marks=pytest.mark.slow) for suite in ("strong", "autoattack"))]
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


def linear(classes: int, side: int = 16) -> tuple[Model, Data, np.ndarray]:
    """A linear model of images in the middle of a wide box, and exact distances, by closed form in float64."""
    generator = np.random.default_rng(5)
    x = generator.uniform(-1, 1, (6, 1, side, side)).astype(np.float32)
    layer = nn.Linear(side * side, 1 if classes == 2 else classes)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(generator.normal(size=layer.weight.shape) / side))
    w, b = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    z = x.reshape(len(x), -1).astype(np.float64) @ w.T + b
    if classes == 2:
        z, w = np.concatenate([-z / 2, z / 2], axis=1), np.concatenate([-w / 2, w / 2])
    label = z.argmax(axis=1)
    exact = [
        min((z[i, c] - z[i, j]) / np.linalg.norm(w[c] - w[j]) for j in range(len(w)) if j != c)
        for i, c in enumerate(label)
    ]
    module = nn.Sequential(nn.Flatten(), layer).eval().requires_grad_(False)
    data = Data(x, label.astype(np.int64), np.arange(len(x)), bounds=(-3.0, 3.0))
    return Model(module, (1, side, side), layer.out_features), data, np.array(exact)


LOOSE = {"apgd-ce": 1.02, "apgd-t": 1.02, "fab": 1.02, "square": 10.0}
"""ε, in exact distances, within which an attack is asked to succeed: Square knows no gradient."""


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("square", "apgd-t") else name for name in LOOSE]
)
def test_attacks_of_other_libraries_reach_the_exact_distance_of_a_linear_model(name, classes):
    need("autoattack" if name == "square" else "strong")
    model, data, exact = linear(classes)
    options = {"square": {"queries": 150}, "fab": {"steps": 30}}.get(name, {"steps": 30, "restarts": 2})
    slack = LOOSE[name] * (1.3 if classes > 2 and name == "apgd-ce" else 1.0)
    eps = tuple(f"{value:.9g}" for value in sorted(exact * slack))
    found = np.array([r.distance for r in attack(model, data, attacks={name: options}, eps=eps, full=True)], float)
    assert np.isfinite(found).all()
    assert (found >= exact).all()
    within = np.array([float(text) for text in eps])
    # a fixed ε is that of an image or the next larger one of the list
    assert (found <= within[np.searchsorted(within, exact * slack * (1 - 1e-6))] * (1 + 1e-6)).all()


def test_square_finds_a_planted_adversarial():
    """A staircase along a random direction, without a gradient anywhere, flips the class at distance 0.2."""
    need("autoattack")
    direction = torch.randn(256, generator=torch.Generator().manual_seed(0))

    class Stairs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            along = (x.flatten(1) - 0.5) @ (direction / direction.norm()).to(x.dtype)
            f = (along[:, None] * 100).floor() / 100 - 0.195
            return torch.cat([-f, f], dim=1)

    data = Data(np.full((3, 1, 16, 16), 0.5, dtype=np.float32), np.zeros(3, dtype=np.int64), np.arange(3))
    model = Model(Stairs().eval(), (1, 16, 16), 2)
    for record in attack(model, data, attacks={"square": {"queries": 100}}, eps=("4",)):
        assert record.distance is not None
        assert 0.2 * (1 - 1e-5) <= record.distance <= 4.0


def drawn(seed: int, index: Tensor, restart: int, like: Tensor) -> Tensor:
    """What the generator of each image draws first."""
    rows = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, i, restart]))).standard_normal(
            like[0].numel()
        )
        for i in index.tolist()
    ]
    return torch.from_numpy(np.stack(rows)).float().reshape(like.shape)


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t", "fab", "ddn"])
def test_points_are_those_of_adv_lib_called_directly_bit_by_bit(nets, monkeypatch, name):
    need("strong")
    model, data = nets["strong"]["plain"]
    classifier = Classifier(model.module, model.input_shape, device=torch.device("cpu"), passes=PassCounter())
    n = classifier.fit(32)
    x, label = torch.from_numpy(data.inputs[:n]), torch.from_numpy(data.labels[:n])
    index, eps = torch.from_numpy(data.index[:n]), torch.full((n, 1), 0.8)
    examples = Examples(x, label, index, scale=torch.ones(n), eps=eps, distance=torch.full((n,), torch.inf))
    options = {
        "apgd-ce": ApgdCeSpec(steps=10),
        "apgd-t": ApgdTSpec(steps=10, targets=1),
        "fab": FabSpec(steps=6, restarts=2),
        "ddn": DdnSpec(steps=20),
    }[name]
    claims = build(options, (0.0, 1.0), 7).run(classifier, examples)

    from adv_lib.attacks.auto_pgd import apgd
    from adv_lib.attacks.decoupled_direction_norm import ddn
    from adv_lib.attacks.fast_adaptive_boundary import fab

    monkeypatch.setattr(torch, "randn_like", lambda like: drawn(7, index, 0, like))
    net = model.module
    with torch.no_grad():
        second = net(x).scatter(1, label[:, None], -torch.inf).argmax(dim=1)
    direct = {
        "apgd-ce": lambda: apgd(net, x, label, float(eps[0, 0]), 2, n_iter=10, loss_function="ce"),
        "apgd-t": lambda: apgd(net, x, second, float(eps[0, 0]), 2, targeted=True, n_iter=10, loss_function="dlr"),
        "fab": lambda: fab(net, x, label, 2, n_iter=6, restarts=2),
        "ddn": lambda: ddn(net, x, label, steps=20, init_norm=1.0, levels=None),
    }[name]()
    with torch.no_grad():
        assert torch.equal(claims.found, net(direct).argmax(dim=1) != label)
    assert int(claims.found.sum()) > 3
    assert torch.equal(claims.points[claims.found], direct[claims.found])


def test_the_suite_autoattack_has_one_radius():
    with pytest.raises(SpecError, match="at one ε, and 2 are asked") as raised:
        AttackSpec(data=DataSpec(name="digits"), eps=("0.5", "1"), suite="autoattack")
    assert "the suite `strong`" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("name", "library", "package"),
    [("fab", "adv_lib", "adv-lib"), ("apgd-t", "adv_lib", "adv-lib"), ("ddn", "adv_lib", "adv-lib"),
     ("square", "art", "robench[strong]")],
)  # fmt: skip
def test_a_missing_library_is_named_with_what_installs_it(monkeypatch, name, library, package):
    for module in [m for m in sys.modules if m.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SpecError, match="not installed") as raised:
        build_any(ATTACKS[name](), (0.0, 1.0), 0)
    assert "pip install" in (raised.value.hint or "")
    assert package in (raised.value.hint or "")


@pytest.mark.slow
def test_the_suite_autoattack_leaves_what_the_reference_leaves(nets):
    need("autoattack")
    reference = pytest.importorskip("pyautoattack")
    model, data = nets["autoattack"]["multi"]
    data = data.take(24)
    records = attack(model, data, suite="autoattack", attacks={"apgd-ce": {}, "apgd-t": {}, "fab": {}}, eps=("1",))
    ours = {record.index for record in records if record.robust_at(1.0)}
    x, y = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    runner = reference.AutoAttack(model.module, norm="L2", eps=1.0, version="standard", seed=0)
    points, _ = runner.run_standard_evaluation(x, y)
    with torch.no_grad():
        theirs = set(data.index[(model.module(points).argmax(dim=1) == y).numpy()].tolist())
    assert 3 < len(theirs) < 21
    assert len(ours ^ theirs) <= 1
