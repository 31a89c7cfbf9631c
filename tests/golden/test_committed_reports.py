"""The committed reports say one thing in all their files: summaries, tables of numbers, tables of text, pages.

Their run folders are not committed, so no report is made anew here. What is held is that every shown cell follows, by
the rounding of `robench.numerics`, from the counts and radii in the summaries.
"""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from robench.numerics import lower, lower_percent, upper, upper_percent

REPORTS = Path(__file__).parents[2] / "reports"
NAMES = ("mnist", "mnist-margin")


def rows(report: str, table: str) -> list[dict[str, str]]:
    with (REPORTS / report / "tables" / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def summary(report: str, command: str, model: str) -> dict[str, Any]:
    return json.loads((REPORTS / report / "summaries" / f"{command}-{model}.json").read_text())


def counts(report: str, model: str, measure: str) -> tuple[dict[str, int], int]:
    """Counts by ε of one measure, such as `certified paper`, and the number of images."""
    kind, name = measure.split()
    found = summary(report, "certify" if kind == "certified" else "attack", model)
    return found["n_certified" if kind == "certified" else "n_robust"][name], found["n"]


@functools.cache
def interval_of(k: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's, by scipy."""
    found = binomtest(k, n).proportion_ci(method="exact")
    return float(found.low), float(found.high)


@pytest.mark.parametrize("report", NAMES)
def test_rates_are_the_counts_of_the_summaries(report: str) -> None:
    table = rows(report, "rates")
    for row in table:
        k, n = int(row["count"]), int(row["n"])
        low, high = interval_of(k, n)
        by_eps, images = counts(report, row["model"], row["measure"])
        assert (k, n) == (by_eps[row["eps"]], images)
        assert float(row["rate"]) == k / n
        assert float(row["interval_low"]) == pytest.approx(low, rel=1e-9, abs=1e-12)
        assert float(row["interval_high"]) == pytest.approx(high, rel=1e-9, abs=1e-12)
    assert len(table) == len({(row["model"], row["measure"], row["eps"]) for row in table}) > 0


@pytest.mark.parametrize("report", NAMES)
def test_cells_are_the_rounded_counts(report: str) -> None:
    for row in rows(report, "comparison-01-bounds"):
        by_eps, n = counts(report, row["model"], row[""].replace("(", "").replace(")", ""))
        if row["n"] != str(n):  # of the attacked images alone
            attacked = summary(report, "attack", row["model"])
            by_eps, n = attacked["n_certified"].get(row[""][11:-1]), attacked["n"]
            assert row["n"] == str(n)
            if by_eps is None:
                continue
        rounded = lower_percent if row[""].startswith("certified") else upper_percent
        assert [row[title] for title in row if "ε" in title] == [rounded(k, n) for k in by_eps.values()]
    for row in rows(report, "comparison-01-models"):
        certified, attacked = (summary(report, command, row["model"]) for command in ("certify", "attack"))
        assert row["clean %"] == upper_percent(certified["n_correct"], certified["n"])
        assert (row["n certified"], row["n attacked"]) == (str(certified["n"]), str(attacked["n"]))
        for rule, mean in certified["mean_radius"].items():
            assert row[f"mean radius ({rule})"] == lower(mean)
        assert row["Lipschitz upper"] == upper(certified["lipschitz_upper"])
        assert row["Lipschitz lower"] == lower(certified["lipschitz_lower"])
        assert attacked["violations"] == 0
    for row in rows(report, "comparison-01-attacks"):
        for model in list(row)[2:]:
            attacked = summary(report, "attack", model)
            if row["attack"] in attacked["n_robust"]:
                assert row[model] == upper_percent(attacked["n_robust"][row["attack"]][row["ε"]], attacked["n"])
            elif row["attack"] == "certified (pairwise)":
                by_rule = attacked["n_certified"]
                assert row[model] == lower_percent(by_rule.get("pairwise", by_rule)[row["ε"]], attacked["n"])
            elif row["attack"].startswith("certified"):
                pass  # the largest of several rules
            elif row["attack"] == "none (base rate)":
                assert row[model] == upper_percent(attacked["n_base"], attacked["n"])
            else:
                assert row["attack"] == "none (clean)"
                assert row[model] == upper_percent(attacked["n_correct"], attacked["n"])


@pytest.mark.parametrize("report", NAMES)
def test_the_page_shows_the_tables(report: str) -> None:
    page = (REPORTS / report / "report.md").read_text()
    shown = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page.splitlines()}
    for table in ("comparison-01-models", "comparison-01-bounds", "comparison-01-attacks"):
        for row in rows(report, table):
            assert tuple(row.values()) in shown
