"""Specs of models and training: round trips, refusals, shapes against torch."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.errors import SpecError
from robench.models.architectures import ARCHITECTURES, GRADIENT_NORM_PRESERVING, RELU, architecture
from robench.models.build import build, layer_names
from robench.specs.model import Activation, Conv, Dense, Flatten, Head, ModelSpec, Normalization, Pool
from robench.specs.training import TrainSpec
from robench.training.recipes import RECIPES, build_spec

TASKS = [("two-moons", (2,), 2), ("digits", (1, 8, 8), 10), ("mnist", (1, 28, 28), 10), ("mnist:0-8", (1, 28, 28), 2)]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("data", "shape", "classes"), TASKS)
def test_every_recipe_gives_a_spec_that_survives_json(recipe, data, shape, classes):
    spec = build_spec(recipe, data=data, input_shape=shape, classes=classes, seed=3)
    assert TrainSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.model.outputs == (1 if classes == 2 else classes)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_field_can_be_overridden_and_unknown_ones_are_refused(recipe):
    def spec(changes):
        return build_spec(recipe, data="digits", input_shape=(1, 8, 8), classes=10, changes=changes)

    assert spec({"optimizer.lr": 0.5}).optimizer.lr == 0.5
    assert spec({"model.layers": [{"type": "flatten"}, {"type": "head"}]}).model.layers == (Flatten(), Head())
    with pytest.raises(SpecError, match=r"unknown field `loss\.alfa`"):
        spec({"loss.alfa": 1.0})
    with pytest.raises(SpecError, match="must be of type int"):
        spec({"epochs": "many"})


def test_hkr_is_the_papers():
    spec = build_spec("hkr", data="mnist", input_shape=(1, 28, 28), classes=10, arch="conv")
    assert (spec.loss.alpha, spec.loss.margin) == (50.0, 1.0)
    assert (spec.constraint, spec.conv_scheme, spec.head) == ("bjorck", "paper", "unit_rows")
    kinds = [layer.kind for layer in spec.model.layers if isinstance(layer, Activation | Pool)]
    assert kinds == ["groupsort2", "l2", "groupsort2", "l2", "fullsort"]
    assert [layer.channels for layer in spec.model.layers if isinstance(layer, Conv)] == [16, 32]


def test_standard_is_another_name_of_plain():
    specs = [build_spec(name, data="mnist", input_shape=(1, 28, 28), classes=10) for name in ("plain", "standard")]
    assert specs[0] == specs[1]


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(SpecError) as caught:
        build_spec("hrk", data="mnist", input_shape=(1, 28, 28), classes=10)
    assert "did you mean `hkr`" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"head": "none"}, "do not go together"),
        ({"select_eps": "-1"}, "not above 0"),
        ({"loss.margin": 0.0}, "loss.margin"),
        ({"optimizer.lr": float("nan")}, "optimizer.lr"),
        ({"center": True, "model.layers": [{"type": "flatten"}, {"type": "head", "bias": False}]}, "bias"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        build_spec("hkr", data="mnist", input_shape=(1, 28, 28), classes=10, changes=changes)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Dense(units=4), Head()), "flat input"),
        ((Flatten(), Dense(units=7), Activation(kind="groupsort2"), Head()), "width 7 is odd"),
        ((Flatten(), Conv(channels=2), Head()), "needs an image"),
        ((Pool(kind="l2", size=9), Flatten(), Head()), "nothing is left"),
        ((Flatten(), Dense(units=4)), "ends in its one `head`"),
        ((Flatten(), Head(), Head()), "ends in its one `head`"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, message):
    with pytest.raises(SpecError, match=message):
        ModelSpec(input_shape=(1, 8, 8), classes=10, outputs=10, layers=layers)


def test_sizes_of_a_hostile_spec_are_refused():
    with pytest.raises(SpecError):
        ModelSpec(input_shape=(1, 8, 8), classes=10, outputs=10, layers=(Flatten(), Dense(units=10**12), Head()))
    with pytest.raises(SpecError, match="std"):
        Normalization(mean=(0.0,), std=(0.0,))
    with pytest.raises(SpecError, match="outputs"):
        ModelSpec(input_shape=(2,), classes=3, outputs=1, layers=(Head(),))


image_layers = st.one_of(
    st.builds(
        Conv, channels=st.integers(1, 3).map(lambda n: 2 * n), kernel=st.integers(1, 4), stride=st.integers(1, 2),
        padding=st.integers(0, 2),
    ),
    st.builds(Activation, kind=st.sampled_from(["relu", "groupsort2", "fullsort", "householder"])),
    st.builds(Pool, kind=st.sampled_from(["l2", "avg", "max"]), size=st.integers(1, 2)),
)  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True)
@given(layers=st.lists(image_layers, max_size=4), side=st.integers(4, 9))
def test_shapes_are_those_of_torch(layers, side):
    try:
        spec = ModelSpec(input_shape=(2, side, side), classes=3, outputs=3, layers=(*layers, Flatten(), Head()))
    except SpecError:
        return
    x = torch.rand(2, 2, side, side)
    for module, shape in zip(build(spec), spec.shapes()[1:], strict=True):
        x = module(x)
        assert tuple(x.shape[1:]) == shape


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("style", [GRADIENT_NORM_PRESERVING, RELU], ids=["gnp", "relu"])
def test_architectures_fit_the_images_they_are_for(name, style):
    side = {"cifar": 32, "celeba": 128}.get(name, 28)
    layers = architecture(name, (1, side, side), style)
    spec = ModelSpec(input_shape=(1, side, side), classes=10, outputs=10, layers=layers)
    assert spec.shapes()[-1] == (10,)
    assert layer_names(spec)[-1] == "head"


def test_a_convolution_on_points_is_refused_with_another_choice():
    with pytest.raises(SpecError, match="convolutions need images"):
        build_spec("hkr", data="two-moons", input_shape=(2,), classes=2, arch="conv")


def test_layer_file_takes_what_it_leaves_out_from_the_recipe(tmp_path):
    text = {
        "layers": [
            {"type": "conv", "channels": 4}, {"type": "activation"}, {"type": "pool"}, {"type": "flatten"},
            {"type": "dense", "units": 6}, {"type": "activation"},
        ]
    }  # fmt: skip
    path = tmp_path / "net.json"
    path.write_text(json.dumps(text))
    layers = architecture(str(path), (1, 8, 8), GRADIENT_NORM_PRESERVING)
    assert layers[1] == Activation(kind="groupsort2")
    assert layers[2] == Pool(kind="l2")
    assert layers[5:] == (Activation(kind="fullsort"), Head())


def test_toml_layer_file(tmp_path):
    pytest.importorskip("tomllib", reason="TOML needs Python 3.11")
    path = tmp_path / "net.toml"
    path.write_text('[[layers]]\ntype = "flatten"\n[[layers]]\ntype = "dense"\nunits = 8\n')
    assert architecture(str(path), (1, 8, 8), RELU) == (Flatten(), Dense(units=8), Head())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"layers": 3}', '{"layers": [{"type": "denze"}]}', '{"layers": [{"type": "dense", "units": 4}]}',
     '{"layers": [], "more": 1}', "[" * 100_000],
)  # fmt: skip
def test_broken_layer_files_are_refused(tmp_path, text):
    path = tmp_path / "net.json"
    path.write_text(text)
    with pytest.raises(SpecError):
        build_spec("hkr", data="digits", input_shape=(1, 8, 8), classes=10, arch=str(path))
