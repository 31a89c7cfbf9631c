"""The cascade: certificates first, then attacks from cheap to dear, each only on what is still open.

An image is fooled at ε if at least one attack finds a wrong class within ε (the combined rule of Serrurier et al.,
section 5); success at one ε is success at every larger one. What is misclassified or certified at ε is not attacked
at ε. With `Plan.full` every attack sees every image that is not certified everywhere; without it, adversarials are
moved along the boundary (`walk`), and where they come to rest between a close certificate and an ε clearly below, the
dear attacks are spared (`robench.statistics.sparing`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from robench.attacks.catalogue import build
from robench.attacks.chunk import Chunk, certified_radius
from robench.attacks.claims import Attack
from robench.attacks.classifier import Classifier, margin, negative_margin
from robench.attacks.library_model import power_of_two
from robench.attacks.line_search import Walk
from robench.attacks.passes import PassCounter
from robench.attacks.rows import State, norms, rows_of, run_rows, tiles
from robench.attacks.verification import nearest_on_segment, predict_alone
from robench.devices import exact_arithmetic
from robench.errors import DataError, ModelError
from robench.progress import NoProgress, Progress
from robench.records.record import AttackRecord, CertifyRecord
from robench.runs.adversarials import AdversarialStore
from robench.specs.epsilon import epsilon_value
from robench.specs.evaluation import AttackSpec

FARTHEST = 10.0
"""Logits are scaled to slope 1 at the image, but to no larger margin than this: cross-entropy must not saturate."""


class AttackedModel(Protocol):
    """What is needed of a loaded model (`checkpoint.LoadedModel`)."""

    @property
    def module(self) -> nn.Module:
        """Plain layers, eval mode."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Without the batch."""

    @property
    def classes(self) -> int:
        """2 for one logit."""


class AttackedData(Protocol):
    """What is needed of a data set (`data.Dataset`)."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) in 0..q-1."""

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """(N,) positions in the split."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The box of valid inputs."""

    def batch(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Inputs of some rows (n, *shape)."""


class Plan(NamedTuple):
    """What a cascade is asked.

    Fields:
        eps: the radii as written and their values, ascending.
        attacks: by name, in the order in which they run.
        full: every attack sees every image that is not certified everywhere.
    """

    eps: Mapping[str, float]
    attacks: Mapping[str, Attack]
    full: bool


def planned(spec: AttackSpec, bounds: tuple[float, float]) -> Plan:
    """The plan of a spec for inputs within `bounds`."""
    attacks = {name: build(options, bounds, spec.seed) for name, options in spec.resolved().items()}
    return Plan({text: epsilon_value(text) for text in spec.eps}, attacks, spec.full)


def attack_records(
    model: AttackedModel,
    dataset: AttackedData,
    certificates: Mapping[int, CertifyRecord],
    spec: AttackSpec,
    *,
    batch_size: int,
    device: torch.device,
    skip: Collection[int] = (),
    progress: Progress,
    adversarials: AdversarialStore,
    passes: PassCounter,
) -> Iterator[AttackRecord]:
    """Attack the images of a data set, chunk by chunk, in its order.

    A record depends on the image, the weights, the certificate and the spec; not on batch size, neighbours or order.
    The adversarials of a chunk are stored before its first record is yielded.

    Args:
        model: the model, on whose exported weights the certificates were computed.
        dataset: the images.
        certificates: by index; images without one are attacked at every ε.
        spec: radii, attacks and seed.
        batch_size: images of a chunk.
        device: where to compute.
        skip: indices that are done.
        progress: told of images done, of what is open at each ε, and of passes.
        adversarials: takes the nearest adversarial of each image.
        passes: the counter to add to.

    Raises:
        DataError: labels or inputs are out of range.
        ModelError: the model does not return logits for these inputs.
    """
    radii = {index: certified_radius(certificate) for index, certificate in certificates.items()}
    for chunk in attack_chunks(
        model,
        dataset,
        radii,
        planned(spec, dataset.bounds),
        batch_size=batch_size,
        device=device,
        skip=skip,
        passes=passes,
        progress=progress,
    ):
        adversarials.write({int(chunk.index[row]): point for row, point in chunk.points.items()})
        progress.advance(len(chunk.index), open=_open_counts(chunk), passes=str(passes.forward + passes.backward))
        yield from chunk.records()


def attack_chunks(
    model: AttackedModel,
    dataset: AttackedData,
    radii: Mapping[int, float],
    plan: Plan,
    *,
    batch_size: int,
    device: torch.device,
    skip: Collection[int] = (),
    passes: PassCounter,
    progress: Progress | None = None,
) -> Iterator[Chunk]:
    """Attack the images of a data set; what is known of them, chunk by chunk, in its order.

    Args:
        model: the model.
        dataset: the images.
        radii: certified radii by index; images without one are attacked at every ε.
        plan: radii and attacks.
        batch_size: images of a chunk.
        device: where to compute.
        skip: indices that are done.
        passes: the counter to add to.
        progress: told of the attacks within a chunk.

    Raises:
        DataError: labels or inputs are out of range.
        ModelError: the model does not return logits for these inputs.
    """
    _check_labels(dataset, model.classes)
    done = set(skip)
    rows = np.array([row for row, index in enumerate(dataset.index.tolist()) if index not in done], dtype=np.int64)
    if not len(rows):
        return
    with exact_arithmetic():
        classifier = Classifier(model.module, model.input_shape, device=device, passes=passes)
    cascade = Cascade(classifier, plan, dataset.bounds, progress)
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        with exact_arithmetic():
            chunk = cascade.run(dataset.index[part], dataset.batch(part), dataset.labels[part], radii)
        yield chunk


class Cascade:
    """The attacks of a plan on a model, ready to run chunk after chunk."""

    def __init__(
        self, classifier: Classifier, plan: Plan, bounds: tuple[float, float], progress: Progress | None = None
    ) -> None:
        self.classifier, self.plan, self.bounds = classifier, plan, bounds
        self.progress = progress or NoProgress()

    def run(
        self,
        index: npt.NDArray[np.int64],
        x: npt.NDArray[np.float32],
        label: npt.NDArray[np.int64],
        radii: Mapping[int, float],
    ) -> Chunk:
        """Attack one chunk of images; `radii` are certified ones, by index."""
        self._check_inputs(x)
        jobs = self._jobs(index, x, label)
        chunk = Chunk(index, x, label, self._predict(jobs), radii, self.plan.eps, list(self.plan.attacks))
        jobs["scale"] = self._scales(jobs)
        for position, name in enumerate(self.plan.attacks):
            asked = chunk.uncertified() if self.plan.full else chunk.promising()
            rows = np.flatnonzero(asked.any(axis=1) | (chunk.audited() if position == 0 else False))
            with self.classifier.passes.charged_to(name):
                if len(rows):
                    self._attack(name, chunk, jobs, rows, asked[rows])
            self.progress.advance(0, attack=name, open=_open_counts(chunk))
        return chunk

    def _attack(
        self, name: str, chunk: Chunk, jobs: State, rows: npt.NDArray[np.int64], asked: npt.NDArray[np.bool_]
    ) -> None:
        """Run one attack on some rows of the chunk, verify what it claims, and note it."""
        chosen = rows_of(jobs, self._tensor(rows))
        eps = _left_aligned(self.plan.eps, asked)
        chosen["eps"] = self._tensor(eps.astype(np.float32))
        chosen["goal"] = chosen["eps"][:, 0] * 0.9999
        if not self.plan.full:
            chosen["distance"] = self._tensor(chunk.distance[rows].astype(np.float32))
        points, claimed = self.plan.attacks[name].run(self.classifier, chosen)
        for row in rows.tolist():
            chunk.ran(name, row)
        hits = claimed.nonzero().squeeze(1)
        if not len(hits):
            return
        targets = {**rows_of(chosen, hits), "claimed": points[hits]}
        if not self.plan.full:
            targets["claimed"], _ = run_rows(Walk(self.bounds), self.classifier, targets)
        nearest, wrong = nearest_on_segment(self.classifier, targets, targets["claimed"], self.bounds)
        for position, hit in enumerate(hits.tolist()):
            row = int(rows[hit])
            point = nearest[position : position + 1]
            predicted = predict_alone(self.classifier, point, int(chunk.label[row])) if wrong[position] else None
            if predicted is not None:
                chunk.found(name, row, point[0].cpu().numpy(), predicted)

    def _jobs(self, index: npt.NDArray[np.int64], x: npt.NDArray[np.float32], label: npt.NDArray[np.int64]) -> State:
        values = np.array(list(self.plan.eps.values()), dtype=np.float32)
        return {
            "x": self._tensor(x),
            "label": self._tensor(label),
            "index": self._tensor(index),
            "scale": torch.ones(len(x), device=self.classifier.device),
            "eps": self._tensor(np.tile(values, (len(x), 1))),
            "goal": torch.zeros(len(x), device=self.classifier.device),
            "distance": torch.full((len(x),), torch.inf, device=self.classifier.device),
        }

    def _predict(self, jobs: State) -> npt.NDArray[np.int64]:
        """Classes without attack, in float64."""
        logits = torch.cat([self.classifier.exact_logits(t["x"], n)[:n] for t, n in tiles(self.classifier, jobs)])
        if not bool(torch.isfinite(logits).all()):
            bad = int(jobs["index"][~torch.isfinite(logits).all(dim=1)][0])
            raise ModelError(f"the model's logits for image {bad} are not finite", hint="mend or train the model again")
        # A tie of one logit, f = 0, is class 0, as argmax of the first of two equal logits.
        predicted: npt.NDArray[np.int64] = logits.argmax(dim=1).cpu().numpy()
        return predicted

    def _scales(self, jobs: State) -> Tensor:
        """What logits are divided by: the slope of the margin at the image, so that the answer has no logit scale."""
        scales = []
        for tile, real in tiles(self.classifier, jobs):
            label = tile["label"]
            logits, gradient = self.classifier.differentiate(tile["x"], tile["scale"], negative_margin(label), real)
            slope = torch.maximum(norms(gradient), margin(logits, label).abs() / FARTHEST)
            scales.append(power_of_two(torch.where(slope > 0, slope, torch.ones_like(slope)))[:real])
        return torch.cat(scales)

    def _check_inputs(self, x: npt.NDArray[np.float32]) -> None:
        low, high = self.bounds
        if x.shape[1:] != self.classifier.input_shape:
            raise ModelError(
                f"the model takes inputs of shape {self.classifier.input_shape}, the images have {x.shape[1:]}",
                hint="attack with the data the model was trained on",
            )
        if not (np.isfinite(x).all() and x.min() >= low and x.max() <= high):
            raise DataError(
                f"inputs go from {x.min():.4g} to {x.max():.4g}, outside of [{low:g}, {high:g}]",
                hint="give unnormalised inputs; a mean/std normalisation belongs inside the model",
            )

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.classifier.device)


def _left_aligned(eps: Mapping[str, float], asked: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The radii asked of each image (n, K), ascending, padded with infinity; all of them where none is asked."""
    values = np.array(list(eps.values()))
    asked = asked | ~asked.any(axis=1, keepdims=True)
    return np.sort(np.where(asked, values[None, :], np.inf), axis=1)


def _check_labels(dataset: AttackedData, classes: int) -> None:
    labels = dataset.labels
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}, but the model has {classes} classes",
            hint="attack with the data the model was trained on, such as `mnist:0-8` for a model of two digits",
        )


def _open_counts(chunk: Chunk) -> str:
    """How many images are open at each ε."""
    counts = chunk.open().sum(axis=0)
    return " ".join(f"{text}:{count}" for text, count in zip(chunk.eps, counts.tolist(), strict=True))
