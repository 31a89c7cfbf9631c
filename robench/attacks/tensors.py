"""Attacks on a model and images in memory: the attack ensemble of `robench attack`, without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32, Float64, Int64

from robench.arrays import Array, Integers, Singles
from robench.attacks.batch import AttackedBatch
from robench.attacks.choice import AttackChoice, chosen
from robench.attacks.diagnostics import look
from robench.attacks.ensemble import attack_batches
from robench.attacks.passes import PassCounter
from robench.attacks.plan import AttackPlan
from robench.data.memory import ImageSet, ImagesLike, LabelsLike, images
from robench.devices import own_settings, resolve_device
from robench.errors import SpecError
from robench.models import HeldModel, Model, hold, output_flags
from robench.models.identity.contents import contents_digest
from robench.models.output_flags import LOOKED_AT
from robench.models.user_code.blame import late_blamed
from robench.records.certificates import Proofs, Proven, check_same_model, identities, proofs_of
from robench.records.crosscheck import Contradictions, contradictions
from robench.records.record import AttackRecord, AttackStatus
from robench.specs.attacks import check_radii
from robench.specs.base import whole
from robench.specs.data import Split
from robench.specs.epsilon import Epsilon, Epsilons, epsilon_or_zero, epsilon_value, epsilons
from robench.statistics.predictions import record_flags


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What attacks found on N images. Distances are L2, in the units of the images, rounded up.

    Fields:
        distance: of the nearest adversarial; 0 where the model is wrong without any attack, infinite where nothing
            was found.
        points: at that distance from the images: the image itself where the model is wrong, NaN
            where nothing was found.
        predicted: class without attack; one logit: 1 iff f(x) > 0.
        by_attack: attack to distances; infinite where it found nothing, NaN where it was not asked, since a
            certificate or another attack had answered.
        records: of each image, as in a run folder; the index is the row, or the position in the split of a data set.
        fingerprint: SHA-256 of the model, as in its `LipschitzBound` and `Certificates`.
        eps: the radii asked, as written, ascending.
        contradictions: adversarials within a certified radius. The certificate or the attack is then wrong.
        passes: forward and backward passes spent.
        notes: how the class is read where that is not plain, flags (docs/flags.md; those that need a second run of the
            attacks are raised by `robench attack` only), and contradictions.
    """

    distance: Float64[Array, " n"]
    points: Float32[Singles, "n ..."] = field(repr=False)
    predicted: Int64[Integers, " n"]
    by_attack: Mapping[str, Float64[Array, " n"]]
    records: tuple[AttackRecord, ...] = field(repr=False)
    fingerprint: str = field(repr=False)
    eps: tuple[str, ...]
    contradictions: Contradictions
    passes: Mapping[str, int]
    notes: tuple[str, ...]

    def robust_accuracy(self, eps: Epsilon) -> float:
        """The share of images that are right and that no attack broke within `eps`; accuracy for 0.

        Raises:
            SpecError: `eps` is no radius, or above all that were asked: nothing was looked for there.
        """
        value = epsilon_or_zero(eps)
        if value > epsilon_value(self.eps[-1]):
            raise SpecError(
                f"no attack was asked for ε = {eps}, the largest was {self.eps[-1]}",
                hint=f"attack with `eps=[..., {eps}]`",
            )
        return sum(record.robust_at(value) for record in self.records) / len(self.records)


def attack(
    model: Model,
    x: ImagesLike,
    y: LabelsLike | None = None,
    *,
    eps: Epsilons,
    attacks: AttackChoice = "paper",
    certificates: Proven | None = None,
    bounds: tuple[float, float] | None = None,
    full: bool = False,
    seed: int = 0,
    limit: int | None = None,
    split: Split | None = None,
    data_dir: str | PathLike[str] | None = None,
    batch_size: int = 500,
    device: str = "auto",
) -> AttackResult:
    """Attack a model at some images, and keep the nearest verified adversarial of each.

    The same attack ensemble as `robench attack`: attacks run from cheap to expensive, each on the images and radii that
    are still open. What they claim is verified in float64. The model and the images stay as they are.

    Args:
        model: any torch module in evaluation mode: images (N, *shape) to logits (N, q), or (N, 1) for two classes; or a
            path, or what `load_model` returns.
        x: images (N, *shape), a tensor or an array of floats within the bounds, taken as float32; or a data set or its
            name.
        y: true classes (N,), integers from 0 up; left out with a data set.
        eps: L2 radii above 0: a number, a fraction, a text such as `36/255`, or several.
        attacks: a suite (`paper`, `strong`, `autoattack`), or attacks: names with options (`pgd:steps=100`), objects of
            `foolbox.attacks` in L2, and functions `(model, x, y, eps) -> points`; docs/adding-an-attack.md.
        certificates: of these images, in their order: what `certify` gives, radii (N,), or records. What is certified
            at ε is not attacked at ε, except for a spot check: about one in twenty of the images certified everywhere.
        bounds: least and greatest value of an input; None for 0 and 1, or those of the data set.
        full: run every attack on every image that is not certified everywhere.
        seed: of the random starts, drawn image by image from the seed and the row. Attacks that are given as objects or
            functions draw for a batch: their records hold for one `batch_size`, with 1 for each image by itself.
        limit: at most this many images, the first ones; None for all.
        split: of a data set by name: `train`, `validation` or `test`; None for `test`.
        data_dir: folder with its files; None for the cache, which downloads what it lacks.
        batch_size: images at a time.
        device: `auto`, `cpu` or `cuda:N`.

    Raises:
        ModelError: the model is in training mode, does not fit the images, or gives no finite logits; or an attack that
            was given fails; or the certificates are of another model.
        DataError: images, labels or certificates do not serve.
        SpecError: a radius, attack, bound, seed, batch size or device does not serve.

    Examples:
        A hyperplane, whose distance from the image is 0.25:

        >>> import torch, robench
        >>> model = torch.nn.Linear(2, 1)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0]])), model.bias.data.fill_(-0.5)
        >>> found = robench.attack(model.eval(), torch.tensor([[0.75, 0.5]]), [1], eps=[0.2, 0.3])
        >>> round(float(found.distance[0]), 3)
        0.25
        >>> [found.robust_accuracy(eps) for eps in (0.2, 0.3)]
        [1.0, 0.0]
    """
    data = images(x, y, bounds=bounds, limit=limit, split=split, data_dir=data_dir)
    radii = epsilons(eps)
    seed, batch_size = whole("seed", seed, 0), whole("batch_size", batch_size, 1)
    if not isinstance(full, bool | np.bool_):
        raise SpecError(f"`full` is {full!r}", hint="give True or False")
    check_radii(attacks, radii)
    where = resolve_device(device)
    with own_settings(), late_blamed():
        held = hold(model, data.shape)
        mark = contents_digest(held.module)
        proofs = Proofs(np.zeros(len(data)))
        if certificates is not None:
            check_same_model(certificates, mark)
            proofs = proofs_of(identities(data), certificates)
        plan = AttackPlan({text: epsilon_value(text) for text in radii}, chosen(attacks, data.bounds, seed), bool(full))
        passes = PassCounter()
        batches = list(
            attack_batches(held, data, proofs.radius, plan, batch_size=batch_size, device=where, passes=passes)
        )
        return _result(held, mark, data, batches, proofs, passes, where)


def _result(
    held: HeldModel,
    mark: str,
    data: ImageSet,
    batches: Sequence[AttackedBatch],
    proofs: Proofs,
    passes: PassCounter,
    device: torch.device,
) -> AttackResult:
    records = tuple(record for batch in batches for record in batch.records())
    found = contradictions(proofs.records, records)
    doubted = output_flags(held, data.batch(slice(0, LOOKED_AT)), data.labels[:LOOKED_AT])
    flags = [*record_flags(records), *look(held, data, records, device)]
    return AttackResult(
        distance=np.concatenate([batch.distance for batch in batches]),
        points=np.concatenate([_points(batch) for batch in batches]),
        predicted=np.concatenate([batch.predicted for batch in batches]),
        by_attack={name: np.array([_distance(record, name) for record in records]) for name in records[0].attacks},
        records=records,
        fingerprint=mark,
        eps=records[0].eps,
        contradictions=found,
        passes=passes.to_dict(),
        notes=(
            *([] if held.link is None else [held.link.note]),
            *(f"{doubt.name}: {doubt.message}" for doubt in doubted),
            *(f"{flag.name}: {flag.message}" for flag in flags),
            *(f"contradiction: {item.sentence}" for item in found),
        ),
    )


def _points(batch: AttackedBatch) -> npt.NDArray[np.float32]:
    """The nearest adversarials (n, *shape) as `AttackResult.points`."""
    points = np.where(batch.correct.reshape(-1, *([1] * (batch.x.ndim - 1))), np.float32(np.nan), batch.x)
    for row, point in batch.points.items():
        points[row] = point
    return points


def _distance(record: AttackRecord, name: str) -> float:
    outcome = record.attacks[name]
    if not record.correct:
        return 0.0
    if outcome.status is AttackStatus.NOT_RUN:
        return float("nan")
    return float("inf") if outcome.distance is None else outcome.distance
