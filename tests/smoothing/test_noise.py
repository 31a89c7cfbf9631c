"""Noise on the grid: its distribution against mpmath and SciPy, and what each draw depends on."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy import stats

from robench.smoothing.noise import LEVELS, SAMPLING_ERROR, GridNoise, thresholds
from robench.smoothing.normal import ERROR, normal_cdf

SIGMAS = [0.001, 0.05, 0.12, 0.25, 1.0, 40.0]


def exact(sigma: float, m: int) -> mpmath.mpf:
    """Φ((m + ½) / (255 σ)) to 60 digits."""
    with mpmath.workdps(60):
        t = Fraction(2 * m + 1) / (510 * Fraction(sigma))
        return mpmath.ncdf(mpmath.mpf(t.numerator) / t.denominator)


@pytest.mark.parametrize("t", [0, Fraction(1, 3), -1, Fraction(7, 2), Fraction(83, 10), Fraction(119, 10), 13, -40])
def test_the_normal_distribution_is_exact_to_thirty_digits(t: Fraction) -> None:
    with mpmath.workdps(60):
        t = Fraction(t)
        difference = mpmath.mpf(str(normal_cdf(t))) - mpmath.ncdf(mpmath.mpf(t.numerator) / t.denominator)
        assert abs(difference) <= mpmath.mpf(str(ERROR))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_noise_drawn_is_the_noise_meant_but_for_the_stated_error(sigma: float) -> None:
    """Total variation, exactly: each threshold stands for a share of all words."""
    table = thresholds(sigma)
    assert (np.diff(table.astype(object)) >= 0).all()
    drawn = [0, *(Fraction(int(count), 2**64) for count in table), 1]
    with mpmath.workdps(60):
        meant = [mpmath.mpf(0), *(exact(sigma, m) for m in range(-LEVELS, LEVELS)), mpmath.mpf(1)]
        got = [mpmath.mpf(Fraction(value).numerator) / Fraction(value).denominator for value in drawn]
        apart = [abs((b - a) - (d - c)) for (a, b), (c, d) in zip(pairwise(got), pairwise(meant), strict=True)]
        error = mpmath.mpf(SAMPLING_ERROR.numerator) / SAMPLING_ERROR.denominator
        assert sum(apart) / 2 <= error


@pytest.mark.parametrize("sigma", [0.05, 0.12])
def test_moments_are_those_of_a_rounded_normal_variable(sigma: float) -> None:
    table = [0, *thresholds(sigma).tolist(), 2**64]
    shares = [Fraction(b - a, 2**64) for a, b in pairwise(table)]
    values = range(-LEVELS, LEVELS + 1)
    assert abs(sum(m * share for m, share in zip(values, shares, strict=True))) < 1e-15
    variance = sum(m * m * share for m, share in zip(values, shares, strict=True))
    assert float(variance) == pytest.approx((255 * sigma) ** 2 + 1 / 12, rel=1e-10)  # Sheppard's correction


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_table_of_top_bits_finds_what_a_search_finds(sigma: float) -> None:
    noise, table = GridNoise(sigma, 0), thresholds(sigma)
    words = np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64, endpoint=False)
    edges = np.concatenate([table, table - np.uint64(1), table + np.uint64(1)])
    words = np.concatenate([words, edges, np.array([0, 2**64 - 1], dtype=np.uint64)])
    plain = table.tolist()
    assert noise.noise(words).tolist() == [bisect_right(plain, word) - LEVELS for word in words.tolist()]


def test_draws_follow_the_normal_distribution() -> None:
    pixels = np.full(4, 128, np.uint8)
    found = GridNoise(0.05, 0).draws(pixels, "image", "estimate", 0, 50_000).astype(int) - 128
    edges = np.arange(-40, 41, 4) + 0.5
    counts = np.histogram(found, [-np.inf, *edges, np.inf])[0]
    shares = np.diff([0, *stats.norm.cdf(edges / (255 * 0.05)), 1])
    assert stats.chisquare(counts, shares * found.size).pvalue > 1e-4
    assert abs(np.corrcoef(found.T)[0, 1:]).max() < 0.02


def test_a_draw_depends_on_seed_image_stage_and_its_number_alone() -> None:
    pixels = np.arange(120, 127, dtype=np.uint8)
    noise = GridNoise(0.25, 3)
    whole = noise.draws(pixels, "image", "estimate", 0, 40)
    parts = [noise.draws(pixels, "image", "estimate", first, first + 8) for first in range(0, 40, 8)]
    assert (whole == np.concatenate(parts)).all()
    others = [
        GridNoise(0.25, 4).draws(pixels, "image", "estimate", 0, 40),
        noise.draws(pixels, "other", "estimate", 0, 40),
        noise.draws(pixels, "image", "choose", 0, 40),
        noise.draws(pixels, "image", "estimate", 40, 80),
    ]
    assert all((whole != other).mean() > 0.9 for other in others)


def test_pixels_are_cut_off_at_black_and_white() -> None:
    for pixel in (0, LEVELS):
        found = GridNoise(0.5, 0).draws(np.full(1, pixel, np.uint8), "image", "estimate", 0, 4000)
        assert (found == pixel).mean() == pytest.approx(0.5, abs=0.05)
