"""Claims of records against what numpy computes: each function yields a text for each claim that does not hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from robench.verification.network import Decision, Network
from robench.verification.run import Claim, ClaimedDistance

Pixels = npt.NDArray[np.float32]
ROUNDED_UP = 1e-6
"""A distance is a float64 rounded up, so the claim may be above the distance by this share."""


def image_problems(claim: Claim, pixels: Pixels, label: int, found: Decision) -> Iterator[str]:
    """Input, label and class of an image.

    Args:
        claim: of the record.
        pixels: the input.
        label: of the data.
        found: what the network says of the input.
    """
    if hashlib.sha256(np.ascontiguousarray(pixels, dtype="<f4").tobytes()).hexdigest() != claim.input_sha256:
        yield "the input is another one"
    if label != claim.label:
        yield "the label is another one"
    if (found.gaps > found.allowed).all() and found.predicted != claim.predicted:
        yield f"the class is {found.predicted}"


def certificate_problems(claim: Claim, outputs: int, found: Decision) -> Iterator[str]:
    """Radii, margin and status of a certificate; of an attack, the certified radius that it was held against.

    Args:
        claim: of the record.
        outputs: of the network; 1 for one logit.
        found: what it says of the input.
    """
    if isinstance(claim, ClaimedDistance):
        if claim.certified_radius > max(found.limit, found.limit_scaled):
            yield f"the certified radius is above {max(found.limit, found.limit_scaled)!r}"
        return
    runner_up = claim.runner_up if outputs > 1 else 0
    if claim.margin > found.gaps[runner_up] + found.allowed[runner_up]:
        yield f"the margin is {found.gaps[runner_up]!r}"
    if claim.radii["pairwise"] > found.limit:
        yield f"the pairwise radius is above {found.limit!r}"
    if claim.radii.get("scaled", 0.0) > found.limit_scaled:
        yield f"the radius by scaled is above {found.limit_scaled!r}"
    for low, high in pairwise(claim.radii):
        if claim.radii[low] > claim.radii[high]:
            yield f"the radius by {low} is above that by {high}"
    proven = "certified" if max(claim.radii.values()) > 0 else "not_certified"
    expected = proven if claim.predicted == claim.label else "misclassified"
    if claim.status != expected:
        yield f"the status is {expected}"


def adversarial_problems(
    claim: ClaimedDistance, network: Network, original: Pixels, point: Pixels, bounds: tuple[float, float]
) -> Iterator[str]:
    """A stored adversarial: its class, its distance, and that it lies in the box and beyond the certified radius.

    Args:
        claim: of the record, with a distance above 0.
        network: the model.
        original: the image.
        point: the adversarial.
        bounds: of the box.
    """
    assert claim.distance is not None
    exact = point.astype(np.float64)
    distance = float(np.sqrt(np.sum((exact - original.astype(np.float64)) ** 2)))
    if network.decide(network.logits(exact[None])[0]).predicted == claim.label:
        yield "the adversarial is classified correctly"
    if claim.distance < distance:
        yield f"the distance is {distance!r}"
    if claim.distance > distance * (1 + ROUNDED_UP):
        yield f"the distance is only {distance!r}"
    if distance <= claim.certified_radius:
        yield "the adversarial lies within the certified radius"
    if not bool((point >= bounds[0]).all() and (point <= bounds[1]).all()):
        yield "the adversarial lies outside the box"
