"""Claims that an earlier page holds, read from the CSV beside it: its runs need not be there any more."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from robench.errors import RunError
from robench.reporting.claims.claim import NO_MODELS, PAPER, Claim, Verdict

COLUMNS = ("number", "text", "place", "models", "figure", "interval", "verdict", "rule")


class KeptPage(NamedTuple):
    """What an earlier page says.

    Fields:
        file: its CSV.
        claims: in its order, without those of which it has no run.
    """

    file: Path
    claims: Sequence[Claim]


def read_kept(files: Sequence[Path]) -> list[KeptPage]:
    """The claims of earlier pages.

    Args:
        files: CSV files that `robench claims` wrote.

    Raises:
        RunError: one cannot be read, or was not written by `robench claims` with the claims that it knows today.
    """
    return [KeptPage(file, _claims(file)) for file in files]


def _claims(file: Path) -> list[Claim]:
    try:
        reader = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")), strict=True)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        found = [_claim(row) for row in reader]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RunError(f"`{file}` holds no claims: {error}", hint="name a CSV that `robench claims` wrote") from None
    return [claim for claim in found if claim.models != NO_MODELS]


def _claim(row: dict[str, str]) -> Claim:
    if tuple(row) != COLUMNS or None in row.values():
        raise ValueError("a row has more or fewer columns")
    claim = Claim(
        number=int(row["number"]),
        models=row["models"],
        figure=row["figure"],
        interval=row["interval"],
        rule=row["rule"],
        verdict=Verdict(row["verdict"]),
    )
    if PAPER[claim.number] != (row["text"], row["place"]):
        raise ValueError(f"claim {claim.number} is another one there")
    return claim
