"""`robench show`: all that is known of one image of a run, in numbers and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robench.attacks.gallery import AttackGallery, make_gallery
from robench.data import Dataset
from robench.data.dataset import input_digest
from robench.errors import RobenchError, RunError
from robench.files import create_folder, write_atomic, write_json
from robench.models import LoadedModel
from robench.numerics import distance_upper
from robench.records.record import SCHEMA_VERSION, AttackRecord, CertifyRecord
from robench.runs.adversarials import read_adversarials
from robench.runs.run import AnyRun, read_runs
from robench.specs.data import DataSpec
from robench.specs.epsilon import DEFAULT_EPS
from robench.specs.evaluation import AttackSpec
from robench.workflows.references import DataRef, Execution, NamedModel, Outcome, model_ref

SUMMARY = "show.json"


def show(
    run: str | PathLike[str],
    index: int,
    *,
    out: str | PathLike[str] | None = None,
    model: NamedModel | None = None,
    data_dir: str | PathLike[str] | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Look into one image: its certificate, its nearest adversarial, each attack by itself, logits and transport.

    Where the model is at hand, each attack runs once more on this image alone, at the largest ε, as for the gallery of
    a run. Its points are pictures, no records: the run, which asks about every ε, may have found nearer ones.

    Args:
        run: a run folder of `certify` or `attack`.
        index: position of the image in its split.
        out: folder for `show.json` and the picture; None to write nothing.
        model: the model; None for where the run found it.
        data_dir: folder with the data; None for where the run found them.
        execution: where.

    Returns:
        The run folder, or `out`, and the summary; `contradictions` names attacks that came nearer than the certified
        radius, and should be empty.

    Raises:
        RunError: there is no such run or image, the data are others, or the folder cannot be written.
        DataError: the data cannot be read.
        ModelError: a model that was named cannot be read.
    """
    execution = execution or Execution()
    device = execution.start()
    found = _one_run(Path(run))
    record = next((item for item in found.records if item.index == index), None)
    if record is None:
        known = [item.index for item in found.records]
        text = f"it has {len(known)} images, from {min(known)} to {max(known)}" if known else "it has none"
        raise RunError(f"`{run}` has no image {index}", hint=f"give the index of one of its images: {text}")
    image = _image(found, record, data_dir, execution)
    loaded, missing = _model(found, model, execution)
    gallery = None if loaded is None else make_gallery(loaded, image, _spec(found), device=device)
    clean = image.batch(slice(None))[0]
    summary = {
        "schema_version": SCHEMA_VERSION,
        "command": "show",
        "run": found.name,
        "data": found.data_name,
        "index": index,
        **_recorded(record, image),
        "model_missing": missing,
        "logits": None if gallery is None else _logits(gallery, image),
        "pictures": None if gallery is None else _pictures(gallery, image),
    }
    summary["contradictions"] = _contradictions(summary)
    if out is None:
        return Outcome(found.folder, summary)
    _write(Path(out), summary, clean, _points(found, gallery, index), image)
    return Outcome(Path(out), summary)


def _one_run(path: Path) -> AnyRun:
    runs = read_runs([path])
    if len(runs) > 1:
        raise RunError(
            f"`{path}` holds {len(runs)} runs", hint=f"name one of them: {', '.join(r.name for r in runs[:4])}"
        )
    return runs[0]


def _image(
    run: AnyRun, record: CertifyRecord | AttackRecord, data_dir: str | PathLike[str] | None, execution: Execution
) -> Dataset:
    """The image of a record, as a data set of one row.

    Raises:
        RunError: the data hold another image there.
    """
    place = data_dir or run.facts.get("data", {}).get("data_dir")
    spec = DataSpec.from_dict(run.spec["data"])
    dataset = DataRef(spec, split=run.spec.get("split", "test"), data_dir=place).load(execution.progress)
    rows = np.flatnonzero(dataset.index == record.index)
    image = dataset.rows(rows[:1])
    if not len(image) or input_digest(image.batch(slice(None))[0]) != record.input_sha256:
        raise RunError(
            f"image {record.index} of the data is not the one of the run",
            hint="give the data of the run (`--data-dir`)",
        )
    return image


def _model(run: AnyRun, named: NamedModel | None, execution: Execution) -> tuple[LoadedModel | None, str | None]:
    """The model of a run, or why it is not at hand.

    Raises:
        ModelError: a model that was named cannot be read.
        RunError: a model that was named is another one.
    """
    place = named or run.facts.get("model", {}).get("path")
    if place is None:
        return None, "the run does not say where its model is"
    try:
        loaded = model_ref(place).load(progress=execution.progress, shape_of_data=lambda: tuple(run.data.shape))
        if loaded.identity["weights_sha256"] != run.weights_sha256:
            raise RunError("the model is not that of the run", hint="name the model that was certified or attacked")
    except RobenchError as error:
        if named is not None:
            raise
        return None, error.message
    return loaded, None


def _spec(run: AnyRun) -> AttackSpec:
    """The attacks of a run; the usual ones for a run of certificates."""
    if run.command == "attack":
        return AttackSpec.from_dict(run.spec)
    return AttackSpec(data=DataSpec.from_dict(run.spec["data"]), eps=tuple(run.facts.get("eps") or DEFAULT_EPS))


def _recorded(record: CertifyRecord | AttackRecord, image: Dataset) -> dict[str, Any]:
    """What the run says of the image."""
    names = image.class_names
    told = {
        "label": record.label,
        "label_name": names[record.label],
        "predicted": record.predicted,
        "predicted_name": names[record.predicted],
        "certified_radius": record.certified_radius,
    }
    if isinstance(record, CertifyRecord):
        return {**told, "radii": {rule: record.radius(rule) for rule in record.rules}, "distance": None, "attacks": {}}
    attacks = {name: {**item._asdict(), "status": item.status.value} for name, item in record.attacks.items()}
    return {**told, "distance": record.distance, "attack": record.attack, "attacks": attacks}


def _logits(gallery: AttackGallery, image: Dataset) -> list[dict[str, Any]]:
    """All logits of the image, the largest first."""
    values = gallery.logits[0]
    order = np.argsort(-values, kind="stable").tolist()
    return [{"class": place, "name": image.class_names[place], "logit": float(values[place])} for place in order]


def _pictures(gallery: AttackGallery, image: Dataset) -> dict[str, Any]:
    """What each attack makes of the image by itself: distance and class; None where it found nothing."""
    found: dict[str, Any] = {}
    for name, points in gallery.adversarial.items():
        label = gallery.reached[name][0]
        known = label is not None and bool(np.isfinite(points[0]).all())
        found[name] = (
            {"distance": distance_upper(gallery.clean[0], points[0]), "class": label, "name": image.class_names[label]}
            if known and label is not None
            else None
        )
    return {"eps": gallery.eps, "attacks": found}


def _contradictions(summary: Mapping[str, Any]) -> list[str]:
    """Attacks that came nearer than the certified radius, in the run or just now; there should be none."""
    radius, pictures = summary["certified_radius"], (summary["pictures"] or {}).get("attacks", {})
    found = [(name, item["distance"]) for name, item in (*summary["attacks"].items(), *pictures.items()) if item]
    return list(dict.fromkeys(name for name, distance in found if distance is not None and distance < radius))


def _points(run: AnyRun, gallery: AttackGallery | None, index: int) -> Mapping[str, npt.NDArray[np.float64]]:
    """Points to draw, by what they are."""
    points: dict[str, npt.NDArray[np.float64]] = {}
    stored = read_adversarials(run.folder).get(index) if run.command == "attack" else None
    if stored is not None:
        points["nearest of the run"] = stored.astype(np.float64)
    if gallery is not None:
        known = {name: found[0] for name, found in gallery.adversarial.items() if np.isfinite(found[0]).all()}
        points |= {name: point.astype(np.float64) for name, point in known.items()}
        points["x − 2 f(x) ∇f(x)"] = gallery.transport[0].astype(np.float64)
    return points


def _write(
    out: Path, summary: dict[str, Any], clean: npt.NDArray[np.float32], points: Mapping[str, Any], image: Dataset
) -> None:
    """The numbers, and the picture where there is one to draw."""
    from robench.reporting import one_image  # plotting libraries

    create_folder(out)
    for kind, content in one_image(clean.astype(np.float64), points, image.bounds, summary["label_name"]).items():
        write_atomic(out / f"image.{kind}", content)
    write_json(out / SUMMARY, summary)
