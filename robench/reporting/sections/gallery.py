"""The gallery of a run as a figure: clean inputs, what attacks made of them, and the gradient step in the last row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from robench.numerics import lower, upper
from robench.records.record import AttackRecord
from robench.reporting import figures, strips
from robench.reporting.evaluation import Evaluation
from robench.reporting.page import FigureExhibit
from robench.reporting.strips import Strip
from robench.runs.facts import DataFacts
from robench.runs.gallery import Gallery, read_gallery

TRANSPORT = "x − 2 f(x) ∇f(x)"


def gallery_figure(evaluation: Evaluation, name: str) -> FigureExhibit | None:
    """The gallery of the attack run; None where there is nothing to show."""
    gallery = read_gallery(evaluation.attack.folder) if evaluation.attack else None
    if gallery is None or evaluation.attack is None:
        return None
    by_index = {record.index: record for record in evaluation.attack.records}
    records = [by_index.get(place) for place in gallery.index or [-1] * len(gallery.clean)]
    if gallery.is_image:
        return FigureExhibit(name, *_images(evaluation, gallery, records), strip=strip_of(evaluation, gallery, records))
    return FigureExhibit(name, *_plane(evaluation, gallery, records)) if gallery.is_plane else None


def _images(
    evaluation: Evaluation, gallery: Gallery, records: Sequence[AttackRecord | None]
) -> tuple[str, str, Figure]:
    """Caption, alternative text and figure."""
    low, high = evaluation.data.bounds
    present = [name for name in evaluation.attacks if name in gallery.adversarial]
    order = [name for name in present if np.isfinite(gallery.adversarial[name]).any()]
    rows: list[tuple[str, npt.NDArray[np.float64]]] = [("input", gallery.clean)]
    captions = [[_class(evaluation.data, record.label) if record else "" for record in records]]
    for name in order:
        rows.append((name, gallery.adversarial[name]))
        captions.append(_reached(evaluation.data, gallery, name))
    if gallery.transport is not None:
        rows.append((TRANSPORT, gallery.transport))
        captions.append([""] * len(records))
    scaled = [(name, (images - low) / (high - low)) for name, images in rows]
    caption = (
        "Inputs with their class, and what each attack makes of them by itself, asked about the largest ε alone, with "
        "the class it is taken for and its L2 distance; the run, which asks about every ε, may have found nearer ones"
    )
    if gallery.transport is not None:
        caption += f"; last row: {TRANSPORT}, the transport of the input towards the other class"
    if order != present:
        caption += f"; none of these by {', '.join(name for name in present if name not in order)}"
    alt = f"Grid of {len(gallery.clean)} inputs of {evaluation.name} and their adversarials by {', '.join(order)}."
    return f"{caption}.", alt, figures.image_grid(scaled, captions)


def strip_of(evaluation: Evaluation, gallery: Gallery, records: Sequence[AttackRecord | None]) -> Strip:
    """The images one by one, with what the nearest adversarial of the gallery added.

    Args:
        evaluation: the model.
        gallery: of its attack run.
        records: of the same images; None where there is none.
    """
    bounds, data = evaluation.data.bounds, evaluation.data
    order = [name for name in evaluation.attacks if np.isfinite(gallery.adversarial.get(name, np.nan)).any()]
    logits: list[str | None] = [_top_logits(data, gallery, place) for place in _places(gallery)]
    rows = [("input", strips.shown(gallery.clean, bounds), logits)]
    for name in order:
        points, reached = gallery.adversarial[name], _reached(data, gallery, name)
        captions: list[str | None] = [text or None for text in reached]
        rows.append((name, strips.shown(points, bounds), captions))
    if order:
        nearest, names = _nearest(gallery, order)
        rows.append(("what the nearest added", strips.noise(nearest, gallery.clean), names))
    if gallery.transport is not None:
        rows.append((TRANSPORT, strips.shown(gallery.transport, bounds), ["" for _ in _places(gallery)]))
    return Strip(
        rows=tuple(name for name, _, _ in rows),
        captions=tuple(tuple(captions) for _, _, captions in rows),
        index=gallery.index or tuple(_places(gallery)),
        facts=tuple(_facts(data, record) for record in records),
        source=strips.picture([images for _, images, _ in rows]),
        height=gallery.clean.shape[2],
        width=gallery.clean.shape[3],
    )


def _nearest(gallery: Gallery, attacks: Sequence[str]) -> tuple[npt.NDArray[np.float64], list[str | None]]:
    """The nearest adversarial of each image, NaN where there is none, and the attack that it is of."""
    points = np.stack([gallery.adversarial[name] for name in attacks])
    away = np.linalg.norm((points - gallery.clean).reshape(*points.shape[:2], -1), axis=2)
    best = np.where(np.isnan(away), np.inf, away).argmin(axis=0)
    known = np.isfinite(away).any(axis=0)
    names = [attacks[place] if found else None for place, found in zip(best.tolist(), known.tolist(), strict=True)]
    return points[best, np.arange(len(best))], names


def _places(gallery: Gallery) -> range:
    return range(len(gallery.clean))


def _top_logits(data: DataFacts, gallery: Gallery, place: int) -> str:
    """The three largest logits of an input, each with its class."""
    if gallery.logits is None:
        return ""
    logits = gallery.logits[place]
    return "  ".join(
        f"{_class(data, int(label))}: {logits[label]:.2f}" for label in np.argsort(-logits, kind="stable")[:3]
    )


def _facts(data: DataFacts, record: AttackRecord | None) -> str:
    """What the run says of an image: its class, the ball that is certified, the nearest adversarial."""
    if record is None:
        return ""
    text = f"class {data.class_name(record.label)}, predicted {data.class_name(record.predicted)}"
    if not record.correct:
        return f"{text}: wrong without an attack"
    if record.certified_radius > 0:
        text += f"; no change smaller than {lower(record.certified_radius)} flips it (proven)"
    if record.distance is not None:
        text += f"; {record.attack} flips it at {upper(record.distance)}"
    return text


def _plane(evaluation: Evaluation, gallery: Gallery, records: Sequence[AttackRecord | None]) -> tuple[str, str, Figure]:
    labels = np.array([record.label if record else 0 for record in records])
    moved = [(name, gallery.adversarial[name]) for name in evaluation.attacks if name in gallery.adversarial]
    if gallery.transport is not None:
        moved.append((TRANSPORT, gallery.transport))
    caption = "Points of the plane, and where each attack and the gradient step take them."
    alt = f"{len(labels)} points of {evaluation.name} with arrows to their adversarials."
    return caption, alt, figures.plane_gallery(gallery.clean, labels, moved)


def _reached(data: DataFacts, gallery: Gallery, attack: str) -> list[str]:
    """Class and distance of each picture that is shown, not those of the run's record, which is of another point."""
    steps = (gallery.adversarial[attack] - gallery.clean).reshape(len(gallery.clean), -1)
    classes = gallery.reached.get(attack, [None] * len(steps))
    return [
        ("" if label is None else f"{_class(data, label)}, ") + upper(distance, 2) if np.isfinite(distance) else ""
        for label, distance in zip(classes, np.linalg.norm(steps, axis=1).tolist(), strict=True)
    ]


def _class(data: DataFacts, label: int) -> str:
    name = data.class_name(label)
    return name if len(name) <= 12 else f"{name[:11]}…"
