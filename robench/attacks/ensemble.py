"""The attack ensemble: certificates first, then attacks from cheap to expensive, each only on what is still open.

An image is fooled at ε if at least one attack finds a wrong class within ε (the combined rule of Serrurier et al.,
section 5); success at one ε is success at every larger one. What is misclassified or certified at ε is not attacked
at ε. With `AttackPlan.full` every attack sees every image that is not certified everywhere; without it, adversarials
are refined along the boundary (`refinement`), and where they come to rest between a close certificate and an ε clearly
below, the expensive attacks are skipped (`robench.statistics.sparing`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from robench.arrays import Array, Flags, Integers, Singles
from robench.attacks.attacked import AttackedData, AttackedModel
from robench.attacks.batch import AttackedBatch
from robench.attacks.claims import MinimumNormAttack
from robench.attacks.classifier import Classifier, margin, negative_margin
from robench.attacks.examples import Claims, Examples, norms, tiles
from robench.attacks.library_model import power_of_two
from robench.attacks.line_search import nearest_on_segment, predict_alone
from robench.attacks.passes import PassCounter
from robench.attacks.plan import AttackPlan
from robench.attacks.refinement import refine
from robench.data.memory import check_classes
from robench.devices import exact_arithmetic
from robench.errors import DataError, ModelError

FARTHEST = 10.0
"""Logits are scaled to slope 1 at the image, but to no larger margin than this: cross-entropy must not saturate."""

Watch = Callable[[str, AttackedBatch, float], None]
"""Told while a batch is attacked: the attack, the batch, and about which share of the work on it is done."""


def attack_batches(
    model: AttackedModel,
    dataset: AttackedData,
    radii: Float64[Array, " n"],
    plan: AttackPlan,
    *,
    batch_size: int,
    device: torch.device,
    passes: PassCounter,
    skip: Collection[int] = (),
    watch: Watch | None = None,
) -> Iterator[AttackedBatch]:
    """Attack the images of a data set, batch by batch, in its order.

    What is found for an image depends on the image, the model, the certified radius and the plan; not on the size of
    batches, on neighbours or on the order.

    Args:
        model: the model.
        dataset: the images.
        radii: certified ones; 0 for images that are attacked at every ε.
        plan: radii and attacks.
        batch_size: images of a batch.
        device: where to compute.
        passes: the counter to add to.
        skip: indices that are done.
        watch: called after each tile of images, and after each attack on a batch.

    Raises:
        DataError: labels or inputs are out of range.
        ModelError: the model does not return logits for these inputs.
    """
    check_classes(dataset.labels, model.classes)
    done = set(skip)
    rows = np.array([row for row, index in enumerate(dataset.index.tolist()) if index not in done], dtype=np.int64)
    if not len(rows):
        return
    ensemble = ready(model, plan, dataset.bounds, device=device, passes=passes, watch=watch)
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        yield ensemble.run(dataset.index[part], dataset.batch(part), dataset.labels[part], radii[part])


def ready(
    model: AttackedModel,
    plan: AttackPlan,
    bounds: tuple[float, float],
    *,
    device: torch.device,
    passes: PassCounter,
    watch: Watch | None = None,
) -> Ensemble:
    """The attacks of a plan on a model, ready to run batch after batch.

    Args:
        model: the model.
        plan: radii and attacks.
        bounds: the box of valid inputs.
        device: where to compute.
        passes: the counter to add to.
        watch: called after each tile of images, and after each attack on a batch.

    Raises:
        ModelError: the model does not return logits for its inputs.
    """
    with exact_arithmetic():
        classifier = Classifier(model.module, model.input_shape, device=device, passes=passes)
    return Ensemble(classifier, plan, bounds, watch)


class Ensemble:
    """The attacks of a plan on a model, ready to run batch after batch.

    Args:
        classifier: the model.
        plan: radii and attacks.
        bounds: the box of valid inputs.
        watch: called after each tile of images, and after each attack on a batch.
    """

    def __init__(
        self,
        classifier: Classifier,
        plan: AttackPlan,
        bounds: tuple[float, float],
        watch: Watch | None = None,
    ) -> None:
        self.classifier, self.plan, self.bounds, self.watch = classifier, plan, bounds, watch

    def run(
        self,
        index: Int64[Integers, " n"],
        x: Float32[Singles, "n ..."],
        label: Int64[Integers, " n"],
        radius: Float64[Array, " n"],
    ) -> AttackedBatch:
        """Attack one batch of images.

        Args:
            index: positions in the split.
            x: inputs.
            label: true classes.
            radius: certified radii.

        Raises:
            DataError: inputs are out of range.
            ModelError: the model does not return finite logits for these inputs.
        """
        with exact_arithmetic():
            return self._run(index, x, label, radius)

    def _run(self, index: Integers, x: Singles, label: Integers, radius: Array) -> AttackedBatch:
        self._check_inputs(x)
        examples = self._examples(index, x, label)
        batch = AttackedBatch(index, x, label, self._predict(examples), radius, self.plan.eps, list(self.plan.attacks))
        examples = replace(examples, scale=self._scales(examples))
        for position, name in enumerate(self.plan.attacks):
            asked = batch.uncertified() if self.plan.full else batch.promising()
            wanted = asked.any(axis=1)
            if position == 0:
                wanted |= batch.spot_checked()
            with self.classifier.passes.charged_to(name), self._watched(position, name, batch, asked):
                if wanted.any():
                    self._attack(name, batch, examples, np.flatnonzero(wanted), asked)
        return batch

    @contextlib.contextmanager
    def _watched(self, position: int, name: str, batch: AttackedBatch, asked: Flags) -> Iterator[None]:
        """Tell how far an attack of a batch is, where somebody listens."""
        watch = self.watch
        if watch is None:
            yield
            return
        alone = isinstance(self.plan.attacks[name], MinimumNormAttack)
        questions = max(1, int(asked.any(axis=1).sum() if alone else asked.sum()))
        answered = 0

        def told(images: int) -> None:
            nonlocal answered
            answered += images
            tell(min(1.0, answered / questions))

        def tell(share: float) -> None:
            watch(name, batch, (position + share) / len(self.plan.attacks))

        self.classifier.passes.after_tile = told
        try:
            yield
        finally:
            self.classifier.passes.after_tile = None
        tell(1.0)

    def _attack(self, name: str, batch: AttackedBatch, examples: Examples, rows: Integers, asked: Flags) -> None:
        """Run one attack on some rows of the batch, verify what it claims, and note it."""
        chosen = replace(
            examples.rows(self._tensor(rows)),
            eps=self._tensor(_left_aligned(batch.values, asked[rows]).astype(np.float32)),
        )
        if not self.plan.full:
            chosen = replace(chosen, distance=self._tensor(batch.distance[rows].astype(np.float32)))
        claims = self.plan.attacks[name].run(self.classifier, chosen)
        for row in rows.tolist():
            batch.ran(name, row)
        hits = claims.found.nonzero().squeeze(1)
        if not len(hits):
            return
        verified = self._moved(chosen.rows(hits), claims.points[hits])
        kept = verified.found.nonzero().squeeze(1)
        if not len(kept):
            return
        points, label = verified.points[kept], chosen.label[hits[kept]]
        predicted = predict_alone(self.classifier, points, label).tolist()
        for row, point, other in zip(
            rows[hits[kept].cpu().numpy()].tolist(), points.cpu().numpy(), predicted, strict=True
        ):
            if other >= 0:
                batch.found(name, row, point, other)

    def _moved(self, examples: Examples, claimed: Tensor) -> Claims:
        """Claimed points moved towards their images, to the boundary."""
        if not self.plan.full:
            claimed = refine(self.classifier, examples, claimed, self.bounds)
        return nearest_on_segment(self.classifier, examples, claimed, self.bounds)

    def _examples(self, index: Integers, x: Singles, label: Integers) -> Examples:
        """The images, asked at every ε, with logits as they are and without known adversarials."""
        values = np.array(list(self.plan.eps.values()), dtype=np.float32)
        ones = torch.ones(len(x), device=self.classifier.device)
        return Examples(
            x=self._tensor(x),
            label=self._tensor(label),
            index=self._tensor(index),
            scale=ones,
            eps=self._tensor(np.tile(values, (len(x), 1))),
            distance=ones * torch.inf,
        )

    def _predict(self, examples: Examples) -> Integers:
        """Classes without attack, in float64."""
        logits = torch.cat(
            [self.classifier.exact_logits(tile.x, real)[:real] for tile, real in tiles(self.classifier, examples)]
        )
        finite = torch.isfinite(logits).all(dim=1)
        if not bool(finite.all()):
            bad = int(examples.index[~finite][0])
            raise ModelError(
                f"the model's logits for image {bad} are not finite", hint="repair the model, or train it again"
            )
        # A tie of one logit, f = 0, is class 0, as argmax of the first of two equal logits.
        predicted: Integers = logits.argmax(dim=1).cpu().numpy()
        return predicted

    def _scales(self, examples: Examples) -> Tensor:
        """The divisor of the logits: the slope of the margin at the image, so that their scale does not matter."""
        scales = []
        for tile, real in tiles(self.classifier, examples):
            logits, gradient = self.classifier.differentiate(tile.x, tile.scale, negative_margin(tile.label), real)
            slope = torch.maximum(norms(gradient), margin(logits, tile.label).abs() / FARTHEST)
            scales.append(power_of_two(torch.where(slope > 0, slope, torch.ones_like(slope)))[:real])
        return torch.cat(scales)

    def _check_inputs(self, x: Singles) -> None:
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


def _left_aligned(values: Float64[Array, " k"], asked: Bool[Flags, "n k"]) -> Float64[Array, "n k"]:
    """The radii asked of each image, ascending, padded with infinity; all of them where none is asked."""
    asked = asked | ~asked.any(axis=1, keepdims=True)
    return np.sort(np.where(asked, values[None, :], np.inf), axis=1)
