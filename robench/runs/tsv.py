"""The table of `code/certify.py` of locuslab/smoothing (Cohen et al., arXiv 1902.02918), one image a line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from robench.records.record import CertifyRecord
from robench.records.smoothed import ABSTAINED, SmoothedRecord

COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")


@dataclass(frozen=True)
class Row:
    """One image.

    Fields:
        index, label: of the image.
        predicted: class that is certified; None where there is none.
        radius: within which no input has another class than the predicted one, right or wrong.
    """

    index: int
    label: int
    predicted: int | None
    radius: float


def rows_of(records: Iterable[CertifyRecord | SmoothedRecord]) -> list[Row]:
    """The rows of certificates; of several rules the tightest counts."""
    return [
        Row(item.index, item.label, item.predicted, item.radius)
        if isinstance(item, SmoothedRecord)
        else Row(item.index, item.label, item.predicted, item.claimed(item.largest))
        for item in records
    ]


def as_tsv(rows: Iterable[Row], seconds: float) -> str:
    """The table: predict is −1 where the classifier abstains.

    Args:
        rows: of some images.
        seconds: mean time of an image; records hold none.
    """
    spent = timedelta(seconds=round(seconds, 3))
    lines = ["\t".join(COLUMNS)]
    for row in rows:
        predicted = ABSTAINED if row.predicted is None else row.predicted
        correct = int(row.predicted == row.label)
        lines.append(f"{row.index}\t{row.label}\t{predicted}\t{row.radius!r}\t{correct}\t{spent}")
    return "\n".join([*lines, ""])
