"""Attacks on a smoothed classifier: gradients averaged over noise (Salman et al., NeurIPS 2019, arXiv 1906.04584)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.stats import binomtest

from robench.arrays import Array, Flags, Integers, Singles
from robench.data.dataset import input_digest
from robench.data.memory import ImagesLike, LabelsLike, check_classes, images
from robench.devices import exact_arithmetic, own_settings, resolve_device
from robench.models import Model, hold
from robench.models.user_code.blame import late_blamed
from robench.numerics import distance_upper
from robench.records.smoothed import ABSTAINED
from robench.smoothing.certify import Voter, on_grid
from robench.smoothing.noise import LEVELS, Pixels
from robench.specs.base import whole
from robench.specs.data import Split
from robench.specs.epsilon import Epsilon, epsilon_value, epsilons
from robench.specs.smoothing import Sampling

SHORTER = (1.0, 0.98, 0.95, 0.9, 0.8, 0.6)
"""Shares of a change of an image that are tried until its rounding to the grid lies within ε."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SmoothedAttack:
    """What the attack found on the smoothed classifier at N images.

    Its class at a point is the outcome of a test, which is wrong with chance alpha at most.

    Fields:
        found: whether the smoothed classifier gives the point another class than the true one.
        distance: L2 distance of the point from the image, rounded up; infinite where nothing was found.
        predicted: class of the smoothed classifier at the point; −1 where it abstains.
        points: tried last, float32, on the grid of pixels.
    """

    found: Bool[Flags, " n"]
    distance: Float64[Array, " n"]
    predicted: Int64[Integers, " n"]
    points: Float32[Singles, "n ..."]


def attack_smoothed(
    model: Model,
    x: ImagesLike,
    y: LabelsLike | None = None,
    *,
    sigma: float,
    eps: Epsilon,
    steps: int = 20,
    draws: int = 32,
    n: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
    limit: int | None = None,
    split: Split | None = None,
    data_dir: str | PathLike[str] | None = None,
    device: str = "auto",
) -> SmoothedAttack:
    """Attack the smoothed classifier within one radius: projected gradient descent on the mean probability.

    A point counts only if the smoothed classifier, asked anew with n draws, gives it another class than the true one.
    That test is wrong with chance alpha at most, so a point within a certified radius is no proof of a fault.

    Args:
        model: the base classifier, as for `certify_smoothed`.
        x: images (N, *shape) in [0, 1], a tensor or an array of floats; or a data set or its name.
        y: true classes (N,), integers from 0 up; left out with a data set.
        sigma: standard deviation of the noise, in the units of the images.
        eps: L2 radius: a number, a fraction, or a text such as `36/255`.
        steps: of the descent.
        draws: noisy images over which each gradient is averaged.
        n: draws of the test of a point.
        alpha: chance at most that the class of a point is wrong.
        seed: of all noise.
        limit: at most this many images, the first ones; None for all.
        split: of a data set by name: `train`, `validation` or `test`; None for `test`.
        data_dir: folder with its files; None for the cache, which downloads what it lacks.
        device: of the model: `auto`, `cpu` or `cuda:N`.

    Raises:
        ModelError: as of `certify_smoothed`.
        DataError: as of `certify_smoothed`, or there are no labels.
        SpecError: a setting does not serve.

    Examples:
        A hyperplane that is 0.1 away from the image:

        >>> import torch, robench
        >>> model = torch.nn.Linear(2, 1)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0]])), model.bias.data.fill_(-102.5 / 255)
        >>> x = torch.tensor([[128 / 255, 128 / 255]])
        >>> [robench.attack_smoothed(model.eval(), x, [1], sigma=0.1, eps=eps).found.tolist() for eps in (0.05, 0.15)]
        [[False], [True]]
    """
    sampling = Sampling(sigma=sigma, n=n, alpha=alpha, seed=seed)
    steps, draws = whole("steps", steps, 1), whole("draws", draws, 1)
    limit_of_change = epsilon_value(epsilons(eps)[0])
    given = images(x, y, limit=limit, split=split, data_dir=data_dir)
    where = resolve_device(device)
    with own_settings(), late_blamed():
        held = hold(model, given.shape)
        check_classes(given.labels, held.classes)
        voter = Voter(held, sampling.sigma, sampling.seed, where)
        rows = []
        for row, label in enumerate(given.labels.tolist()):
            image = given.batch(slice(row, row + 1))
            change = _descent(voter, image, label, limit_of_change, steps, draws, sampling)
            rows.append(_judged(voter, image, change, label, limit_of_change, sampling))
    points, distance, predicted = zip(*rows, strict=True)
    return SmoothedAttack(
        found=np.isfinite(distance),
        distance=np.array(distance),
        predicted=np.array(predicted, dtype=np.int64),
        points=np.stack(points),
    )


def predict(voter: Voter, pixels: Pixels, key: str, n: int, alpha: float) -> int:
    """The class of the smoothed classifier; −1 if its lead over the next one may be chance (Cohen et al., PREDICT).

    Args:
        voter: of the base classifier.
        pixels: (inputs,) of the image.
        key: digest of the image.
        n: draws.
        alpha: chance at most of another class than that of the smoothed classifier.
    """
    counts = voter.counts(pixels, key, "predict", n)
    second, first = np.sort(counts)[-2:].tolist()
    return int(counts.argmax()) if binomtest(first, first + second, 0.5).pvalue <= alpha else ABSTAINED


def _descent(
    voter: Voter, image: Singles, label: int, eps: float, steps: int, draws: int, sampling: Sampling
) -> Singles:
    """The change of an image (1, *shape) that lowers the mean probability of its class."""
    device = voter.base.device
    x = torch.from_numpy(image).to(device)
    digest = hashlib.sha256(f"attack {sampling.seed} {input_digest(image)}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    noise = sampling.sigma * torch.randn((draws, *image.shape[1:]), generator=generator).to(device)
    change = torch.zeros_like(x)
    for _ in range(steps):
        with torch.enable_grad(), exact_arithmetic():
            leaf = change.clone().requires_grad_(True)
            logits = voter.base.module((x + leaf + noise).clamp(0, 1)).reshape(draws, -1)
            logits = torch.cat([-logits / 2, logits / 2], dim=1) if logits.shape[1] == 1 else logits
            mean = torch.logsumexp(logits.log_softmax(dim=1)[:, label], dim=0)
            gradient = torch.autograd.grad(mean, leaf)[0] if mean.requires_grad else torch.zeros_like(leaf)
        gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        change = change - 2.5 * eps / steps * gradient / gradient.norm().clamp_min(1e-30)
        change = change * (eps / change.norm().clamp_min(eps))
        change = (x + change).clamp(0, 1) - x
    found: Singles = change.cpu().numpy()
    return found


def _judged(
    voter: Voter, image: Singles, change: Singles, label: int, eps: float, sampling: Sampling
) -> tuple[Singles, float, int]:
    """The point on the grid, its distance (infinite unless it counts), and the class of the smoothed classifier."""
    for share in SHORTER:
        pixels, _ = on_grid(np.clip(image + np.float32(share) * change, 0, 1))
        point = np.divide(pixels, np.float32(LEVELS), dtype=np.float32).reshape(image.shape[1:])
        distance = distance_upper(point, image[0])
        if distance <= eps:
            predicted = predict(voter, pixels, input_digest(point), sampling.n, sampling.alpha)
            return point, distance if predicted not in (label, ABSTAINED) else np.inf, predicted
    pixels, _ = on_grid(image)
    point = np.divide(pixels, np.float32(LEVELS), dtype=np.float32).reshape(image.shape[1:])
    return point, np.inf, predict(voter, pixels, input_digest(point), sampling.n, sampling.alpha)
