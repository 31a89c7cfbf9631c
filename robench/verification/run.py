"""What a run folder says: manifest, records and adversarials, checked field by field before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from robench.errors import RunError
from robench.records.record import RULES, SCHEMA_VERSION, Rule
from robench.records.shapes import misfit
from robench.specs.data import DataSpec, Split

RECORDS = "records.jsonl"
ANOTHER_RUN = "name a folder that `certify` or `attack` has written; this one was changed since"
WRITTEN = "name a folder that robench has written"
MANIFEST: Mapping[str, Mapping[str, Any]] = {
    "facts": {"model": {"path": (str, None)}, "data": {"data_dir": (str, None)}},
    "identity": {"weights_sha256": str, "data_sha256": str},
    "spec": {"data": {}, "split": str},
}


@dataclass(frozen=True)
class Manifest:
    """What a run was made with.

    Fields:
        model, data_dir: where it lay; None where the manifest does not say.
        weights_sha256, data_sha256: what it was.
        data, split: which images.
        command, spec: what was asked of them.
    """

    model: Path | None
    weights_sha256: str
    data: DataSpec
    split: Split
    data_dir: Path | None
    data_sha256: str
    command: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ClaimedImage:
    """What a record claims of one image: index in the split, digest of the pixels, true and predicted class."""

    index: int
    input_sha256: str
    label: int
    predicted: int


@dataclass(frozen=True, kw_only=True)
class ClaimedCertificate(ClaimedImage):
    """What a record of `certify` claims.

    Fields:
        radii: by each rule that was computed, in their order.
    """

    runner_up: int
    margin: float
    radii: Mapping[Rule, float]
    status: str


@dataclass(frozen=True, kw_only=True)
class ClaimedDistance(ClaimedImage):
    """What a record of `attack` claims."""

    certified_radius: float
    distance: float | None


Claim = ClaimedCertificate | ClaimedDistance
RADII = {f"radius_{rule}": rule for rule in RULES}
CERTIFY_SHAPE = {
    **{name: kind for name, kind in get_type_hints(ClaimedCertificate).items() if name != "radii"},
    "radius_paper": float,
    "radius_pairwise": float,
}
ATTACK_SHAPE = {**get_type_hints(ClaimedDistance), "distance": (float, None)}


def read_manifest(run: Path) -> Manifest:
    """The manifest of a run.

    Raises:
        RunError: it is missing, of another schema version, or lacks what is used of it.
    """
    path = run / "manifest.json"
    manifest = read_json(path)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RunError(
            f"`{run}` is of schema version {version!r}; this robench reads {SCHEMA_VERSION}",
            hint="make the run again, or verify it with the robench that wrote it",
        )
    for part, shape in MANIFEST.items():
        _require(manifest.get(part), shape, path)
    facts, identity, spec = manifest["facts"], manifest["identity"], manifest["spec"]
    if spec["split"] not in get_args(Split):
        raise RunError(f"there is no split `{spec['split']}`", hint=ANOTHER_RUN)
    return Manifest(
        model=_path(facts["model"].get("path")),
        weights_sha256=identity["weights_sha256"],
        data=DataSpec.from_dict(spec["data"]),
        split=spec["split"],
        data_dir=_path(facts["data"].get("data_dir")),
        data_sha256=identity["data_sha256"],
        command=str(manifest.get("command")),
        spec=spec,
    )


def read_records(run: Path, known: set[int], classes: int) -> list[Claim]:
    """The records, with all that is compared.

    Args:
        run: the folder.
        known: index of each image of the data.
        classes: number of classes.

    Raises:
        RunError: a record is damaged, is one of two of an image, or speaks of an unknown image or class.
    """
    path = run / RECORDS
    records: dict[int, Claim] = {}
    for line in read_lines(run):
        certified = isinstance(line, dict) and "radius_pairwise" in line
        shape = CERTIFY_SHAPE if certified else ATTACK_SHAPE
        _require(line, shape, path)
        given = {key: line[key] for key in shape}
        record: Claim = _certificate(given, line, path) if certified else ClaimedDistance(**given)
        if record.index in records:
            raise RunError(f"`{path}` holds two records of image {record.index}", hint=ANOTHER_RUN)
        if record.index not in known:
            raise RunError(f"`{path}` has a record of image {record.index}, which is not in the data", hint=ANOTHER_RUN)
        if not all(0 <= given[key] < classes for key in ("label", "predicted", "runner_up") if key in given):
            raise RunError(f"`{path}` has a record of a class that the model does not have", hint=ANOTHER_RUN)
        records[record.index] = record
    return list(records.values())


def read_lines(run: Path) -> list[Any]:
    """The records of a run as plain data, not checked.

    Raises:
        RunError: they cannot be read.
    """
    path = run / RECORDS
    try:
        return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"`{path}` cannot be read: {error}", hint=ANOTHER_RUN) from None


def read_adversarials(run: Path) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Index and pixels of each stored adversarial.

    Raises:
        RunError: a file of them is damaged.
    """
    for file in sorted((run / "adversarials").glob("*.safetensors")):
        try:
            tensors = load_tensors(file.read_bytes())
        except (OSError, SafetensorError) as error:
            raise RunError(f"`{file}` cannot be read: {error}", hint="make the run again") from None
        yield from zip(tensors["index"].tolist(), tensors["adversarial"], strict=True)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        RunError: it cannot be read, or holds something else.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"`{path}` cannot be read: {error}", hint=WRITTEN) from None
    if not isinstance(data, dict):
        raise RunError(f"`{path}` holds no JSON object", hint=WRITTEN)
    return data


def _certificate(given: Mapping[str, Any], line: Mapping[str, Any], path: Path) -> ClaimedCertificate:
    radii = {rule: line[key] for key, rule in RADII.items() if key in line}
    _require(radii, dict.fromkeys(radii, float), path)
    return ClaimedCertificate(**{key: value for key, value in given.items() if key not in RADII}, radii=radii)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _require(data: Any, shape: Mapping[str, Any], path: Path) -> None:
    """Refuse data that lack a field of the shape, or hold another kind of value there."""
    problem = misfit(data, shape, path.stem) or next((f"`{key}` is missing" for key in shape if key not in data), None)
    if problem is not None:
        raise RunError(f"`{path}` is not of a run: {problem}", hint=ANOTHER_RUN)
