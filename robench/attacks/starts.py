"""Random starts that depend on the seed and the image, not on the batch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def ball(seed: int, index: int, draws: int, dimension: int) -> npt.NDArray[np.float64]:
    """Uniform draws in the unit L2 ball (draws, dimension) that depend on (seed, index) alone.

    The first n coordinates of a uniform point on the sphere of n + 2 are uniform in the ball (Voelker et al., 2017).

    Args:
        seed: of the run.
        index: of the image.
        draws: how many.
        dimension: of the ball.
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, index])))
    sphere = generator.standard_normal((draws, dimension + 2))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    return sphere[:, :dimension]


def starts(seed: int, index: Tensor, restarts: int, x: Tensor) -> Tensor:
    """Uniform draws in the unit L2 ball (restarts, N, *shape) for the images `index` (N,) of inputs like `x`.

    Args:
        seed: of the run.
        index: (n,) images.
        restarts: draws for each.
        x: (n, *shape) inputs.
    """
    images, places = _distinct(index)
    draws = [ball(seed, image, restarts, x[0].numel()) for image in images]
    return torch.from_numpy(np.stack(draws, axis=1)).to(x)[:, places].reshape(restarts, *x.shape)


def normals(seed: int, index: Tensor, restart: int, like: Tensor) -> Tensor:
    """Standard normal draws shaped as `like` (N, *shape), a row from (seed, image, restart) alone.

    Args:
        seed: of the run.
        index: (n,) images.
        restart: number of the draw.
        like: (n, *shape).
    """
    images, places = _distinct(index)
    draws = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, image, restart]))).standard_normal(
            like[0].numel()
        )
        for image in images
    ]
    return torch.from_numpy(np.stack(draws)).to(like)[places].reshape(like.shape)


def _distinct(index: Tensor) -> tuple[list[int], Tensor]:
    """The images, and where each row finds its own: most rows of a large tile may be copies that fill it."""
    images, places = torch.unique(index, return_inverse=True)
    return images.tolist(), places


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Set the global generators of torch, numpy and Python from a key, for code that knows no other; give them back."""
    numpy_before, python_before = np.random.get_state(), random.getstate()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    drawn = np.random.SeedSequence(key).generate_state(3).tolist()
    with torch.random.fork_rng(devices=devices):
        try:
            np.random.seed(drawn[0])  # noqa: NPY002
            random.seed(drawn[1])
            torch.manual_seed(drawn[2])
            yield
        finally:
            np.random.set_state(numpy_before)  # noqa: NPY002
            random.setstate(python_before)
