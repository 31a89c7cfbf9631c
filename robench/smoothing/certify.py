"""Certificates of a smoothed classifier, image by image: Cohen, Rosenfeld and Kolter, ICML 2019 (arXiv 1902.02918).

The class is chosen on n0 draws, and its frequency is bounded from below on n others. The noise is drawn on the grid of
pixels, as in Voráček and Hein, ICLR 2023, so that rounding cannot make a certificate false: docs/design/0020.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from os import PathLike

import numpy as np
import torch
from jaxtyping import Int64

from robench.arrays import Integers, Singles
from robench.data.dataset import Dataset, input_digest
from robench.data.memory import Images as LabelledImages
from robench.data.memory import ImagesLike, LabelsLike, Unlabelled, check_classes, inputs
from robench.devices import own_settings, resolve_device
from robench.errors import DataError, ModelError
from robench.models import HeldModel, Model, hold
from robench.models.user_code.blame import late_blamed
from robench.numerics import distance_upper, round_up
from robench.records.smoothed import ABSTAINED, SmoothedCertificates, join_smoothed
from robench.smoothing.base import BaseClassifier
from robench.smoothing.noise import LEVELS, GridNoise, Pixels, Stage
from robench.smoothing.radius import radius
from robench.specs.data import Split
from robench.specs.smoothing import Sampling

Images = Dataset | LabelledImages | Unlabelled


def certify_smoothed(
    model: Model,
    x: ImagesLike,
    y: LabelsLike | None = None,
    *,
    sigma: float,
    n: int = 10_000,
    n0: int = 100,
    alpha: float = 0.001,
    seed: int = 0,
    limit: int | None = None,
    split: Split | None = None,
    data_dir: str | PathLike[str] | None = None,
    device: str = "auto",
) -> SmoothedCertificates:
    """Certify the smoothed classifier: the class that the model gives most often to an image with Gaussian noise.

    It is another function than the model, and each radius holds with probability 1 − alpha only. It needs no Lipschitz
    bound. For a good answer the model must have been trained on noisy images.

    Args:
        model: any torch module in evaluation mode: images (N, *shape) to logits (N, q), or (N, 1) for two classes; or a
            path, or what `load_model` returns.
        x: images (N, *shape) in [0, 1], a tensor or an array of floats; or a data set or its name.
        y: true classes (N,), integers from 0 up. They are needed for rates only; a data set brings them.
        sigma: standard deviation of the noise, in the units of the images.
        n: draws an image that estimate the frequency of its class; each is one forward pass.
        n0: draws an image that choose the class.
        alpha: chance at most that the certificate of an image is false.
        seed: of the noise. Each image has draws of its own, whatever is asked beside it.
        limit: at most this many images, the first ones; None for all.
        split: of a data set by name: `train`, `validation` or `test`; None for `test`.
        data_dir: folder with its files; None for the cache, which downloads what it lacks.
        device: of the model: `auto`, `cpu` or `cuda:N`; the noise is drawn on the CPU.

    Raises:
        ModelError: the model is in training mode, does not fit the images, or gives no finite logits.
        DataError: images or labels do not serve, or the images are not in [0, 1].
        SpecError: sigma, a number of draws, alpha, the seed, limit or device does not serve.

    Examples:
        A hyperplane, half a pixel beside 0.4, which is 0.1 away from the image:

        >>> import torch, robench
        >>> model = torch.nn.Linear(2, 1)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0]])), model.bias.data.fill_(-102.5 / 255)
        >>> x = torch.tensor([[128 / 255, 128 / 255]])
        >>> found = robench.certify_smoothed(model.eval(), x, [1], sigma=0.1, n=1000)
        >>> found.predicted.tolist(), bool(0.07 < found.radius[0] < 0.1), found.confidence
        ([1], True, 0.999)
    """
    sampling = Sampling(sigma=sigma, n=n, n0=n0, alpha=alpha, seed=seed)
    given = inputs(x, y, limit=limit, split=split, data_dir=data_dir)
    where = resolve_device(device)
    with own_settings(), late_blamed():
        held = hold(model, given.shape)
        if given.labels is not None:
            check_classes(given.labels, held.classes)
        return join_smoothed(list(certify_each(held, given, sampling, device=where)))


def certify_each(
    model: HeldModel, images: Images, sampling: Sampling, *, device: torch.device, skip: Collection[int] = ()
) -> Iterator[SmoothedCertificates]:
    """Certificates of the images in their order, one at a time.

    Args:
        model: the base classifier.
        images: in [0, 1].
        sampling: of the noise.
        device: of the model.
        skip: indices that already have a certificate.

    Raises:
        DataError: the images are not in [0, 1].
        ModelError: they do not fit the model, or its logits are not finite.
    """
    if tuple(images.shape) != tuple(model.input_shape):
        raise ModelError(
            f"the images have shape {images.shape}, the model takes {tuple(model.input_shape)}",
            hint="take the data that the model was trained on",
        )
    voter, done = Voter(model, sampling.sigma, sampling.seed, device), set(skip)
    for row, index in enumerate(images.index.tolist()):
        if index not in done:
            image = images.batch(slice(row, row + 1))
            labels = None if images.labels is None else images.labels[row : row + 1]
            yield _certificate(voter, image, index, labels, sampling)


class Voter:
    """Counts the classes of noisy images.

    Args:
        model: the base classifier.
        sigma: of the noise.
        seed: of the noise.
        device: of the model.
    """

    def __init__(self, model: HeldModel, sigma: float, seed: int, device: torch.device) -> None:
        self.base = BaseClassifier(model, device)
        self.noise = GridNoise(sigma, seed)

    def counts(self, pixels: Pixels, key: str, stage: Stage, n: int) -> Int64[Integers, " q"]:
        """How many of n draws are of each class.

        Args:
            pixels: (inputs,) of the image.
            key: digest of the image.
            stage: what the draws are for.
            n: draws.
        """
        counts = np.zeros(self.base.classes, dtype=np.int64)
        step = self.base.tile if self.base.tile > 1 else 64
        for first in range(0, n, step):
            found = self.base.classify(self.noise.draws(pixels, key, stage, first, min(first + step, n)))
            counts += np.bincount(found, minlength=len(counts))
        return counts


def on_grid(image: Singles) -> tuple[Pixels, float]:
    """The nearest image on the grid of pixels, (inputs,), and an upper bound of its distance.

    Raises:
        DataError: the image is not in [0, 1].
    """
    exact = image.astype(np.float64).ravel()
    check_range(float(exact.min()), float(exact.max()))
    pixels = np.rint(exact * LEVELS).astype(np.uint8)
    distance = distance_upper(exact, pixels / LEVELS) + math.sqrt(exact.size) * 2.0**-53  # of the quotients
    return pixels, round_up(distance, 2)


def check_range(low: float, high: float) -> None:
    """Refuse what is not in [0, 1].

    Raises:
        DataError: it goes beyond.
    """
    if low < 0 or high > 1:
        raise DataError(
            f"the images go from {low:g} to {high:g}, and smoothing adds noise on the grid of pixels k/255 in [0, 1]",
            hint="give pixels in [0, 1], and let the model scale them; for data that are no images, certify by a "
            "Lipschitz bound",
        )


def _certificate(
    voter: Voter, image: Singles, index: int, labels: Integers | None, sampling: Sampling
) -> SmoothedCertificates:
    """Of one image, (1, *shape)."""
    pixels, offset = on_grid(image)
    key = input_digest(image)
    choice = voter.counts(pixels, key, "choose", sampling.n0)
    chosen = int(choice.argmax())
    count = int(voter.counts(pixels, key, "estimate", sampling.n)[chosen])
    proven = radius(count, sampling.n, alpha=sampling.alpha, sigma=sampling.sigma, inputs=pixels.size, offset=offset)
    return SmoothedCertificates(
        predicted=np.array([chosen if proven > 0 else ABSTAINED]),
        radius=np.array([proven]),
        chosen=np.array([chosen]),
        chosen_count=choice[chosen : chosen + 1],
        count=np.array([count]),
        offset=np.array([offset]),
        index=np.array([index]),
        input_sha256=(key,),
        sampling=sampling,
        labels=labels,
    )
