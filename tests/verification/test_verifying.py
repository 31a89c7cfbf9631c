"""`verify`: agrees with runs as they were made, and finds what was changed in them."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from robench.errors import RunError
from robench.models import save_model
from robench.models.build import build
from robench.specs.data import DataSpec
from robench.specs.model import Activation, Conv, Dense, Flatten, Head, ModelDescription, ModelSpec, Normalization, Pool
from robench.verification import verify
from robench.verification.network import read_network, segment_norm

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # foolbox imports a deprecated name of scipy
    from robench import workflows

SPEC = ModelSpec(
    input_shape=(1, 8, 8),
    classes=10,
    outputs=10,
    normalization=Normalization(mean=(0.4,), std=(0.5,)),
    layers=(
        Conv(channels=4),
        Activation(kind="groupsort2"),
        Conv(channels=6, kernel=3, stride=1, padding=1),
        Activation(kind="householder"),
        Pool(kind="l2"),
        Conv(channels=6, stride=2),
        Activation(kind="relu"),
        Pool(kind="avg", size=2),
        Flatten(),
        Dense(units=8),
        Activation(kind="fullsort"),
        Head(),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("model")
    save_model(place, build(SPEC).eval(), ModelDescription(name="small", model=SPEC))
    return place


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = workflows.DataRef(spec=DataSpec(name="digits"), split="test", limit=60)
    return workflows.certify(
        workflows.ModelRef(ref=str(folder)), data, out=tmp_path_factory.mktemp("run") / "certify"
    ).folder


def test_numpy_agrees_with_torch(folder: Path) -> None:
    read = read_network(folder, sha256=_hash(folder))
    torch.manual_seed(0)
    network = build(SPEC).double().eval()
    network.load_state_dict({k: v.double() for k, v in _tensors(folder).items()})
    x = np.random.default_rng(0).standard_normal((5, 1, 8, 8))
    found = x
    for layer in read.layers:
        found = layer.forward(found)
    assert read.outputs == 10
    np.testing.assert_allclose(found, network(torch.from_numpy(x)).detach().numpy(), rtol=1e-10, atol=1e-12)
    at = x
    for layer in read.layers:
        if layer.adjoint is not None:  # <A x, y> = <x, A* y>
            zero = layer.forward(np.zeros_like(at)) if layer.offset else 0.0
            image = layer.forward(at) - zero
            y = np.random.default_rng(1).standard_normal(image.shape)
            assert np.sum(image * y) == pytest.approx(np.sum(at * layer.adjoint(y)), rel=1e-9)
        at = layer.forward(at)


def test_segment_norm_is_a_lower_bound(folder: Path) -> None:
    layers = read_network(folder, sha256=_hash(folder)).layers
    segment = [(layers[0], (1, 8, 8)), (layers[1], (1, 8, 8))]
    basis = np.eye(64).reshape(64, 1, 8, 8)
    zero = layers[1].forward(layers[0].forward(np.zeros((1, 1, 8, 8))))
    matrix = (layers[1].forward(layers[0].forward(basis)) - zero).reshape(64, -1)
    exact = np.linalg.norm(matrix, 2)
    assert exact * 0.99 <= segment_norm(segment) <= exact


def test_a_run_as_made_holds(run: Path) -> None:
    assert verify(run).to_dict() == {"n": 60, "certificates": 60, "adversarials": 0, "failed": 0, "problems": []}


CHANGES = {
    "radius_pairwise": lambda record: record["radius_pairwise"] * 2,
    "radius_paper": lambda record: record["radius_pairwise"] * 1.01 + 1e-9,
    "predicted": lambda record: (record["predicted"] + 1) % 10,
    "margin": lambda record: record["margin"] * 1.001 + 1e-6,
    "label": lambda record: (record["label"] + 1) % 10,
    "input_sha256": lambda record: "0" * 64,
    "status": lambda record: "certified" if record["status"] == "misclassified" else "misclassified",
}


@pytest.mark.parametrize("field", CHANGES)
def test_changed_records_are_found(run: Path, field: str, tmp_path: Path) -> None:
    lines = (run / "records.jsonl").read_text().splitlines()
    record = json.loads(lines[3])
    record[field] = CHANGES[field](record)  # type: ignore[no-untyped-call]
    for name in ("manifest.json", "summary.json"):
        (tmp_path / name).write_text((run / name).read_text())
    (tmp_path / "records.jsonl").write_text("\n".join([*lines[:3], json.dumps(record), *lines[4:]]) + "\n")
    found = verify(tmp_path)
    assert not found
    assert all("image 3" in problem for problem in found.problems)


def test_other_weights_are_refused(run: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_model(tmp_path, build(SPEC).eval(), ModelDescription(name="other", model=SPEC))
    with pytest.raises(RunError, match="not those of the run"):
        verify(run, model=tmp_path)
    with pytest.raises(RunError, match="cannot be read"):
        verify(tmp_path / "nothing")


def test_a_run_of_another_schema_version_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "older"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 0}))
    with pytest.raises(RunError, match="older` is of schema version 0; this robench reads"):
        verify(copy)


def test_adversarials_are_executed(folder: Path, tmp_path: Path) -> None:
    data = workflows.DataRef(spec=DataSpec(name="digits"), split="test", limit=5)
    out = workflows.attack(
        workflows.ModelRef(ref=str(folder)), data, eps=("1", "3"), suite="paper", out=tmp_path / "attack"
    ).folder
    found = verify(out)
    assert found
    assert found.adversarials > 0

    path = out / "records.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    hidden = next(record for record in records if record["distance"])
    hidden["distance"] = None
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert verify(out).problems == (f"image {hidden['index']}: there is an adversarial, but no distance",)
    path.write_text(path.read_text() + json.dumps(records[0]) + "\n")
    with pytest.raises(RunError, match="two records of image"):
        verify(out)


def _hash(folder: Path) -> str:
    import hashlib

    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_radii_by_the_rule_scaled_are_held_against_the_chain_with_all_slopes_1(tmp_path: Path) -> None:
    torch.manual_seed(2)
    layers = (Flatten(), Dense(units=24), Activation(kind="relu"), Dense(units=16), Activation(kind="relu"), Head())
    spec = ModelSpec(input_shape=(1, 8, 8), classes=10, outputs=10, layers=layers)
    save_model(tmp_path / "net", build(spec).eval(), ModelDescription(name="net", model=spec))
    data = workflows.DataRef(spec=DataSpec(name="digits"), split="test", limit=20)
    made = workflows.certify(str(tmp_path / "net"), data, out=tmp_path / "certify").folder
    lines = [json.loads(line) for line in (made / "records.jsonl").read_text().splitlines()]
    assert all(line["radius_scaled"] > line["radius_pairwise"] for line in lines)
    assert verify(made)
    smallest = min(line["radius_scaled"] for line in lines)
    attacked = workflows.attack(
        str(tmp_path / "net"), data, eps=[smallest, 2.0], attacks={"fgsm": {}}, out=tmp_path / "attack"
    )
    assert attacked.summary["certificate"]["rules"] == ["paper", "pairwise", "scaled"]
    assert list(attacked.summary["n_certified"]) == ["pairwise", "scaled"]
    assert attacked.summary["violations"] == 0
    assert verify(attacked.folder)
    lines[3]["radius_scaled"] *= 6
    (made / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (problem,) = verify(made).problems
    assert "the radius by scaled is above" in problem
