"""Each attack against closed forms, against foolbox's own, and on nets with planted adversarials."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robench.attacks.classifier import Classifier
from robench.attacks.examples import Examples
from robench.attacks.foolbox_attacks import build
from robench.attacks.passes import PassCounter
from robench.attacks.starts import ball
from robench.records.record import AttackStatus
from robench.specs.attacks import ATTACKS, CwSpec, DeepFoolSpec, FgsmSpec, PgdSpec, parse_attack_option
from tests.attacks.nets import Data, Model, conv_net, digits
from tests.attacks.oracle import foolbox
from tests.attacks.runs import attack

CPU = torch.device("cpu")
STRONG = {"ddn": "adv_lib", "apgd-ce": "adv_lib", "fab": "adv_lib", "apgd-t": "adv_lib", "square": "art"}
"""Attacks of libraries that are extras."""
MINIMAL = {
    "deepfool": {},
    "ddn": {"steps": 300},
    "cw": {"steps": 250, "binary_search_steps": 2, "stepsize": 0.005},
}


def need(name: str) -> None:
    if name in STRONG:
        pytest.importorskip(STRONG[name], reason="docs/design/0005-attacks.md says how to install it")


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
    need(name)
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


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "square"])
def test_a_planted_adversarial_is_found(name):
    """A net that is right on the whole left half and wrong beyond a wall: |x_0| > 0.8 flips the class."""

    need(name)

    class Wall(nn.Module):
        def forward(self, x):
            f = (x[:, :1] - 0.8) * 3.0
            return torch.cat([torch.zeros_like(f), f], dim=1)

    x = np.full((6, 8), 0.5, dtype=np.float32)
    x[:, 0] = np.linspace(0.1, 0.6, 6)
    data = Data(x, np.zeros(6, dtype=np.int64), np.arange(6))
    records = attack(Model(Wall(), (8,), 2), data, attacks={name: {}}, eps=("0.3", "1.2"), full=True)
    for record, start in zip(records, x[:, 0].astype(float), strict=True):
        assert record.distance is not None
        assert 0.8 - start <= record.distance <= (1.2 if name in ("pgd", "apgd-ce", "apgd-t") else (0.8 - start) * 1.05)


def examples_of(data: Data, rows: slice, eps) -> Examples:
    x = torch.from_numpy(data.inputs[rows])
    return Examples(
        x=x,
        label=torch.from_numpy(data.labels[rows]),
        index=torch.from_numpy(data.index[rows]),
        scale=torch.ones(len(x)),
        eps=torch.tensor(eps).repeat(len(x), 1),
        distance=torch.full((len(x),), torch.inf),
    )


@pytest.fixture(scope="module")
def conv():
    data = digits(n=48)
    model = conv_net(digits(n=600), steps=80)
    classifier = Classifier(model.module, model.input_shape, device=CPU, passes=PassCounter())
    fool = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
    return data, model, classifier, fool


DIRECT = {
    "deepfool": (DeepFoolSpec(), lambda fb: fb.L2DeepFoolAttack()),
    "cw": (
        CwSpec(binary_search_steps=2, steps=40),
        lambda fb: fb.L2CarliniWagnerAttack(
            binary_search_steps=2, steps=40, stepsize=0.05, initial_const=6.0, abort_early=False
        ),
    ),
    "fgsm": (FgsmSpec(), lambda fb: fb.L2FastGradientAttack()),
    "pgd": (
        PgdSpec(steps=10, rel_stepsize=0.1, random_start=False),
        lambda fb: fb.L2ProjectedGradientDescentAttack(steps=10, rel_stepsize=0.1, random_start=False),
    ),
}


@pytest.mark.parametrize("name", list(DIRECT))
def test_points_are_those_of_foolbox_called_directly_bit_by_bit(conv, name):
    data, _, classifier, fool = conv
    options, make = DIRECT[name]
    examples = examples_of(data, slice(0, classifier.fit(32)), [0.7])
    claims = build(options, (0.0, 1.0), 0).run(classifier, examples)
    epsilon = 0.7 if name in ("fgsm", "pgd") else None
    theirs, _, success = make(foolbox.attacks)(fool, examples.x, examples.label, epsilons=epsilon)
    assert int(claims.found.sum()) > 0
    assert torch.equal(claims.found, success & (theirs != 0).flatten(1).any(dim=1))
    assert torch.equal(claims.points[claims.found], theirs[claims.found])


def test_pgd_starts_where_the_generator_of_the_image_says(conv):
    data, _, classifier, fool = conv
    examples = examples_of(data, slice(0, classifier.fit(32)), [0.7])
    claims = build(PgdSpec(steps=10), (0.0, 1.0), 5).run(classifier, examples)
    drawn = np.stack([ball(5, index, 1, examples.x[0].numel())[0] for index in examples.index.tolist()])
    start = examples.x + 0.7 * torch.from_numpy(drawn).float().reshape(examples.x.shape)

    class Started(foolbox.attacks.L2ProjectedGradientDescentAttack):
        def get_random_start(self, x0, epsilon):
            return type(x0)(start)

    attack = Started(steps=10, rel_stepsize=0.1)
    theirs, _, success = attack(fool, examples.x, examples.label, epsilons=0.7)
    assert torch.equal(claims.found, success)
    assert torch.equal(claims.points[claims.found], theirs[claims.found])


def test_a_fixed_epsilon_attack_goes_on_to_larger_radii_only_where_it_failed(conv):
    data, _, classifier, fool = conv
    examples = examples_of(data, slice(0, classifier.fit(32)), [0.4, 0.8, 1.6])
    claims = build(FgsmSpec(), (0.0, 1.0), 0).run(classifier, examples)
    _, clipped, success = foolbox.attacks.L2FastGradientAttack()(
        fool, examples.x, examples.label, epsilons=[0.4, 0.8, 1.6]
    )
    first = torch.stack(list(success)).float().argmax(dim=0)
    assert torch.equal(claims.found, torch.stack(list(success)).any(dim=0))
    for row in claims.found.nonzero().squeeze(1).tolist():
        assert torch.equal(claims.points[row], clipped[int(first[row])][row])


def test_a_failed_cw_claims_nothing():
    """foolbox returns a black image; a net that never changes its class must be robust at every ε."""

    class Constant(nn.Module):
        def forward(self, x):
            return torch.cat([x.flatten(1)[:, :1] * 0 + 1, x.flatten(1)[:, :1] * 0], dim=1)

    data = Data(np.full((3, 4), 0.5, dtype=np.float32), np.zeros(3, dtype=np.int64), np.arange(3))
    for record in attack(Model(Constant(), (4,), 2), data, eps=("1",)):
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
