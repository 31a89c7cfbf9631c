"""Runs of smoothed classifiers: radii computed again from the counts, with SciPy's distributions.

The counts themselves are not drawn again: that takes as long as the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta, norm

from robench.data import Dataset
from robench.errors import RunError
from robench.records.smoothed import SmoothedRecord, smoothed_record
from robench.specs.smoothing import Sampling
from robench.verification.run import ANOTHER_RUN, read_lines

AGREEMENT = 1e-9
"""Difference of two radii, as a share of σ, that is taken for rounding."""


class Claims(NamedTuple):
    """What a run of a smoothed classifier claims."""

    records: tuple[SmoothedRecord, ...]
    sampling: Sampling


def read_smoothed(run: Path, spec: Mapping[str, Any]) -> Claims:
    """The records of a run, and how the smoothed classifier was asked.

    Raises:
        RunError: a record or the spec is damaged, or there are two records of one image.
    """
    records = tuple(smoothed_record(line) for line in read_lines(run))
    if len({record.index for record in records}) != len(records):
        raise RunError(f"`{run}` holds two records of one image", hint=ANOTHER_RUN)
    return Claims(records, Sampling.from_dict(spec.get("sampling") or {}))


def smoothed_problems(claims: Claims, dataset: Dataset) -> list[str]:
    """A text for each claim that does not hold.

    Raises:
        RunError: a record speaks of an image that the data do not hold.
    """
    rows = {int(index): row for row, index in enumerate(dataset.index)}
    problems = []
    for record in claims.records:
        if record.index not in rows:
            raise RunError(f"there is no image {record.index} in the data", hint=ANOTHER_RUN)
        row = rows[record.index]
        found = _problems(record, claims.sampling, dataset, row)
        problems += [f"image {record.index}: {text}" for text in found]
    return problems


def _problems(record: SmoothedRecord, sampling: Sampling, dataset: Dataset, row: int) -> Iterator[str]:
    pixels = dataset.batch(np.array([row]))[0]
    if hashlib.sha256(np.ascontiguousarray(pixels, dtype="<f4").tobytes()).hexdigest() != record.input_sha256:
        yield "the input is another one"
    if int(dataset.labels[row]) != record.label:
        yield "the label is another one"
    if record.chosen >= dataset.classes:
        yield "the class is none of the data"
    if record.chosen_count > sampling.n0 or record.chosen_count * dataset.classes < sampling.n0:
        yield f"{record.chosen_count} of {sampling.n0} draws do not make a class the most frequent one"
    if record.count > sampling.n:
        yield f"{record.count} draws are counted of {sampling.n}"
        return
    exact = pixels.astype(np.float64)
    offset = float(np.sqrt(np.sum((exact - np.rint(exact * 255) / 255) ** 2)))
    if record.offset < offset:
        yield f"the nearest image on the grid is {offset!r} away"
    low = beta.ppf(sampling.alpha, record.count, sampling.n - record.count + 1) if record.count else 0.0
    expected = max(0.0, sampling.sigma * float(norm.ppf(low - pixels.size * 2.0**-55)) - record.offset)
    if abs(record.radius - expected) > AGREEMENT * max(sampling.sigma, expected):
        yield f"the radius of {record.count} of {sampling.n} draws is {expected!r}"
