"""Attacks on models and images in memory: closed forms, independent verification, and what users get wrong."""

from __future__ import annotations

import copy
import functools
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import robench
from robench.errors import DataError, ModelError, RobenchError, SpecError
from robench.records.record import AttackStatus, to_line
from robench.runs.adversarials import read_adversarials
from tests.attacks.nets import certificates, digits, lipschitz_net
from tests.attacks.oracle import foolbox
from tests.attacks.runs import attack as folder_attack

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "adding-an-attack.md"
EPS = (0.25, 0.5, 1.0, 2.0)
CHEAP = ["deepfool", "pgd:steps=5", "fgsm"]


def plane(classes: int = 2, dimension: int = 12, n: int = 20) -> tuple[nn.Module, np.ndarray, np.ndarray, np.ndarray]:
    """A linear model, images in the middle of a wide box, labels, exact distances."""
    draw = np.random.default_rng(classes)
    layer = nn.Linear(dimension, 1 if classes == 2 else classes)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(draw.normal(size=layer.weight.shape)))
        layer.bias.copy_(torch.from_numpy(draw.normal(size=layer.bias.shape) * 0.1))
    x = draw.uniform(-1, 1, (n, dimension)).astype(np.float32)
    w, b = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    if classes == 2:
        w, b = np.concatenate([-w / 2, w / 2]), np.concatenate([-b / 2, b / 2])
    z = x.astype(np.float64) @ w.T + b
    y = z.argmax(1)
    gaps = z[np.arange(n), y][:, None] - z
    slopes = np.linalg.norm(w[y][:, None, :] - w[None], axis=2)
    exact = np.where(slopes > 0, gaps / np.where(slopes > 0, slopes, 1.0), np.inf).min(axis=1)
    return layer.eval(), x, y, exact


def wrong_in_float64(model: nn.Module, points: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A second implementation of a linear model's class, in numpy."""
    w, b = (part.detach().double().numpy() for part in (model.weight, model.bias))
    z = points.astype(np.float64) @ w.T + b
    return ((z[:, 0] > 0) if z.shape[1] == 1 else z.argmax(1)) != y


BOX = {"bounds": (-4.0, 4.0)}


def found_exactly(result: robench.AttackResult, exact: np.ndarray, slack: float) -> None:
    assert (result.distance >= exact).all()
    assert (result.distance <= exact * (1 + slack) + 1e-6).all()


@pytest.mark.parametrize("classes", [2, 5])
def test_distances_of_a_linear_model_are_the_closed_form(classes):
    model, x, y, exact = plane(classes)
    result = robench.attack(model, x, y, eps=EPS, attacks=CHEAP, **BOX)
    found_exactly(result, exact, 0.002)
    assert wrong_in_float64(model, result.points, y).all()
    measured = np.linalg.norm(result.points.astype(np.float64) - x, axis=1)
    assert (measured <= result.distance).all()
    assert np.allclose(measured, result.distance, rtol=1e-12)
    assert result.points.dtype == np.float32
    assert result.distance.dtype == np.float64
    assert np.array_equal(result.predicted, y)
    assert list(result.by_attack) == ["deepfool", "fgsm", "pgd"]
    assert np.array_equal(np.nanmin(list(result.by_attack.values()), axis=0), result.distance)
    for eps in EPS:
        assert result.robust_accuracy(eps) == np.mean(result.distance > eps)
    assert result.robust_accuracy(0) == 1.0
    assert result.contradictions == ()


def test_a_wrong_image_has_distance_zero_and_is_its_own_point_and_a_robust_one_has_none():
    model, x, y, exact = plane()
    y = y.copy()
    y[3] = 1 - y[3]
    below = float(exact.min()) / 2
    result = robench.attack(model, x, y, eps=[below], attacks=["fgsm"], full=True, **BOX)
    robust = np.arange(len(x)) != 3
    assert result.distance[3] == 0.0 == result.by_attack["fgsm"][3]
    assert np.array_equal(result.points[3], x[3])
    assert np.isinf(result.distance[robust]).all()
    assert np.isnan(result.points[robust]).all()
    assert np.isinf(result.by_attack["fgsm"][robust]).all()
    assert result.robust_accuracy(below) == result.robust_accuracy(0.0) == 1 - 1 / len(x)
    for nonsense in (below * 2, -1, "0", float("nan"), None, True, [below, below / 2]):
        with pytest.raises(SpecError):
            result.robust_accuracy(nonsense)


@pytest.fixture(scope="module")
def net():
    data = digits((0, 8))
    return lipschitz_net(1, data, steps=15), data.take(24)


def test_the_answers_are_those_of_the_folder_workflow_bit_by_bit(net, tmp_path):
    model, data = net
    proofs = certificates(model, data)
    spec = {"deepfool": {}, "pgd": {"steps": 5}, "fgsm": {}}
    rows = np.arange(len(data.labels))  # starts are drawn from the index
    data = type(data)(data.inputs, data.labels, rows, data.bounds)
    theirs = folder_attack(
        model, data, dict(zip(rows.tolist(), proofs.values(), strict=True)), eps=("0.25", "0.5", "1.0", "2.0"),
        folder=tmp_path, attacks=spec,
    )  # fmt: skip
    ours = robench.attack(
        model.module, data.inputs, data.labels, eps=EPS, attacks=CHEAP, certificates=[*proofs.values()]
    )
    assert [to_line(record) for record in ours.records] == [to_line(record) for record in theirs]
    for row, point in read_adversarials(tmp_path).items():
        assert np.array_equal(ours.points[row], point)
    small = robench.attack(
        model.module, torch.from_numpy(data.inputs), torch.from_numpy(data.labels).int(), eps=EPS, attacks=CHEAP,
        certificates=np.array([proof.radius_pairwise for proof in proofs.values()]), batch_size=7,
    )  # fmt: skip
    assert small.records == ours.records
    assert np.array_equal(small.points, ours.points, equal_nan=True)


def test_certified_images_are_not_attacked_at_certified_radii(net):
    model, data = net
    proofs = [*certificates(model, data).values()]
    largest = max(proof.radius_pairwise for proof in proofs)
    result = robench.attack(
        model.module, data.inputs, data.labels, eps=largest / 2, attacks="fgsm", certificates=proofs
    )
    assert result.contradictions == ()
    for record in result.records:
        certified = record.certified_radius > largest / 2
        audited = int(record.input_sha256[:8], 16) % 20 == 0
        assert record.given_to("fgsm") == (record.correct and (not certified or audited))
        assert np.isnan(result.by_attack["fgsm"][record.index]) == (record.correct and not record.given_to("fgsm"))
    assert {outcome.status for record in result.records for outcome in record.attacks.values()} > {AttackStatus.NOT_RUN}


@pytest.mark.parametrize("form", ["radii", "records"])
def test_a_planted_false_certificate_is_contradicted(form):
    model, x, y, exact = plane()
    honest = robench.attack(model, x, y, eps=EPS, attacks="deepfool", certificates=exact * (1 - 1e-9), **BOX)
    assert honest.contradictions == ()
    planted = exact * (1 - 1e-9)
    planted[4] *= 1.2
    if form == "records":
        from tests.attacks.nets import Data, Model

        data = Data(x, y, np.arange(len(x)), (-4.0, 4.0))
        planted = [
            *certificates(
                Model(model, (12,), 1), data, constant=float(np.linalg.norm(model.weight.detach())) * 0.8
            ).values()
        ]
    result = robench.attack(model, x, y, eps=[10.0], attacks="deepfool", certificates=planted, **BOX)
    assert 4 in [item.index for item in result.contradictions]
    assert form == "records" or len(result.contradictions) == 1
    assert any(note.startswith("contradiction: image 4 is fooled by deepfool") for note in result.notes)


def test_certificates_of_other_images_are_refused(net):
    model, data = net
    proofs = [*certificates(model, data).values()]
    for wrong in (proofs[1:], proofs[::-1], np.ones(3), -np.ones(24), np.full(24, np.nan), ["x"] * 24):
        with pytest.raises(DataError):
            robench.attack(model.module, data.inputs, data.labels, eps=1, attacks="fgsm", certificates=wrong)


def step(model, x, y, eps):
    """The gradient step of the guide, for a second opinion."""
    x.requires_grad_(True)
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), y, reduction="sum"), x)
    return x + eps * nn.functional.normalize(slope.flatten(1)).reshape(x.shape)


def test_a_function_is_an_attack_as_good_as_the_same_attack_of_a_library():
    model, x, y, _ = plane()  # of one logit the gradient has one direction, however logits are scaled
    theirs = robench.attack(model, x, y, eps=EPS, attacks=[foolbox.attacks.L2FastGradientAttack()], full=True, **BOX)
    ours = robench.attack(model, x, y, eps=EPS, attacks=[step, step], full=True, **BOX)
    assert list(theirs.by_attack) == ["L2FastGradientAttack"]
    assert list(ours.by_attack) == ["step", "step-2"]
    assert np.isfinite(ours.distance).any()
    assert np.allclose(ours.distance, theirs.distance, rtol=1e-3)
    assert np.array_equal(ours.by_attack["step"], ours.by_attack["step-2"])
    assert ours.passes["backward"] > 0


LIBRARY = {
    "L2ContrastReductionAttack": lambda a: a.L2ContrastReductionAttack(),
    "L2AdditiveGaussianNoiseAttack": lambda a: a.L2AdditiveGaussianNoiseAttack(),
    "DDNAttack": lambda a: a.DDNAttack(steps=30),
    "L2CarliniWagnerAttack": lambda a: a.L2CarliniWagnerAttack(steps=40, binary_search_steps=2, stepsize=0.05),
    "BinarySearchContrastReductionAttack": lambda a: a.BinarySearchContrastReductionAttack(
        distance=foolbox.distances.l2
    ),
}


def test_objects_of_foolbox_run_verified_and_repeatably():
    model, x, y, exact = plane()
    attacks = [make(foolbox.attacks) for make in LIBRARY.values()]
    attacks.append(foolbox.attacks.L2AdditiveGaussianNoiseAttack().repeat(2))
    torch.manual_seed(0)
    first = robench.attack(model, x, y, eps=[1.0, 8.0], attacks=[*attacks, "fgsm"], full=True, **BOX)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again = robench.attack(model, x, y, eps=[1.0, 8.0], attacks=[*attacks, "fgsm"], full=True, **BOX)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(first.by_attack) == ["fgsm", *LIBRARY, "L2AdditiveGaussianNoiseAttack-2"]
    assert first.records == again.records
    for name, distances in first.by_attack.items():
        assert np.isfinite(distances).any(), name
        assert (distances >= exact).all(), name
    assert (first.by_attack["DDNAttack"] <= exact * 1.05 + 2e-3).all()
    other = robench.attack(model, x, y, eps=[1.0, 8.0], attacks=attacks[1:2], full=True, seed=1, **BOX)
    assert not np.array_equal(other.distance, first.by_attack["L2AdditiveGaussianNoiseAttack"])


def test_what_draws_depends_on_the_image_alone_in_batches_of_one():
    model, x, y, _ = plane()
    noise = foolbox.attacks.L2AdditiveGaussianNoiseAttack()
    whole = robench.attack(model, x, y, eps=[4.0, 8.0], attacks=[noise], batch_size=1, **BOX)
    part = robench.attack(model, x[:3], y[:3], eps=[4.0, 8.0], attacks=[noise], batch_size=1, **BOX)
    assert part.records == whole.records[:3]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda a: a.LinfFastGradientAttack(), "LinfFastGradientAttack.*L2"),
        (lambda a: a.L1ProjectedGradientDescentAttack(), "L1ProjectedGradientDescentAttack.*L2"),
        (lambda a: a.LinfAdditiveUniformNoiseAttack().repeat(2), "LinfAdditiveUniformNoiseAttack.*L2"),
        (lambda a: a.GenAttack(), "GenAttack.*L2"),
        (lambda a: a.GaussianBlurAttack(), "GaussianBlurAttack.*L2"),
        (lambda a: a.SpatialAttack(), "SpatialAttack.*L2"),
        (lambda a: a.DDNAttack, "is a class"),
        (lambda a: nn.Identity(), "Identity is no attack"),
        (lambda a: 3, "int is no attack"),
        (lambda a: None, "NoneType is no attack"),
        (lambda a: "pgd:step=3", "step"),
        (lambda a: "newton", "unknown attack"),
    ],
)
def test_what_is_no_attack_in_l2_is_refused_by_name(make, reason):
    model, x, y, _ = plane()
    with pytest.raises(SpecError, match=reason) as caught:
        robench.attack(model, x, y, eps=1, attacks=[make(foolbox.attacks)], **BOX)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ([], "no attacks"),
        (["fgsm", "fgsm:"], "twice"),
        ({"fgsm": {}}, "no attacks"),
        (None, "no attacks"),
        ("fast", "unknown attack or suite `fast`"),
    ],
)
def test_what_is_no_choice_of_attacks_is_refused(choice, reason):
    model, x, y, _ = plane()
    with pytest.raises(SpecError, match=reason):
        robench.attack(model, x, y, eps=1, attacks=choice, **BOX)
    with pytest.raises(SpecError, match="one ε"):
        robench.attack(model, x, y, eps=[1, 2], attacks="autoattack", **BOX)


def fails(model, x, y, eps):
    raise ValueError("no luck")


FAILING = {
    "rows": lambda model, x, y, eps: x[:1] if len(x) > 1 else x[:0],
    "flat": lambda model, x, y, eps: x.sum(1),
    "nothing": lambda model, x, y, eps: None,
    "pair": lambda model, x, y, eps: (x, y),
    "complex": lambda model, x, y, eps: x + 0j,
    "text": lambda model, x, y, eps: np.array([["x"] * x.shape[1]] * len(x)),
    "raises": fails,
    "signature": lambda model, x: x,
}


@pytest.mark.parametrize("name", list(FAILING))
def test_a_function_that_returns_no_points_is_an_error(name):
    model, x, y, _ = plane()
    with pytest.raises(RobenchError) as caught:
        robench.attack(model, x, y, eps=1, attacks=[FAILING[name]], **BOX)
    assert caught.value.hint
    assert ("lambda" if name != "raises" else "fails") in caught.value.message


IDLE = {
    "nan": lambda model, x, y, eps: x * torch.nan,
    "infinite": lambda model, x, y, eps: x + torch.inf,
    "image": lambda model, x, y, eps: x,
    "in place": lambda model, x, y, eps: x.zero_() * torch.nan,
    "labels": lambda model, x, y, eps: x + 0 * y.zero_()[:, None],
}


@pytest.mark.parametrize("name", list(IDLE))
def test_a_function_that_finds_nothing_claims_nothing(name):
    model, x, y, _ = plane()
    before = x.copy()
    result = robench.attack(model, x, y, eps=EPS, attacks=[IDLE[name]], **BOX)
    assert np.isinf(result.distance).all()
    assert result.robust_accuracy(2) == 1.0
    assert np.array_equal(x, before)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("length", [30.0, 1e6, 1e30])
def test_points_out_of_the_ball_and_the_box_are_moved_back_and_what_is_far_is_not_claimed(length, in_place):
    model, x, y, exact = plane()
    w = model.weight.detach()

    def far(model, x, y, eps):
        shift = -length * (2 * y[:, None] - 1) * w / w.norm()
        return x.add_(shift) if in_place else x + shift

    result = robench.attack(model, x, y, eps=[0.3, 1.0], attacks=[far], **BOX)
    near = exact < 1.0 - 1e-4
    assert near.any()
    assert not near.all()
    assert np.array_equal(np.isfinite(result.distance), near)
    assert (result.distance[near] <= 1.0).all()
    assert (result.distance >= exact).all()
    assert wrong_in_float64(model, result.points[near], y[near]).all()


def test_a_function_may_ask_for_some_rows_use_numpy_or_be_a_partial():
    model, x, y, exact = plane(5)

    def odd(model, x, y, eps, keep):
        return np.concatenate(
            [step(model, x[i : i + 1].clone(), y[i : i + 1], eps).detach().double().numpy() for i in range(len(x))]
        )

    result = robench.attack(model, x, y, eps=EPS, attacks=functools.partial(odd, keep=1), full=True, **BOX)
    assert list(result.by_attack) == ["odd"]
    assert np.isfinite(result.distance).any()
    assert (result.distance >= exact).all()


def test_what_a_function_sets_stays_within_it_and_it_finds_the_device():
    model, x, y, _ = plane()
    before = torch.get_default_dtype()

    def leaves(model, x, y, eps):
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        assert next(model.parameters()).device == x.device
        assert not model.training
        assert model(x).shape == (len(x), 2)
        return x

    after = robench.attack(model, x, y, eps=EPS, attacks=[leaves, foolbox.attacks.L2FastGradientAttack()], **BOX)
    alone = robench.attack(model, x, y, eps=EPS, attacks=[foolbox.attacks.L2FastGradientAttack()], **BOX)
    assert np.array_equal(after.distance, alone.distance)
    assert np.isfinite(alone.distance).any()
    assert (torch.is_grad_enabled(), torch.get_default_dtype()) == (True, before)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([1e-3, 0.5, 3.0, 50.0]), st.sampled_from([np.float32, np.float64]))
def test_no_function_breaks_an_image_nearer_than_its_boundary(seed, length, dtype):
    model, x, y, exact = plane(3)
    draw = np.random.default_rng(seed)

    def anything(model, x, y, eps):
        points = x.numpy() + length * draw.normal(size=x.shape)
        points[draw.random(x.shape) < 0.01] = draw.choice([np.nan, np.inf, 1e30])
        return points.astype(dtype)

    result = robench.attack(model, x, y, eps=[0.1, 1.0, 3.0], attacks=anything, certificates=exact * (1 - 1e-9), **BOX)
    found = np.isfinite(result.distance)
    assert (result.distance >= exact).all()
    assert (result.distance <= 3.0)[found].all()
    assert wrong_in_float64(model, result.points[found], y[found]).all()
    assert (np.abs(result.points[found]) <= 4.0).all()
    assert result.contradictions == ()


def test_a_model_without_a_gradient_is_noted():
    model, x, y, _ = plane()

    class Cut(nn.Module):
        def forward(self, x):
            return model(x.detach())

    result = robench.attack(Cut().eval(), x, y, eps=EPS, attacks="fgsm", **BOX)
    assert np.isinf(result.distance).all()
    assert {note.partition(":")[0] for note in result.notes} >= {"zero-gradients", "gradient-free-better"}


def test_a_library_attack_that_asks_for_other_rows_is_refused():
    class Greedy(foolbox.attacks.base.FixedEpsilonAttack):
        distance = foolbox.distances.l2

        def run(self, model, inputs, criterion, *, epsilon, **kwargs):
            model(inputs[:1])
            return inputs

    model, x, y, _ = plane()
    with pytest.raises(ModelError, match="rows at once"):
        robench.attack(model, x, y, eps=1, attacks=[Greedy()], **BOX)


def test_the_guide_works():
    text, names = GUIDE.read_text(), {}
    blocks = re.findall(r"<!-- [\w ]+ -->\n```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace("print(", "_ = ("), names)
    assert set(names["result"].by_attack) == {"fgsm", "DDNAttack", "L2AdditiveGaussianNoiseAttack"}
    assert len([line for line in blocks[0].splitlines() if line.strip() and "import" not in line]) <= 10


def call(**changes):
    model, x, y, _ = plane(3)
    given = {"model": model, "x": x, "y": y, "eps": 0.5, "attacks": "fgsm", **BOX, **changes}
    return robench.attack(given.pop("model"), given.pop("x"), given.pop("y"), **given)


MODEL, X, Y, _ = plane(3)


def filled(value: float, dtype: torch.dtype) -> nn.Module:
    layer = nn.Linear(12, 3).to(dtype).eval().requires_grad_(False)
    layer.weight.fill_(value)
    return layer


HOSTILE = {
    "NaN": ({"x": np.where(X > 0.9, np.nan, X)}, "inputs"),
    "infinite": ({"x": torch.from_numpy(X) * torch.inf}, "inputs"),
    "float64 beyond float32": ({"x": X.astype(np.float64) * 1e300}, "inputs"),
    "outside": ({"x": X * 10}, "outside"),
    "pixels": ({"x": (X * 0 + 200).astype(np.uint8)}, "uint8"),
    "booleans": ({"x": X > 0}, "bool"),
    "empty": ({"x": X[:0], "y": Y[:0]}, "at least one"),
    "empty images": ({"x": X[:, :0]}, "at least one"),
    "one image": ({"x": X[0], "y": Y[:1]}, "no batch"),
    "ragged": ({"x": [[0.0, 1.0], [0.5]]}, "unequal"),
    "other shape": ({"x": X[:, :5]}, "batch of"),
    "channels": ({"x": X.reshape(len(X), 3, 4)}, "batch of"),
    "none": ({"x": None}, "no array of numbers"),
    "label too large": ({"y": Y + 1}, "labels go from"),
    "label negative": ({"y": Y - 1}, "count from 0"),
    "one-hot": ({"y": np.eye(3)[Y]}, "one row an image"),
    "one-hot integers": ({"y": np.eye(3, dtype=int)[Y]}, "one row an image"),
    "column": ({"y": Y[:, None]}, "one class for each"),
    "too few": ({"y": Y[1:]}, "one class for each"),
    "scalar": ({"y": 0}, "one class for each"),
    "float labels": ({"y": torch.from_numpy(Y).float()}, "no classes"),
    "boolean labels": ({"y": Y > 0}, "no classes"),
    "training": ({"model": nn.Sequential(nn.Linear(12, 3))}, "training mode"),
    "partly training": ({"model": nn.Sequential(MODEL, nn.Dropout(0.5)).eval().append(nn.Dropout())}, "training"),
    "function": ({"model": lambda x: x}, "no torch.nn.Module"),
    "class": ({"model": nn.Linear}, "no torch.nn.Module"),
    "one output a batch": ({"model": nn.Sequential(MODEL, nn.Flatten(0)).eval()}, "not logits"),
    "NaN weights": ({"model": filled(torch.nan, torch.float32)}, "not finite"),
    "float64 weights": ({"model": filled(0.1, torch.float64)}, "float64"),
    "no radius": ({"eps": []}, "no radius"),
    "zero": ({"eps": 0}, "not above 0"),
    "negative": ({"eps": [0.5, -1.0]}, "not above 0"),
    "NaN radius": ({"eps": float("nan")}, "radius"),
    "infinite radius": ({"eps": np.inf}, "radius"),
    "boolean radius": ({"eps": True}, "not a radius"),
    "no number": ({"eps": [None]}, "not a radius"),
    "bounds reversed": ({"bounds": (1.0, 0.0)}, "bounds"),
    "bounds missing": ({"bounds": None}, r"outside of \[0, 1\]"),
    "bounds infinite": ({"bounds": (-np.inf, np.inf)}, "bounds"),
    "seed": ({"seed": -1}, "seed"),
    "batch size": ({"batch_size": 0}, "batch_size"),
    "device": ({"device": "tpu"}, "device"),
    "full": ({"full": "no"}, "full"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(HOSTILE))
def test_what_users_get_wrong_is_an_error_with_a_hint(name):
    changes, reason = HOSTILE[name]
    with pytest.raises(RobenchError, match=reason) as caught:
        call(**changes)
    assert caught.value.hint


def test_forms_of_the_same_question_give_the_same_answer():
    plain = call()
    forms = [
        {"x": torch.from_numpy(X)},
        {"x": torch.from_numpy(X).requires_grad_(True), "y": torch.from_numpy(Y).int()},
        {"x": X.astype(np.float64), "y": Y.astype(np.uint8)},
        {"x": np.asfortranarray(X), "y": Y.tolist()},
        {"eps": "1/2"},
        {"eps": Fraction(1, 2)},
        {"eps": [np.float32(0.5)]},
        {"eps": torch.tensor([0.5])},
        {"attacks": ["fgsm"]},
        {"model": nn.DataParallel(MODEL).eval()},
        {"model": copy.deepcopy(MODEL).double()},
        {"batch_size": np.int64(3), "device": "cpu", "seed": np.uint8(0)},
    ]
    for changes in forms:
        assert np.array_equal(call(**changes).distance, plain.distance), changes
    assert np.isfinite(plain.distance).any()


@pytest.mark.parametrize("setting", ["no_grad", "inference_mode", "float64", "autocast", "device"])
def test_settings_of_the_program_change_nothing(setting):
    plain = call()
    before = torch.get_default_dtype()
    contexts = {
        "no_grad": torch.no_grad,
        "inference_mode": torch.inference_mode,
        "float64": lambda: torch.set_grad_enabled(True),
        "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        "device": lambda: torch.device("meta"),
    }
    try:
        with contexts[setting]():
            if setting == "float64":
                torch.set_default_dtype(torch.float64)
            x, y = torch.from_numpy(X) * 1.0, torch.from_numpy(Y) * 1
            found = robench.attack(MODEL, x, y, eps=0.5, attacks="fgsm", **BOX)
            assert torch.get_default_dtype() == (torch.float64 if setting == "float64" else before)
    finally:
        torch.set_default_dtype(before)
    assert np.array_equal(found.distance, plain.distance)


def test_the_model_stays_as_it_is():
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(12, 8)), nn.ReLU(), nn.Linear(8, 3)).eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    result = call(model=model)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        assert np.array_equal(result.predicted, model(torch.from_numpy(X)).argmax(1).numpy())


def test_a_sigmoid_at_the_end_is_read_at_one_half():
    model, x, y, exact = plane()
    result = robench.attack(nn.Sequential(model, nn.Sigmoid()).eval(), x, y, eps=EPS, attacks="deepfool", **BOX)
    found_exactly(result, exact, 0.002)
    assert any("0.5" in note for note in result.notes)


def test_a_model_of_one_class_is_noted():
    constant = copy.deepcopy(MODEL)
    with torch.no_grad():
        constant.weight.zero_()
        constant.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    assert any("constant" in note for note in call(model=constant).notes)


def test_rows_of_a_data_set_keep_their_positions_in_the_split():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1)).eval()
    radii = robench.certify(model, "digits:0-8", split="validation", limit=3)
    found = robench.attack(
        model, "digits:0-8", split="validation", limit=3, eps=[0.1, 8], attacks="deepfool", certificates=radii
    )
    assert [record.index for record in found.records] == radii.index.tolist() == [0, 8, 11]
    assert found.distance.shape == (3,)
    assert found.points.shape == (3, 1, 8, 8)
    assert not robench.crosscheck(radii, found)
    for kept in ({"y": [0, 1, 0]}, {"bounds": (0.0, 1.0)}):
        with pytest.raises(RobenchError, match="has its own"):
            robench.attack(model, "digits:0-8", limit=3, eps=1, **kept)
