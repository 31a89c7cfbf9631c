"""Each attack against closed forms, against foolbox's own, and on nets with planted adversarials."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robench.attacks.catalogue import build
from robench.attacks.classifier import Classifier, margin
from robench.attacks.passes import PassCounter
from robench.attacks.pgd import ball
from robench.attacks.rows import run_rows
from robench.records import AttackStatus
from robench.specs.attacks import ATTACKS, CwSpec, DeepFoolSpec, FgsmSpec, PgdSpec, parse_attack_option
from tests.attacks.nets import Data, Model, conv_net, digits
from tests.attacks.oracle import foolbox
from tests.attacks.runs import attack

CPU = torch.device("cpu")
MINIMAL = {
    "deepfool": {},
    "ddn": {"steps": 300},
    "cw": {"steps": 250, "binary_search_steps": 2, "stepsize": 0.005},
}


QUICK = {"foolbox-cw": {"steps": 200, "binary_search_steps": 3, "initial_const": 1.0}}


def linear_data(n: int = 24, dimension: int = 20, classes: int = 2) -> tuple[Model, Data, np.ndarray]:
    """A linear model of slope up to 7, images in the middle of a wide box, and exact distances."""
    generator = np.random.default_rng(3)
    x = generator.uniform(-1, 1, (n, dimension)).astype(np.float32)
    layer = nn.Linear(dimension, 1 if classes == 2 else classes)
    w = generator.normal(size=layer.weight.shape) * 7 / dimension**0.5
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w))
        layer.bias.copy_(torch.from_numpy(generator.normal(size=layer.out_features)))
    w, b = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    z = x.astype(np.float64) @ w.T + b
    if classes == 2:
        label, exact = (z[:, 0] > 0).astype(np.int64), np.abs(z[:, 0]) / np.linalg.norm(w)
    else:
        label = z.argmax(1)
        gaps = [
            [(z[i, c] - z[i, j]) / np.linalg.norm(w[c] - w[j]) for j in range(classes) if j != c]
            for i, c in enumerate(label)
        ]
        exact = np.min(gaps, axis=1)
    data = Data(x, label, np.arange(n), bounds=(-3.0, 3.0))
    return Model(layer.eval().requires_grad_(False), (dimension,), layer.out_features), data, exact


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", list(MINIMAL))
def test_minimization_attacks_find_the_exact_distance_of_a_linear_model(name, classes):
    model, data, exact = linear_data(classes=classes)
    found = np.array(
        [r.distance for r in attack(model, data, attacks={name: MINIMAL[name]}, eps=("0.001",), full=True)]
    )
    assert (found >= exact).all()
    # With five classes cross-entropy mixes their gradients, so DDN is not exact; Adam hops over the boundary by a step.
    slack = {"ddn": 0.25 if classes > 2 else 2e-3, "cw": 0.2 if classes > 2 else 0.02, "deepfool": 1e-3}[name]
    assert (found <= exact * 1.02 + slack).all()
    assert np.median(found / exact) < (1.3 if classes > 2 else 1.05)


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_fixed_epsilon_attacks_succeed_from_the_exact_distance_of_a_linear_model_on(name):
    model, data, exact = linear_data()
    eps = tuple(f"{value:.6g}" for value in sorted({*(exact * 0.99), *(exact * 1.05)}) if value > 1e-6)
    records = attack(model, data, attacks={name: {"random_start": False} if name == "pgd" else {}}, eps=eps, full=True)
    for record, distance in zip(records, exact, strict=True):
        assert record.distance is not None
        assert distance <= record.distance <= distance * 1.05 * 1.001


@pytest.mark.parametrize("name", list(ATTACKS))
def test_a_planted_adversarial_is_found(name):
    """A net that is right on the whole left half and wrong beyond a wall: |x_0| > 0.8 flips the class."""

    class Wall(nn.Module):
        def forward(self, x):
            f = (x[:, :1] - 0.8) * 3.0
            return torch.cat([torch.zeros_like(f), f], dim=1)

    x = np.full((6, 8), 0.5, dtype=np.float32)
    x[:, 0] = np.linspace(0.1, 0.6, 6)
    data = Data(x, np.zeros(6, dtype=np.int64), np.arange(6))
    records = attack(Model(Wall(), (8,), 2), data, attacks={name: QUICK.get(name, {})}, eps=("0.3", "1.2"), full=True)
    for record, start in zip(records, x[:, 0].astype(float), strict=True):
        assert record.distance is not None
        assert 0.8 - start <= record.distance <= (1.2 if name.endswith("pgd") else (0.8 - start) * 1.05)


def scale_one(n: int) -> torch.Tensor:
    return torch.ones(n)


def jobs_of(data: Data, rows: slice, eps) -> dict[str, torch.Tensor]:
    x = torch.from_numpy(data.inputs[rows])
    return {
        "x": x,
        "label": torch.from_numpy(data.labels[rows]),
        "index": torch.from_numpy(data.index[rows]),
        "scale": scale_one(len(x)),
        "eps": torch.tensor(eps).repeat(len(x), 1),
        "goal": torch.zeros(len(x)),
    }


@pytest.fixture(scope="module")
def conv():
    data = digits(n=48)
    model = conv_net(digits(n=600), steps=80)
    classifier = Classifier(model.module, model.input_shape, device=CPU, passes=PassCounter())
    fool = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
    return data, model, classifier, fool


def correct(classifier, jobs):
    return (margin(classifier.logits(jobs["x"], jobs["scale"], len(jobs["x"])), jobs["label"]) > 0).numpy()


def test_deepfool_gives_foolbox_s_points(conv):
    data, _, classifier, fool = conv
    jobs = jobs_of(data, slice(0, 32), [1.0])
    ours, _ = run_rows(build(DeepFoolSpec(), (0.0, 1.0), 0), classifier, jobs)
    theirs = foolbox.attacks.L2DeepFoolAttack().run(fool, jobs["x"], jobs["label"])
    kept = correct(classifier, jobs)
    shift = (ours - theirs).flatten(1).norm(dim=1).numpy()[kept]
    assert (shift < 1e-3).mean() > 0.9


def test_fgsm_gives_foolbox_s_points(conv):
    data, _, classifier, fool = conv
    jobs = jobs_of(data, slice(0, 32), [0.7])
    ours, found = run_rows(build(FgsmSpec(), (0.0, 1.0), 0), classifier, jobs)
    theirs, _, success = foolbox.attacks.L2FastGradientAttack()(fool, jobs["x"], jobs["label"], epsilons=0.7)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.equal(found, success)


def test_pgd_breaks_what_foolbox_s_breaks(conv):
    data, _, classifier, fool = conv
    jobs = jobs_of(data, slice(0, 32), [0.8])
    _, found = run_rows(build(PgdSpec(random_start=False), (0.0, 1.0), 0), classifier, jobs)
    _, _, success = foolbox.attacks.L2PGD(random_start=False)(fool, jobs["x"], jobs["label"], epsilons=0.8)
    assert int(found.sum()) >= int(success.sum())
    assert int((found & ~success).sum()) <= 1


def test_cw_is_as_near_as_foolbox_s(conv):
    data, _, classifier, fool = conv
    options = {"binary_search_steps": 2, "steps": 150, "stepsize": 0.05, "initial_const": 10.0}
    jobs = jobs_of(data, slice(0, 16), [1e-3])
    ours, _ = run_rows(build(CwSpec(**options, abort_early=False), (0.0, 1.0), 0), classifier, jobs)
    theirs = foolbox.attacks.L2CarliniWagnerAttack(**options, abort_early=False).run(fool, jobs["x"], jobs["label"])
    kept = correct(classifier, jobs)
    ratio = (ours - jobs["x"]).flatten(1).norm(dim=1) / (theirs - jobs["x"]).flatten(1).norm(dim=1)
    assert (ratio[kept] - 1).abs().max() < 0.01


def test_a_failed_cw_claims_nothing():
    """foolbox returns a black image; a net that never changes its class must be robust at every ε."""

    class Constant(nn.Module):
        def forward(self, x):
            return torch.cat([x.flatten(1)[:, :1] * 0 + 1, x.flatten(1)[:, :1] * 0], dim=1)

    data = Data(np.full((3, 4), 0.5, dtype=np.float32), np.zeros(3, dtype=np.int64), np.arange(3))
    for record in attack(Model(Constant(), (4,), 2), data, suite="strong", eps=("1",)):
        assert record.distance is None
        assert {outcome.status for outcome in record.attacks.values()} == {AttackStatus.NOT_FOUND}


def test_starts_fill_the_ball_and_depend_on_the_image_alone():
    points = np.concatenate([ball(0, index, 1, 3) for index in range(4000)])
    radius = np.linalg.norm(points, axis=1)
    assert radius.max() <= 1.0
    assert np.abs(np.mean(radius**3) - 0.5) < 0.02  # r^n is uniform
    one, two = ball(7, 3, 1, 5), ball(7, 3, 2, 5)
    assert one.shape == (1, 5)
    assert two.shape == (2, 5)
    assert np.array_equal(two[:1], one)  # more draws keep the first
    assert not np.array_equal(two[1], one[0])
    for seed, index in ((8, 3), (7, 4), (3, 7)):
        assert not np.array_equal(one, ball(seed, index, 1, 5))


def test_attack_options_are_parsed_and_refused():
    assert parse_attack_option("cw:steps=1000,initial_const=10") == ("cw", {"steps": 1000, "initial_const": 10})
    assert parse_attack_option("pgd:random_start=false") == ("pgd", {"random_start": False})
    from robench.errors import SpecError

    for text in ("cv", "cw:step=3", "cw:steps=0", "cw:steps", "cw:steps=x"):
        with pytest.raises(SpecError):
            parse_attack_option(text)
