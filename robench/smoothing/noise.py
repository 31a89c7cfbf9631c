"""Noise on the grid of pixels: what rounding x + ε to the grid would give, drawn without any rounding error.

An image is K = 0..255 for each input, which stands for K / 255. A noisy image is the pixel nearest to x + ε, ε normal:
the pixel K + m, cut off at 0 and 255, with m ≤ j in the fraction Φ((j + ½) / (255 σ)) of all draws. Integers of 64 bits
are compared with these fractions. docs/design/0020 has the proof.
"""

from __future__ import annotations

import hashlib
from decimal import Context, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from robench.smoothing.normal import DIGITS, normal_cdf

LEVELS = 255
"""The greatest pixel."""
BITS = 64
SAMPLING_ERROR = Fraction(1, 2**55)
"""Of each input of an image: distance in total variation of the noise drawn from the noise meant."""
TOP_BITS = 16

Pixels = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Stage = Literal["choose", "estimate", "predict"]


@lru_cache(maxsize=8)
def thresholds(sigma: float) -> Words:
    """(2 LEVELS,) for m = −LEVELS..LEVELS − 1: how many of all 64-bit words mean noise of at most m."""
    step = 2 * LEVELS * Fraction(sigma)
    with localcontext(Context(prec=DIGITS)):
        upper = [int(normal_cdf((2 * m + 1) / step) * 2**BITS) for m in range(LEVELS)]
    counts = [*(2**BITS - count for count in reversed(upper)), *upper]
    return np.array([min(count, 2**BITS - 1) for count in counts], dtype=np.uint64)


class GridNoise:
    """Draws noisy images.

    Args:
        sigma: standard deviation in the units of the image.
        seed: of all draws.
    """

    def __init__(self, sigma: float, seed: int) -> None:
        self._seed = seed
        self._thresholds = thresholds(sigma)
        first = np.arange(2**TOP_BITS, dtype=np.uint64) << np.uint64(BITS - TOP_BITS)
        last = first + np.uint64(2 ** (BITS - TOP_BITS) - 1)
        self._by_top_bits = self._noise(first)
        self._open = self._by_top_bits != self._noise(last)

    def draws(self, pixels: Pixels, key: str, stage: Stage, first: int, last: int) -> Pixels:
        """Noisy images number `first` to `last` − 1 of an image: (last − first, inputs).

        Each depends on the seed, the key, the stage and its own number alone.

        Args:
            pixels: (inputs,) of the image.
            key: digest of the image.
            stage: what the draws are for; those of two stages are independent.
            first: number of the first draw.
            last: number after the last one.
        """
        blocks = -(-pixels.size // 4)  # Philox gives four words for each value of its counter
        digest = hashlib.sha256(f"robench smoothing {self._seed} {key} {stage}".encode()).digest()
        source = np.random.Philox(key=int.from_bytes(digest[:16], "big"), counter=first * blocks)
        words = source.random_raw((last - first) * blocks * 4).reshape(last - first, -1)[:, : pixels.size]
        return np.clip(self.noise(words) + pixels.astype(np.int16), 0, LEVELS).astype(np.uint8)

    def noise(self, words: Words) -> npt.NDArray[np.int16]:
        """Noise in steps of the grid, −LEVELS..LEVELS; what lies beyond is cut off with every pixel."""
        top = (words >> np.uint64(BITS - TOP_BITS)).astype(np.uint16)
        found = self._by_top_bits[top]
        unsettled = self._open[top]
        found[unsettled] = self._noise(words[unsettled])
        return found

    def _noise(self, words: Words) -> npt.NDArray[np.int16]:
        return (np.searchsorted(self._thresholds, words, side="right") - LEVELS).astype(np.int16)
