"""Bounds and certificates of modules and images in memory: closed forms, the folders, and what users get wrong."""

from __future__ import annotations

import copy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robench
from robench import workflows
from robench.data import load
from robench.errors import DataError, ModelError, RobenchError, SpecError
from robench.records.record import to_line
from robench.specs.data import DataSpec
from tests.certificates.checks import exact_radius, linear_classifier

NET = """
import torch
torch.manual_seed(3)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
"""
FIELDS = ("predicted", "radius", "runner_up", "margin", "index", "labels")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module]:
    """A path, and the module that it gives."""
    file = tmp_path_factory.mktemp("net") / "net.py"
    file.write_text(NET)
    names: dict[str, nn.Module] = {}
    exec(NET, names)
    return f"{file}:net", names["net"].eval()


def same(one: robench.Certificates, other: robench.Certificates) -> bool:
    assert list(one.by_rule) == list(other.by_rule)
    return (
        one.input_sha256 == other.input_sha256
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in FIELDS)
        and all(np.array_equal(one.by_rule[rule], other.by_rule[rule]) for rule in one.by_rule)
    )


def test_the_radius_of_a_linear_model_is_the_distance_to_the_boundary() -> None:
    layer, x = linear_classifier(0)
    radii = robench.certify(layer.eval(), x)
    exact = np.array([exact_radius(layer, image) for image in x], dtype=np.float64)
    assert (radii.radius <= exact).all()
    assert (radii.radius >= exact * (1 - 1e-9)).all()
    assert (radii.by_rule["paper"] <= radii.by_rule["pairwise"]).all()
    scores = x.astype(np.float64) @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
    order = np.argsort(scores, axis=1)
    assert np.array_equal(radii.predicted, order[:, -1])
    gaps = scores[np.arange(len(x)), radii.predicted] - scores[np.arange(len(x)), radii.runner_up]
    assert np.allclose(radii.margin, gaps, rtol=1e-9)
    assert len(radii) == 20
    assert radii.labels is None


def test_a_path_a_module_and_a_loaded_model_give_the_same(net: tuple[str, nn.Module]) -> None:
    path, module = net
    loaded = robench.load_model(path, input_shape=(1, 8, 8))
    bounds = [robench.lipschitz_bound(model, (1, 8, 8)) for model in (path, module, loaded)]
    assert len({(bound.upper, bound.lower, bound.fingerprint, bound.layers) for bound in bounds}) == 1
    assert robench.lipschitz_bound(loaded).upper == bounds[0].upper
    found = [robench.certify(model, "digits", limit=30) for model in (path, module, loaded)]
    found += [robench.certify(module, "digits", limit=30, bound=bound) for bound in bounds]
    assert all(same(found[0], other) for other in found)


def test_a_name_a_data_set_and_arrays_give_the_same(net: tuple[str, nn.Module]) -> None:
    data = robench.load_data("digits", limit=30)
    x, y = data.arrays()
    whole_x, whole_y = robench.load_data("digits").arrays()
    found = [
        robench.certify(net[1], "digits", limit=30),
        robench.certify(net[1], data),
        robench.certify(net[1], x, y),
        robench.certify(net[1], torch.from_numpy(whole_x), torch.from_numpy(whole_y), limit=30, batch_size=30),
    ]
    assert all(same(found[0], other) for other in found)
    without = robench.certify(net[1], x)
    assert np.array_equal(without.radius, found[0].radius)
    assert same(without.labelled(y), found[0])


@pytest.mark.parametrize("deploy_dtype", ["float64", "float32"])
def test_certificates_are_those_of_the_folder_to_the_last_digit(tmp_path: Path, deploy_dtype: str) -> None:
    two = NET + "net.append(torch.nn.Linear(10, 1))"
    (tmp_path / "two.py").write_text(two)
    names: dict[str, nn.Module] = {}
    exec(two, names)
    eps = [0.01, "1/10", Fraction(1, 2)]
    options = {"eps": eps, "deploy_dtype": deploy_dtype}
    data = workflows.DataRef("digits:3-8", limit=40)
    folder, summary = workflows.certify(f"{tmp_path}/two.py:net", data, out=tmp_path / "run", **options)
    radii = robench.certify(names["net"].eval(), "digits:3-8", limit=40, deploy_dtype=deploy_dtype)
    lines = (folder / "records.jsonl").read_text().splitlines()
    assert [to_line(record) for record in radii.records()] == lines
    for rule, rates in summary["certified_accuracy"].items():
        assert [radii.certified_accuracy(value, rule=rule) for value in eps] == list(rates.values())
    assert radii.certified_accuracy(0) == summary["clean_accuracy"]
    frame = robench.read(folder)
    assert np.array_equal(frame["margin"], radii.margin)


def test_attack_and_crosscheck_take_certificates_of_these_images_only(net: tuple[str, nn.Module]) -> None:
    x, y = robench.load_data("digits", limit=12).arrays()
    y = net[1](torch.from_numpy(x)).argmax(1).numpy()
    radii = robench.certify(net[1], x)
    small = float(radii.radius.min()) / 2
    found = robench.attack(net[1], x, y, eps=[small, 1.0], attacks=["fgsm"], certificates=radii)
    assert [record.certified_radius for record in found.records] == radii.radius.tolist()
    assert found.robust_accuracy(small) == radii.certified_accuracy(small, y) == 1.0
    assert not robench.crosscheck(radii, found)
    assert not robench.crosscheck(radii.labelled(y).records(), found)
    assert str(robench.crosscheck(radii, found)) == "no contradictions"
    twice = replace(radii, by_rule={rule: lengths * 100 for rule, lengths in radii.by_rule.items()})
    wrong = robench.crosscheck(twice, found)
    reached = {record.index for record in found.records if record.distance is not None}
    assert {item.index for item in wrong} == reached
    assert all(item.attack == "fgsm" and item.distance < item.radius for item in wrong)
    assert "is fooled by fgsm" in str(wrong)
    assert {item.rule for item in wrong} == {"scaled"}
    as_given = robench.crosscheck(torch.from_numpy(twice.radius), found)
    assert [replace(item, rule="scaled") for item in as_given] == list(wrong)
    for given, reason in [
        (robench.certify(net[1], x[::-1].copy()), "certificate 0 is not of image 0"),
        (robench.certify(net[1], x[:5]), "5 certificates"),
        (radii.labelled((y + 1) % 10), "certificate 0 is not of image 0 and its label"),
        ([1.0, 2.0], "not one radius"),
        (-radii.radius, "negative"),
    ]:
        with pytest.raises(DataError, match=reason):
            robench.attack(net[1], x, y, eps=1, attacks=["fgsm"], certificates=given)
        with pytest.raises(DataError, match=reason):
            robench.crosscheck(given, found)


def test_certificates_of_another_model_spare_no_image_of_this_one(net: tuple[str, nn.Module]) -> None:
    x, y = robench.load_data("digits", limit=6).arrays()
    radii = robench.certify(net[1], x)
    tuned = copy.deepcopy(net[1])
    next(tuned.parameters()).data.mul_(100)
    found = robench.attack(tuned, x, y, eps=0.1, attacks=["fgsm"])
    for act in (
        lambda: robench.attack(tuned, x, y, eps=0.1, attacks=["fgsm"], certificates=radii),
        lambda: robench.crosscheck(radii, found),
    ):
        with pytest.raises(ModelError, match="a model with other weights") as caught:
            act()
        assert "`certificates.radius`" in caught.value.hint
    assert not robench.crosscheck(robench.certify(tuned, x), found)
    robench.crosscheck(radii.radius, found)  # of which no model is known


def test_what_is_no_result_of_an_attack_is_refused_by_its_type(net: tuple[str, nn.Module]) -> None:
    x, y = robench.load_data("digits", limit=3).arrays()
    radii, found = robench.certify(net[1], x), robench.attack(net[1], x, y, eps=0.1, attacks=["fgsm"])
    for given in (radii, found.distance, None, radii.labelled(y).records()):
        with pytest.raises(DataError, match="no result of an attack"):
            robench.crosscheck(found if given is radii else radii, given)


def test_a_rate_is_by_the_largest_radius_or_by_a_rule_that_was_computed(net: tuple[str, nn.Module]) -> None:
    x, _ = robench.load_data("digits", limit=4).arrays()
    radii = robench.certify(net[1], x)
    more = replace(radii, by_rule={**radii.by_rule, "scaled": radii.radius + 1})
    assert (more.certified_accuracy(0.5, radii.predicted), more.certified_accuracy(0, radii.predicted)) == (1.0, 1.0)
    for rule in ("paper", "pairwise"):
        rate = float((radii.by_rule[rule] > 0.01).mean())
        assert more.certified_accuracy(0.01, radii.predicted, rule=rule) == rate
    with pytest.raises(SpecError, match="no radii by the rule `local`"):
        more.certified_accuracy(0.5, radii.predicted, rule="local")


def test_a_data_set_is_attacked_by_name_with_its_certificates(net: tuple[str, nn.Module]) -> None:
    radii = robench.certify(net[1], "digits", limit=6)
    by_name = robench.attack(net[1], "digits", eps=1, attacks=["fgsm"], certificates=radii, limit=6)
    by_array = robench.attack(net[1], *robench.load_data("digits", limit=6).arrays(), eps=1, attacks=["fgsm"])
    assert np.array_equal(by_name.distance, by_array.distance)
    assert not robench.crosscheck(radii, by_name)


class Features(nn.Module):
    """A segmentation network: one score for each pixel and class."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_a_model_without_logits_is_bounded_and_has_no_pairs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Features().eval()
    columns = torch.eye(2 * 5 * 5).reshape(-1, 2, 5, 5)
    exact = float(torch.linalg.matrix_norm(model(columns).flatten(1).detach().double().T, ord=2))
    bound = robench.lipschitz_bound(model, (2, 5, 5))
    assert exact * (1 - 1e-6) <= bound.upper <= exact * 1.5
    assert exact * 0.5 <= bound.lower <= exact * (1 + 1e-6)
    assert bound.pairwise is None
    assert bound.paper is None
    with pytest.raises(ModelError, match="not logits"):
        robench.certify(model, torch.rand(4, 2, 5, 5))
    file = tmp_path / "features.py"
    file.write_text("import torch\ntorch.manual_seed(0)\nnet = torch.nn.Conv2d(2, 3, 3, padding=1, bias=False)")
    assert robench.lipschitz_bound(f"{file}:net", (2, 5, 5)).upper == bound.upper
    regressor = nn.Sequential(nn.Flatten(), nn.Linear(50, 1)).eval()
    assert robench.lipschitz_bound(regressor, (2, 5, 5)).upper == pytest.approx(
        float(regressor[1].weight.detach().double().norm()), rel=1e-6
    )


class Gives(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(3, 2), function

    def forward(self, x: Tensor) -> object:
        return self.function(self.layer(x))


ODD = {
    "tuple": (lambda z: (z, z), "gives a tuple"),
    "list": (lambda z: [z], "gives a list"),
    "dictionary": (lambda z: {"logits": z}, "gives a dict"),
    "class": (lambda z: z.argmax(1), "int64 outputs|not logits"),
    "whole batch": (lambda z: z.sum(), "not logits"),
    "centred batch": (lambda z: z - z.mean(0), "another batch"),
    "noise": (lambda z: z + torch.rand_like(z), "runs again"),
    "nothing": (lambda z: None, "gives a NoneType"),
}


@pytest.mark.parametrize("name", list(ODD))
def test_outputs_that_are_no_function_of_one_image_are_refused(name: str) -> None:
    function, reason = ODD[name]
    for call in (
        lambda model: robench.lipschitz_bound(model, (3,)),
        lambda model: robench.certify(model, torch.rand(4, 3)),
    ):
        with pytest.raises(ModelError, match=reason) as caught:
            call(Gives(function).eval())
        assert caught.value.hint


def test_a_softmax_is_taken_off_and_noted() -> None:
    torch.manual_seed(1)
    logits = nn.Sequential(nn.Linear(4, 3)).eval()
    soft = nn.Sequential(*logits, nn.Softmax(1)).eval()
    x = torch.randn(20, 4)
    one, other = robench.certify(logits, x), robench.certify(soft, x)
    assert np.array_equal(one.by_rule["pairwise"], other.by_rule["pairwise"])
    assert one.notes == ()
    assert "softmax" in other.notes[0].lower()
    with pytest.raises(ModelError, match="may round two classes"):
        robench.certify(soft, x, deploy_dtype="float32")


class Computed(nn.Module):
    """Weights that `forward` computes, in each arithmetic anew."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x @ torch.linalg.qr(torch.ones(8, 8, dtype=x.dtype))[0])


def test_a_note_says_why_nothing_is_certified_in_float32() -> None:
    x = torch.rand(4, 8)
    assert "no image is certified in float32" in robench.certify(Computed().eval(), x, deploy_dtype="float32").notes[0]
    assert robench.certify(nn.Linear(8, 3).eval(), x, deploy_dtype="float32").notes == ()


def test_flags_are_noted_where_labels_are_given() -> None:
    model = nn.Linear(2, 1).eval().requires_grad_(False)
    model.weight.zero_()
    model.bias.fill_(1.0)
    notes = robench.certify(model, np.random.default_rng(0).uniform(size=(30, 2)), [0, 1] * 15).notes
    assert {"constant-prediction", "probability-output"} <= {note.partition(":")[0] for note in notes}


def test_the_model_and_the_settings_of_the_program_stay_as_they_are(net: tuple[str, nn.Module]) -> None:
    model = copy.deepcopy(net[1])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.rand(6, 1, 8, 8)
    seen = x.clone()
    plain = robench.certify(model, x)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            odd = robench.certify(model, x, bound=robench.lipschitz_bound(model, x.shape[1:]))
            assert torch.is_inference_mode_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(plain.labelled([0] * 6), odd.labelled([0] * 6))
    assert torch.equal(x, seen)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_bound_of_other_weights_is_refused(net: tuple[str, nn.Module]) -> None:
    other = copy.deepcopy(net[1])
    with torch.no_grad():
        other[1].weight.mul_(1.01)
    x = torch.rand(3, 1, 8, 8)
    with pytest.raises(ModelError, match="not those that were bounded"):
        robench.certify(other, x, bound=robench.lipschitz_bound(net[1], (1, 8, 8)))


def test_a_bound_for_inputs_of_another_size_is_refused() -> None:
    """The same weights have a larger constant on larger images: more pixels see one another."""
    layers = nn.Conv2d(1, 2, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    model = nn.Sequential(*layers).eval()
    bound = robench.lipschitz_bound(model, (1, 3, 3))
    assert len(robench.certify(model, torch.rand(2, 1, 3, 3), bound=bound)) == 2
    with pytest.raises(ModelError, match="inputs of shape"):
        robench.certify(model, torch.rand(2, 1, 9, 9), bound=bound)


X = np.random.default_rng(0).uniform(size=(6, 4)).astype(np.float32)
Y = np.arange(6) % 3


def filled(value: float, dtype: torch.dtype = torch.float32) -> nn.Module:
    layer = nn.Linear(4, 3).to(dtype).eval().requires_grad_(False)
    layer.weight.fill_(value)
    return layer


HOSTILE = {
    "integers": ({"x": (X * 255).astype(np.uint8)}, DataError, "uint8"),
    "booleans": ({"x": X > 0.5}, DataError, "bool"),
    "complex": ({"x": X + 1j}, DataError, "complex"),
    "NaN": ({"x": np.where(X > 0.9, np.nan, X)}, DataError, "NaN"),
    "infinite": ({"x": X * np.inf}, DataError, "infinite"),
    "beyond float32": ({"x": X.astype(np.float64) * 1e300}, DataError, "float32"),
    "empty": ({"x": X[:0], "y": None}, DataError, "at least one"),
    "one image": ({"x": X[0], "y": None}, DataError, "no batch"),
    "ragged": ({"x": [[0.0], [1.0, 2.0]], "y": None}, DataError, "unequal"),
    "nothing": ({"x": None}, DataError, "NoneType are no array of numbers"),
    "shape": ({"x": X[:, :3]}, ModelError, "batch of two inputs of shape"),
    "no set": ({"x": "mnits", "y": None}, DataError, "no data set `mnits`"),
    "labels of a set": ({"x": "digits"}, DataError, "its own labels"),
    "label too large": ({"y": Y + 1}, DataError, "has 3 classes"),
    "too few labels": ({"y": Y[1:]}, DataError, "one class for each"),
    "one-hot": ({"y": np.eye(3)[Y]}, DataError, "one row an image"),
    "training": ({"model": nn.Sequential(nn.Linear(4, 3), nn.Dropout())}, ModelError, "training mode"),
    "function": ({"model": lambda x: x}, ModelError, "no torch.nn.Module"),
    "NaN weights": ({"model": filled(float("nan"))}, ModelError, "not finite"),
    "float64 weights": ({"model": filled(0.1, torch.float64)}, ModelError, "float64"),
    "no file": ({"model": "runs/nowhere"}, ModelError, "does not exist"),
    "arithmetic": ({"deploy_dtype": "float16"}, SpecError, "deploy_dtype"),
    "batch": ({"batch_size": 0}, SpecError, "batch_size"),
    "limit": ({"limit": 0}, DataError, "limit"),
    "device": ({"device": "tpu"}, SpecError, "tpu"),
    "split": ({"x": "digits", "y": None, "split": "tset"}, DataError, "split"),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_what_users_get_wrong_is_an_error_with_a_hint_in_their_words(name: str) -> None:
    changes, kind, reason = HOSTILE[name]
    given = {"model": filled(0.5), "x": X, "y": Y, **changes}
    with pytest.raises(RobenchError, match=reason) as caught:
        robench.certify(given.pop("model"), given.pop("x"), given.pop("y"), **given)
    assert type(caught.value) is kind
    assert caught.value.hint
    assert "--" not in caught.value.hint


@pytest.mark.parametrize("shape", [None, 4, "4", (4, 0), (), (2.0,)])
def test_an_input_shape_that_is_none_is_refused(shape: object) -> None:
    with pytest.raises(RobenchError) as caught:
        robench.lipschitz_bound(filled(0.5), shape)
    assert "--" not in caught.value.hint


def test_rates_need_labels_and_a_radius() -> None:
    radii = robench.certify(filled(0.5), X)
    with pytest.raises(DataError, match="true classes"):
        radii.certified_accuracy(0.5)
    with pytest.raises(DataError, match="true classes"):
        radii.records()
    assert radii.certified_accuracy(0.5, torch.from_numpy(Y)) == radii.labelled(Y).certified_accuracy("1/2")
    for nonsense in (-1, "x", None, [0.1, 0.2], float("nan"), True):
        with pytest.raises(SpecError):
            radii.certified_accuracy(nonsense, Y)


def test_positions_in_the_split_are_kept() -> None:
    data = load(DataSpec(name="digits:3-8"), "test", limit=5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval()
    assert robench.certify(model, "digits:3-8", limit=5).index.tolist() == data.index.tolist()
    assert robench.certify(model, data.batch(slice(None))).index.tolist() == [0, 1, 2, 3, 4]


class Flat(nn.Module):
    """One number an input, in no row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0]


def test_outputs_without_a_row_are_bounded_and_refused_as_logits() -> None:
    model = Flat().eval()
    exact = float(torch.linalg.vector_norm(model.layer.weight.detach().double()))
    assert exact <= robench.lipschitz_bound(model, (4,)).upper <= exact * (1 + 1e-9)
    with pytest.raises(ModelError, match=r"gives \[2\] for two inputs, not logits"):
        robench.certify(model, torch.rand(3, 4))


def test_what_is_no_array_of_numbers_is_refused_with_a_way_out() -> None:
    model, x = nn.Linear(4, 2).eval(), torch.rand(3, 4)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x))
    masked = np.ma.masked_array(x.numpy(), x.numpy() > 0.1)
    for given, reason, hint in [
        (x.to_sparse(), "in the layout torch.sparse_coo", "to_dense"),
        (x.to("meta"), "on the device meta", "with values"),
        (loader, "type DataLoader", "of a loader"),
        (None, "type NoneType", "one tensor or array"),
        (masked, "some are masked", "filled"),
    ]:
        with pytest.raises(DataError, match=reason) as caught:
            robench.certify(model, given)
        assert hint in caught.value.hint
    assert len(robench.certify(model, np.ma.masked_array(x.numpy()))) == 3
    for limit in (2.5, True, "2"):
        with pytest.raises(DataError, match="is no integer"):
            robench.certify(model, x, limit=limit)
    assert len(robench.certify(model, x, limit=np.int64(2))) == 2
    for bound in (0, 3.0):
        with pytest.raises(SpecError, match="`bound` is of type"):
            robench.certify(model, x, bound=bound)
    with pytest.raises(ModelError, match="Linear is none"):
        robench.load_model(model)
    with pytest.raises(RobenchError, match="are no paths"):
        robench.read(3)


class Odd(nn.Module):
    """A sigmoid that is not seen, since torch.export takes no batch of a size that Python asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.layer(x) * 1 if len(x) % 2 else self.layer(x))


def test_outputs_that_look_like_probabilities_are_noted_without_labels_too() -> None:
    torch.manual_seed(0)
    model, x = Odd().eval(), torch.randn(20, 4)
    (note,) = robench.certify(model, x).notes
    assert note.startswith("probability-output: all outputs lie in [0, 1]; class 1 is read where they are above 0; ")
    assert "which is right for" in robench.certify(model, x, [0, 1] * 10).notes[0]
