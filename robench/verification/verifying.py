"""Certificates and adversarials of a run, executed again in numpy float64 from the files of its model.

Nothing of the Lipschitz bound, the certificates, the models or torch is used: layers are written again, norms come from
a power iteration. Such norms are lower bounds, so this cannot prove a radius; it finds one that is too large: a radius
above gap / L_found contradicts the certificate, since the proven L is never below the L that was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robench.data import Dataset, load
from robench.errors import RunError
from robench.records.smoothed import SMOOTHED_COMMAND
from robench.verification.claims import Pixels, adversarial_problems, certificate_problems, image_problems
from robench.verification.network import Network, read_network
from robench.verification.run import (
    Claim,
    ClaimedDistance,
    Manifest,
    read_adversarials,
    read_manifest,
    read_records,
)
from robench.verification.smoothed import read_smoothed, smoothed_problems

BATCH = 250


@dataclass(frozen=True)
class Verification:
    """What was executed again, and what did not hold.

    Fields:
        n: records.
        certificates: certificates, and certified radii that an attack was held against.
        adversarials: stored adversarial examples.
        problems: a text for each claim that does not hold.
    """

    n: int
    certificates: int
    adversarials: int
    problems: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether every claim holds."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `failed` counts the problems."""
        return {
            "n": self.n,
            "certificates": self.certificates,
            "adversarials": self.adversarials,
            "failed": len(self.problems),
            "problems": list(self.problems),
        }


def verify(run: Path, *, model: Path | None = None, data_dir: Path | None = None) -> Verification:
    """Execute a certify or attack run again; of a smoothed classifier, compute the radii from the counts again.

    Args:
        run: the run folder.
        model: the model folder; by default the one that the manifest names.
        data_dir: where the data are; by default where the run found them.

    Raises:
        RunError: the run, the model or the data are missing, or not those of the run.
    """
    manifest = read_manifest(run)
    if manifest.command == SMOOTHED_COMMAND:
        dataset = _data(manifest, data_dir)
        claims = read_smoothed(run, manifest.spec)
        return Verification(len(claims.records), len(claims.records), 0, tuple(smoothed_problems(claims, dataset)))
    folder = model or manifest.model
    if folder is None:
        raise RunError("the manifest does not say where the model is", hint="give the model folder")
    network = read_network(folder, manifest.weights_sha256)
    dataset = _data(manifest, data_dir)
    records = read_records(run, set(dataset.index.tolist()), network.classes)
    attacked = [record for record in records if isinstance(record, ClaimedDistance)]
    executed = _Executed(network, dataset)
    problems = executed.records(records)
    checked, more = executed.adversarials(attacked, read_adversarials(run))
    certified = sum(claim.certified_radius > 0 for claim in attacked)
    return Verification(len(records), len(records) - len(attacked) + certified, checked, (*problems, *more))


def _data(manifest: Manifest, data_dir: Path | None) -> Dataset:
    """The images of a run.

    Raises:
        RunError: they are others.
    """
    dataset = load(manifest.data, manifest.split, data_dir=data_dir or manifest.data_dir)
    if dataset.sha256 != manifest.data_sha256:
        raise RunError(
            "the data are not those of the run",
            hint="give the data of the run (`--data-dir`)",
        )
    return dataset


class _Executed:
    """A network on the images of a run; problems are texts that name the image."""

    def __init__(self, network: Network, dataset: Dataset) -> None:
        self._network, self._dataset = network, dataset
        self._rows = {int(index): row for row, index in enumerate(dataset.index)}

    def records(self, records: Sequence[Claim]) -> list[str]:
        """Problems of the images and their certificates."""
        problems = []
        for start in range(0, len(records), BATCH):
            claims = records[start : start + BATCH]
            rows = np.array([self._rows[claim.index] for claim in claims], dtype=np.int64)
            pixels = self._dataset.batch(rows)
            logits = self._network.logits(pixels.astype(np.float64))
            for claim, row, image, scores in zip(claims, rows, pixels, logits, strict=True):
                found = self._network.decide(scores)
                texts = [*image_problems(claim, image, int(self._dataset.labels[row]), found)]
                texts += certificate_problems(claim, self._network.outputs, found)
                problems += _named(claim.index, texts)
        return problems

    def adversarials(
        self, claims: Sequence[ClaimedDistance], points: Iterable[tuple[int, Pixels]]
    ) -> tuple[int, list[str]]:
        """How many adversarials were checked, and their problems; a distance of 0 needs none."""
        pending = {claim.index: claim for claim in claims if claim.distance != 0.0}
        checked, problems = 0, []
        for index, point in points:
            claim = pending.pop(index, None)
            if claim is None:
                continue
            if claim.distance is None:
                problems += _named(index, ["there is an adversarial, but no distance"])
                continue
            checked += 1
            original = self._dataset.batch(np.array([self._rows[index]]))[0]
            texts = adversarial_problems(claim, self._network, original, point, self._dataset.bounds)
            problems += _named(index, texts)
        for claim in pending.values():
            if claim.distance is not None:
                problems += _named(claim.index, ["there is no adversarial of the distance"])
        return checked, problems


def _named(index: int, texts: Iterable[str]) -> list[str]:
    return [f"image {index}: {text}" for text in texts]
