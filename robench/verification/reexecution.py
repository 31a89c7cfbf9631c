"""Re-executes the certificates and adversarials of a run in numpy float64, from `model.json` and the safetensors file.

Nothing of the audit, the certificates, the models or torch is used: layers are written again here, norms come from a
power iteration. Such norms are lower bounds, so this cannot prove a radius; it finds one that is too large: a radius
above gap / L_found contradicts the certificate, since the proven L is never below the L that was found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from robench.data import Dataset, load
from robench.errors import RunError
from robench.progress import NoProgress
from robench.records.record import SCHEMA_VERSION
from robench.records.shapes import misfit
from robench.specs.data import DataSpec, Split

Array = npt.NDArray[np.float64]
Map = Callable[[Array], Array]

AGREEMENT = 1e-9
"""Relative difference of two float64 computations that is taken for rounding."""
POWER_STEPS = 60
BATCH = 250
ANOTHER_RUN = "name a folder that `certify` or `attack` has written; this one was changed since"
MANIFEST: dict[str, dict[str, Any]] = {
    "facts": {"model": {"path": (str, None)}, "data": {"data_dir": (str, None)}},
    "identity": {"weights_sha256": str, "data_sha256": str},
    "spec": {"data": {}, "split": str},
}
IMAGE = {"index": int, "input_sha256": str, "label": int, "predicted": int}
CERTIFY_RECORD = {
    **IMAGE,
    "runner_up": int,
    "margin": float,
    "radius_paper": float,
    "radius_pairwise": float,
    "status": str,
}
ATTACK_RECORD = {**IMAGE, "certified_radius": float, "distance": (float, None)}


@dataclass(frozen=True)
class Layer:
    """One layer on a batch.

    Fields:
        forward: (N, *shape) -> (N, *shape').
        adjoint: of the linear part, (N, *shape') -> (N, *shape); None for a nonlinear layer, which is 1-Lipschitz.
    """

    forward: Map
    adjoint: Map | None = None
    offset: bool = False


def reexecute(run: Path, *, model: Path | None = None, data_dir: Path | None = None) -> dict[str, Any]:
    """Check a certify or attack run.

    Args:
        run: the run folder.
        model: the model folder; by default the one that the manifest names.
        data_dir: where the data are; by default where the run found them.

    Returns:
        Counts `n` (records), `certificates`, `adversarials`, `failed`; and `problems`, one text for each failure.

    Raises:
        RunError: the run, the model or the data are missing, or not those of the run.
    """
    manifest = _manifest(run)
    facts = manifest["facts"]
    folder = model or _place(facts["model"], "path", "give the model folder")
    network, outputs = _network(folder, manifest["identity"]["weights_sha256"])
    place = data_dir or (Path(facts["data"]["data_dir"]) if facts["data"].get("data_dir") else None)
    spec = manifest["spec"]
    if spec["split"] not in get_args(Split):
        raise RunError(f"there is no split `{spec['split']}`", hint=ANOTHER_RUN)
    dataset = load(DataSpec.from_dict(spec["data"]), spec["split"], data_dir=place, progress=NoProgress())
    if dataset.sha256 != manifest["identity"]["data_sha256"]:
        raise RunError("the data are not those of the run", hint="give the --data-dir that the run was made with")
    checker = _Checker(network, outputs, dataset)
    records = _records(run, set(dataset.index.tolist()), max(outputs, 2))
    for start in range(0, len(records), BATCH):
        checker.check(records[start : start + BATCH])
    for index, point in _adversarials(run):
        checker.check_adversarial(index, point)
    checker.missing_adversarials()
    return {
        "n": len(records),
        "certificates": checker.certificates,
        "adversarials": checker.adversarials,
        "failed": len(checker.problems),
        "problems": checker.problems,
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"`{path}` cannot be read: {error}", hint="name a folder that robench has written") from None
    if not isinstance(data, dict):
        raise RunError(f"`{path}` holds no JSON object", hint="name a folder that robench has written")
    return data


def _manifest(run: Path) -> dict[str, Any]:
    """The manifest, with all that is used of it."""
    path = run / "manifest.json"
    manifest = _json(path)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RunError(
            f"`{run}` is of schema version {version!r}; this robench reads {SCHEMA_VERSION}",
            hint="make the run again, or verify it with the robench that wrote it",
        )
    for part, shape in MANIFEST.items():
        _require(manifest.get(part), shape, path)
    return manifest


def _records(run: Path, known: set[int], classes: int) -> list[dict[str, Any]]:
    """The records, each about an image of the data, with all that is compared."""
    path = run / "records.jsonl"
    try:
        lines = path.read_text("utf-8").split("\n")
        records = [json.loads(line) for line in lines if line]
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"`{path}` cannot be read: {error}", hint=ANOTHER_RUN) from None
    seen: set[int] = set()
    for record in records:
        certified = isinstance(record, dict) and "radius_pairwise" in record
        _require(record, CERTIFY_RECORD if certified else ATTACK_RECORD, path)
        if record["index"] in seen:
            raise RunError(f"`{path}` holds two records of image {record['index']}", hint=ANOTHER_RUN)
        seen.add(record["index"])
        if record["index"] not in known:
            raise RunError(f"`{path}` speaks of image {record['index']}, which the data do not hold", hint=ANOTHER_RUN)
        if not all(0 <= record[key] < classes for key in ("label", "predicted", "runner_up") if key in record):
            raise RunError(f"`{path}` speaks of a class that the model does not have", hint=ANOTHER_RUN)
    return records


def _require(data: Any, shape: dict[str, Any], path: Path) -> None:
    """Refuse data that lack a field of the shape, or hold another kind of value there."""
    problem = misfit(data, shape, path.stem) or next((f"`{key}` is missing" for key in shape if key not in data), None)
    if problem is not None:
        raise RunError(f"`{path}` is not of a run: {problem}", hint=ANOTHER_RUN)


def _place(facts: dict[str, Any], key: str, what: str) -> Path:
    if not facts.get(key):
        raise RunError("the manifest does not say where the model is", hint=what)
    return Path(facts[key])


def _adversarials(run: Path) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    for file in sorted((run / "adversarials").glob("*.safetensors")):
        try:
            tensors = load_tensors(file.read_bytes())
        except (OSError, SafetensorError) as error:
            raise RunError(f"`{file}` cannot be read: {error}", hint="make the run again") from None
        yield from zip(tensors["index"].tolist(), tensors["adversarial"], strict=True)


class _Checker:
    """Compares records with what numpy computes, and collects what does not agree."""

    def __init__(self, network: list[Layer], outputs: int, dataset: Dataset) -> None:
        self._network, self._outputs, self._dataset = network, outputs, dataset
        self._rows = {int(index): row for row, index in enumerate(dataset.index)}
        self._pairwise = _pairwise_found(network, dataset.inputs.shape[1:], outputs)
        self._attacked: dict[int, dict[str, Any]] = {}
        self.certificates = self.adversarials = 0
        self.problems: list[str] = []

    def check(self, records: list[dict[str, Any]]) -> None:
        """Inputs, labels, classes and radii of some records."""
        rows = np.array([self._rows[record["index"]] for record in records], dtype=np.int64)
        inputs = self._dataset.batch(rows)
        logits = _forward(self._network, inputs.astype(np.float64)).reshape(len(rows), -1)
        for record, row, pixels, scores in zip(records, rows, inputs, logits, strict=True):
            digest = hashlib.sha256(np.ascontiguousarray(pixels, dtype="<f4").tobytes()).hexdigest()
            self._expect(record, digest == record["input_sha256"], "the input is another one")
            self._expect(record, int(self._dataset.labels[row]) == record["label"], "the label is another one")
            gaps, predicted = self._gaps(scores)
            if (gaps > self._allowed(scores, predicted)).all():
                self._expect(record, predicted == record["predicted"], f"the class is {predicted}")
            if "radius_pairwise" in record:
                self._certificate(record, scores, gaps, predicted)
            else:
                self._attacked[record["index"]] = record
                self.certificates += record["certified_radius"] > 0
                limit = self._limit(gaps, predicted)
                self._expect(record, record["certified_radius"] <= limit, f"the certified radius is above {limit!r}")

    def check_adversarial(self, index: int, point: npt.NDArray[np.float32]) -> None:
        """A stored adversarial: its class, alone, its distance, and that it lies in the box and beyond the radius."""
        record = self._attacked.pop(index, None)
        if record is None or record["distance"] == 0.0:
            return
        if record["distance"] is None:
            self._expect(record, False, "there is an adversarial, but no distance")
            return
        self.adversarials += 1
        scores = _forward(self._network, point[None].astype(np.float64)).reshape(-1)
        _, predicted = self._gaps(scores)
        original = self._dataset.batch(np.array([self._rows[index]]))[0].astype(np.float64)
        distance = float(np.sqrt(np.sum((point.astype(np.float64) - original) ** 2)))
        low, high = self._dataset.bounds
        self._expect(record, predicted != record["label"], "the adversarial is classified correctly")
        self._expect(record, record["distance"] >= distance, f"the distance is {distance!r}")
        self._expect(record, record["distance"] <= distance * (1 + 1e-6), f"the distance is only {distance!r}")
        self._expect(record, distance > record["certified_radius"], "the adversarial lies within the certified radius")
        inside = bool((point >= low).all() and (point <= high).all())
        self._expect(record, inside, "the adversarial lies outside the box")

    def missing_adversarials(self) -> None:
        """Distances without an adversarial."""
        for record in self._attacked.values():
            self._expect(record, not record["distance"], "there is no adversarial of the distance")

    def _certificate(self, record: dict[str, Any], scores: Array, gaps: Array, predicted: int) -> None:
        self.certificates += 1
        runner_up = record["runner_up"] if self._outputs > 1 else 0
        allowed = self._allowed(scores, predicted)[runner_up]
        self._expect(record, record["margin"] <= gaps[runner_up] + allowed, f"the margin is {gaps[runner_up]!r}")
        limit = self._limit(gaps, predicted)
        self._expect(record, record["radius_pairwise"] <= limit, f"the pairwise radius is above {limit!r}")
        self._expect(record, record["radius_paper"] <= record["radius_pairwise"], "the paper's radius is the larger")
        proven = "certified" if record["radius_pairwise"] > 0 else "not_certified"
        expected = proven if record["predicted"] == record["label"] else "misclassified"
        self._expect(record, record["status"] == expected, f"the status is {expected}")

    def _gaps(self, scores: Array) -> tuple[Array, int]:
        """f_predicted − f_j for each class (inf for itself), or |f|; and the class."""
        if self._outputs == 1:
            return np.abs(scores), int(scores[0] > 0)
        predicted = int(np.argmax(scores))
        gaps = scores[predicted] - scores
        gaps[predicted] = np.inf
        return gaps, predicted

    def _allowed(self, scores: Array, predicted: int) -> Array:
        """What rounding may add to each gap: a share of the larger of the two logits compared."""
        allowed: Array = AGREEMENT * np.maximum(np.abs(scores), abs(scores[predicted] if self._outputs > 1 else 0.0))
        return allowed

    def _limit(self, gaps: Array, predicted: int) -> float:
        """The radius that no certificate can exceed."""
        constants = self._pairwise[predicted] if self._outputs > 1 else self._pairwise[0]
        with np.errstate(divide="ignore"):
            return float(np.min(gaps / constants)) * (1 + AGREEMENT)

    def _expect(self, record: dict[str, Any], holds: bool, what: str) -> None:
        if not holds:
            self.problems.append(f"image {record['index']}: {what}")


def _forward(network: list[Layer], x: Array) -> Array:
    for layer in network:
        x = layer.forward(x)
    return x


def _pairwise_found(network: list[Layer], shape: tuple[int, ...], outputs: int) -> Array:
    """Lower bounds of the proven constants of f_i − f_j: norms that a power iteration found, segment by segment."""
    body = 1.0
    segment: list[tuple[Layer, tuple[int, ...]]] = []
    at = np.zeros((1, *shape))
    for layer in network:
        if layer.adjoint is None and segment:
            body *= _segment_norm(segment)
            segment = []
        elif layer.adjoint is not None:
            segment.append((layer, at.shape[1:]))
        at = layer.forward(at)
    rows = np.eye(outputs)
    for layer, _ in reversed(segment):
        assert layer.adjoint is not None
        rows = layer.adjoint(rows)
    rows = rows.reshape(outputs, -1)
    if outputs == 1:
        return np.full((1, 1), body * float(np.linalg.norm(rows)))
    return body * np.array([[float(np.linalg.norm(a - b)) for b in rows] for a in rows])


def _segment_norm(segment: list[tuple[Layer, tuple[int, ...]]]) -> float:
    """Norm of consecutive linear layers by power iteration, from below."""
    vector = np.random.default_rng(0).standard_normal((1, *segment[0][1]))
    zeros = [layer.forward(np.zeros((1, *shape))) if layer.offset else 0.0 for layer, shape in segment]
    norm = 0.0
    for _ in range(POWER_STEPS):
        vector /= max(float(np.linalg.norm(vector)), 1e-300)
        image = vector
        for (layer, _), zero in zip(segment, zeros, strict=True):
            image = layer.forward(image) - zero
        norm = float(np.linalg.norm(image))
        vector = image
        for layer, _ in reversed(segment):
            assert layer.adjoint is not None
            vector = layer.adjoint(vector)
    return norm * (1 - AGREEMENT)


def _network(folder: Path, sha256: str) -> tuple[list[Layer], int]:
    """The layers of a model folder, from its JSON and its tensors alone."""
    if not (folder / "model.json").is_file():
        raise RunError(
            f"`{folder}` is not a model folder, and only robench's own layers are re-executed",
            hint="if the folder was moved, give its new place with --model; modules of a FILE.py, .pt2 programs and "
            ".onnx files have no second implementation to be checked with",
        )
    try:
        content = (folder / "model.safetensors").read_bytes()
        tensors = {name: value.astype(np.float64) for name, value in load_tensors(content).items()}
    except (OSError, SafetensorError) as error:
        raise RunError(f"`{folder}` cannot be read: {error}", hint="give the model folder of the run") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(f"the weights in `{folder}` are not those of the run", hint="give the model folder of the run")
    description = _json(folder / "model.json")["model"]
    try:
        return list(_layers(description, tensors)), int(description["outputs"])
    except KeyError as error:
        raise RunError(f"`{folder}` holds no {error}", hint="give the model folder of the run") from None


def _layers(description: dict[str, Any], tensors: dict[str, Array]) -> Iterator[Layer]:
    shape = tuple(description["input_shape"])
    if description.get("normalization") is not None:
        wide = (1, -1, *(1 for _ in shape[1:]))
        mean, std = tensors["normalization.mean"].reshape(wide), tensors["normalization.std"].reshape(wide)
        yield Layer(_scale(mean, std), lambda g, std=std: g / std, offset=True)  # type: ignore[misc]
    counts: dict[str, int] = {}
    for layer in description["layers"]:
        kind = layer["type"]
        counts[kind] = counts.get(kind, 0) + 1
        name = "head" if kind == "head" else f"{kind}{counts[kind]}"
        made = _layer(layer, name, tensors, shape)
        shape = made.forward(np.zeros((1, *shape))).shape[1:]
        yield made


def _scale(mean: Array, std: Array) -> Map:
    return lambda x: (x - mean) / std


def _layer(layer: dict[str, Any], name: str, tensors: dict[str, Array], shape: tuple[int, ...]) -> Layer:
    kind = layer["type"]
    if kind in ("dense", "head"):
        return _dense(tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))
    if kind == "conv":
        return _conv(tensors[f"{name}.weight"], tensors.get(f"{name}.bias"), layer["stride"], layer["padding"], shape)
    if kind == "flatten":
        return Layer(lambda x: x.reshape(len(x), -1), lambda g: g.reshape(len(g), *shape))
    if kind == "pool":
        return _pool(layer["kind"], layer["size"], shape)
    if kind == "activation":
        return Layer(_activation(layer["kind"], tensors.get(f"{name}.angle")))
    raise RunError(f"the layer type `{kind}` is not known", hint="verify with the version that made the run")


def _dense(weight: Array, bias: Array | None) -> Layer:
    shift = 0.0 if bias is None else bias
    return Layer(lambda x: x @ weight.T + shift, lambda g: g @ weight, offset=True)


def _conv(weight: Array, bias: Array | None, stride: int, padding: int, shape: tuple[int, ...]) -> Layer:
    taps = weight.shape[2:]
    shift = 0.0 if bias is None else bias[:, None, None]
    height, width = shape[1] + 2 * padding, shape[2] + 2 * padding

    def forward(x: Array) -> Array:
        padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = sliding_window_view(padded, taps, axis=(2, 3))[:, :, ::stride, ::stride]
        result: Array = np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2) + shift
        return result

    def adjoint(g: Array) -> Array:
        padded = np.zeros((len(g), weight.shape[1], height, width))
        spread = np.tensordot(g, weight, axes=([1], [0]))  # (N, H', W', in, kh, kw)
        rows, columns = g.shape[2:]
        for a in range(taps[0]):
            for b in range(taps[1]):
                target = padded[:, :, a : a + stride * rows : stride, b : b + stride * columns : stride]
                target += spread[..., a, b].transpose(0, 3, 1, 2)
        return padded[:, :, padding : height - padding, padding : width - padding]

    return Layer(forward, adjoint, offset=True)


def _pool(kind: str, size: int, shape: tuple[int, ...]) -> Layer:
    channels, rows, columns = shape[0], shape[1] // size, shape[2] // size

    def windows(x: Array) -> Array:
        cut = x[:, :, : rows * size, : columns * size]
        return cut.reshape(len(x), channels, rows, size, columns, size)

    def spread(g: Array) -> Array:
        result = np.zeros((len(g), *shape))
        result[:, :, : rows * size, : columns * size] = np.repeat(np.repeat(g / size, size, axis=2), size, axis=3)
        return result

    if kind == "l2":
        return Layer(lambda x: np.sqrt(np.sum(windows(x) ** 2, axis=(3, 5))))
    if kind == "max":
        return Layer(lambda x: np.max(windows(x), axis=(3, 5)))
    return Layer(lambda x: np.sum(windows(x), axis=(3, 5)) / size, spread)


def _activation(kind: str, angle: Array | None) -> Map:
    if kind == "relu":
        return lambda x: np.maximum(x, 0.0)
    if kind == "fullsort":
        return lambda x: np.sort(x, axis=1)
    if kind == "groupsort2":
        return lambda x: np.sort(x.reshape(len(x), -1, 2, *x.shape[2:]), axis=2).reshape(x.shape)
    assert angle is not None
    normal = np.stack((np.sin(angle / 2), -np.cos(angle / 2)), axis=1)  # (pairs, 2)

    def reflect(x: Array) -> Array:
        pairs = x.reshape(len(x), -1, 2, *x.shape[2:])
        axis = normal.reshape(1, *normal.shape, *(1 for _ in x.shape[2:]))
        depth = np.minimum(np.sum(pairs * axis, axis=2, keepdims=True), 0.0)
        result: Array = (pairs - 2 * depth * axis).reshape(x.shape)
        return result

    return reflect
