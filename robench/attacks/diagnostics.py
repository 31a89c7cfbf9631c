"""Signs that an evaluation by attacks may be wrong, each a named flag explained in docs/flags.md.

After Carlini et al., On Evaluating Adversarial Robustness (arXiv 1902.06705), Pintor et al., Indicators of Attack
Failure (arXiv 2106.09947), and AutoAttack's own checks. A flag accuses the evaluation, not the model: accuracy under
attack is then too high to be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from robench.attacks.attacked import AttackedData, AttackedModel
from robench.attacks.classifier import LogitLoss, gradient_or_zero, margin, two_logits
from robench.attacks.ensemble import attack_batches
from robench.attacks.passes import PassCounter
from robench.attacks.plan import planned
from robench.attacks.sample import Sample, sample_of
from robench.devices import exact_arithmetic
from robench.models.networks.widened import widened
from robench.numerics import upper
from robench.records.record import AttackRecord
from robench.specs.epsilon import epsilon_value
from robench.specs.evaluation import AttackSpec
from robench.statistics.predictions import Flag

NOISE_DRAWS = 32
"""Random directions tried for each image by the gradient-free attack."""
HALVINGS = 12
"""Bisection steps of the gradient-free attack."""
BETTER = 0.99
"""The gradient-free attack is better where it needs less than this share of the distance."""

CUT = ", since the model cuts its output off from its input (no_grad, detach, .data, numpy, integers)"
LOST = 0.01
"""A margin in float32 that is off by this share of the median margin is lost to attacks that need small steps."""

AttackAgain = Callable[[AttackSpec, npt.NDArray[np.float64]], list[AttackRecord]]
"""Attacks the sample with another spec and certified radii (n,)."""


def diagnose(
    model: AttackedModel,
    dataset: AttackedData,
    records: Sequence[AttackRecord],
    radii: npt.NDArray[np.float64],
    spec: AttackSpec,
    *,
    batch_size: int,
    device: torch.device,
) -> list[Flag]:
    """All flags that a sample of the attacked images raises; the same sample for the same images.

    Args:
        model: the attacked model.
        dataset: holds the attacked images, maybe more.
        records: of the run.
        radii: certified ones of all images of the data set (N,), as the run used them.
        spec: of the run.
        batch_size: images at a time.
        device: where to compute.
    """
    sample = sample_of(model, dataset, records, device)
    if sample is None:
        return []

    def attack_again(again: AttackSpec, certified: npt.NDArray[np.float64]) -> list[AttackRecord]:
        plan, passes = planned(again, sample.bounds), PassCounter()
        batches = attack_batches(model, sample, certified, plan, batch_size=batch_size, device=device, passes=passes)
        return [record for batch in batches for record in batch.records()]

    return [
        *_looked_at(model, sample),
        *_budget_flag(sample, spec, radii[sample.rows], attack_again),
        *_unbounded_flag(sample, spec, model.classes, attack_again),
    ]


def look(
    model: AttackedModel, dataset: AttackedData, records: Sequence[AttackRecord], device: torch.device
) -> list[Flag]:
    """The flags of the same sample that need no second run of the attacks; arguments as of `diagnose`.

    Args:
        model: the attacked model.
        dataset: holds the attacked images, maybe more.
        records: of the run.
        device: where to compute.
    """
    sample = sample_of(model, dataset, records, device)
    return [] if sample is None else _looked_at(model, sample)


def _looked_at(model: AttackedModel, sample: Sample) -> list[Flag]:
    with exact_arithmetic():
        return [
            *_model_flags(model.module, sample),
            *_precision_flag(model.module, sample),
            *_gradient_flags(sample),
            *_gradient_free_flag(sample),
        ]


def _model_flags(module: nn.Module, sample: Sample) -> Iterator[Flag]:
    """What the outputs alone give away."""
    training = [name or "the model" for name, part in module.named_modules() if part.training]
    if training:
        yield Flag("train-mode", f"{len(training)} modules are in training mode, the first: {training[0]}")
    with torch.no_grad():
        raw = sample.module(sample.x)
        first, second = sample.logits(sample.x), sample.logits(sample.x)
    sizes = first.abs().amax(dim=0).clamp_min(1e-30)  # class by class: a masked one has a huge logit that says nothing
    difference = float(((first - second).abs() / sizes).max())
    if difference > 1e-6:
        yield Flag("randomised-model", f"two evaluations of the same inputs differ by {difference:.1e} of the logits")
    if raw.ndim == 2 and raw.shape[1] > 1 and bool(((raw >= 0) & (raw <= 1)).all()):
        off = float((raw.sum(dim=1) - 1.0).abs().max())
        if off < 1e-4:
            yield Flag("softmax-output", f"outputs are in [0, 1] and sum to 1 within {off:.1e}: not logits")


@torch.no_grad()
def _precision_flag(module: nn.Module, sample: Sample) -> Iterator[Flag]:
    """Whether the float32 logits, which attacks climb on, still hold the margins."""
    double = widened(module).eval().to(sample.x.device)
    exact = margin(two_logits(double(sample.x.double())), sample.label)
    difference = (margin(sample.logits(sample.x), sample.label) - exact).abs()
    lost = int((difference > LOST * exact.abs().median()).sum())
    if lost:
        yield Flag(
            "float32-margins",
            f"margins in float32 are off by up to {float(difference.max()):.2g} at {lost} of {len(exact)} images, "
            f"where their median is {float(exact.abs().median()):.2g}",
        )


def _gradient_flags(sample: Sample) -> Iterator[Flag]:
    """What gradients at the images give away."""
    slope = _gradient(sample, lambda logits: margin(logits, sample.label))
    n = len(slope)
    broken = int((~torch.isfinite(slope).all(dim=1)).sum())
    if broken:
        yield Flag("nonfinite-gradients", f"the gradient of the margin is NaN or infinite at {broken} of {n} images")
    zero = (slope == 0).all(dim=1)
    if bool(zero.any()):
        seen = f"the gradient of the margin is exactly zero at {int(zero.sum())} of {n} images"
        cut = not sample.logits(sample.x.clone().requires_grad_(True)).requires_grad
        yield Flag("zero-gradients", seen + (CUT if cut else ""))
    loss = _gradient(sample, lambda logits: nn.functional.cross_entropy(logits, sample.label, reduction="none"))
    saturated = int(((loss == 0).all(dim=1) & ~zero).sum())
    if saturated:
        yield Flag(
            "saturated-loss",
            f"cross-entropy of the model's own logits has gradient zero at {saturated} of {n} images; robench "
            "normalises logits, other tools may not",
        )


def _gradient(sample: Sample, loss: LogitLoss) -> Tensor:
    """The gradient of each image's loss (n, d)."""
    leaf = sample.x.clone().requires_grad_(True)
    total = loss(sample.logits(leaf)).sum()
    return gradient_or_zero(total, leaf).flatten(1)


@torch.no_grad()
def _gradient_free_flag(sample: Sample) -> Iterator[Flag]:
    """Lines through random points and through images of other classes, bisected: needs classes only."""
    asked = max(epsilon_value(text) for text in sample.records[0].eps)
    better = []
    for row, record in enumerate(sample.records):
        distance = _line_distance(sample, row)
        reference = min(asked, record.distance if record.distance is not None else np.inf)
        if distance < BETTER * reference:
            better.append((record.index, distance))
    if better:
        index, distance = better[0]
        yield Flag(
            "gradient-free-better",
            f"bisection along lines beats the attacks on {len(better)} of {len(sample.records)} images, "
            f"such as image {index} at {upper(distance, 3)}",
        )


def _line_distance(sample: Sample, row: int) -> float:
    """The nearest class change found on lines from an image; infinite if there is none."""
    low, high = sample.bounds
    generator = torch.Generator().manual_seed(row)
    x, label = sample.x[row : row + 1], sample.label[row]
    noise = torch.randn((NOISE_DRAWS, *x.shape[1:]), generator=generator).to(x)
    far = (x + noise * (high - low)).clamp(low, high)
    ends = torch.cat([far, sample.x[sample.label != label]])
    wrong = sample.logits(ends).argmax(dim=1) != label
    ends = ends[wrong]
    if not len(ends):
        return float("inf")
    left = torch.zeros(len(ends), device=x.device)
    right = torch.ones_like(left)
    for _ in range(HALVINGS):
        middle = (left + right) / 2.0
        points = x + middle.reshape(-1, *([1] * (x.ndim - 1))) * (ends - x)
        flipped = sample.logits(points).argmax(dim=1) != label
        left, right = torch.where(flipped, left, middle), torch.where(flipped, middle, right)
    return float((right * (ends - x).flatten(1).norm(dim=1)).min())


def _budget_flag(
    sample: Sample, spec: AttackSpec, radii: npt.NDArray[np.float64], attack_again: AttackAgain
) -> Iterator[Flag]:
    """Whether twice the steps break an image at an ε at which it stood."""
    changes = {
        f"attacks.{name}.steps": 2 * int(options["steps"])
        for name, options in spec.attacks.items()
        if "steps" in options
    }
    if not changes:
        return
    twice = attack_again(spec.override(changes), radii)
    values = [(text, epsilon_value(text)) for text in spec.eps]
    for before, after in zip(sample.records, twice, strict=True):
        fallen = [text for text, value in values if before.robust_at(value) and not after.robust_at(value)]
        if fallen:
            yield Flag(
                "attack-budget-too-small",
                f"with twice the steps, image {before.index} falls at ε = {fallen[0]}, where it stood "
                f"(sample of {len(twice)} images)",
            )
            return


def _unbounded_flag(sample: Sample, spec: AttackSpec, classes: int, attack_again: AttackAgain) -> Iterator[Flag]:
    """Whether accuracy stays above chance at an ε as large as the whole box."""
    low, high = sample.bounds
    diagonal = (high - low) * float(np.sqrt(sample.x[0].numel()))
    certified = np.zeros(len(sample.rows))  # a certificate must not answer for the attacks
    records = attack_again(spec.override({"eps": [repr(diagonal)], "full": False}), certified)
    standing = sum(record.robust_at(diagonal) for record in records)
    if standing > len(records) / classes:
        yield Flag(
            "unbounded-attack-fails",
            f"{standing} of {len(records)} images stand at ε = {diagonal:.3g}, where chance is {1 / classes:.0%}",
        )
