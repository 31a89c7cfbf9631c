"""Summaries as tables on stdout: certified rates floored, upper bounds ceiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from robench.cli.console import Screen, print_table
from robench.cli.main import FINDING
from robench.numerics import ceil_decimals, floor_decimals


def percent(count: int, n: int) -> str:
    """A rate in percent with one digit, never rounded up."""
    return floor_decimals(Fraction(100 * count, n), 1) + " %"


def certify_result(summary: Mapping[str, Any]) -> None:
    """Certified accuracy by rule and ε."""
    n, counts = summary["n"], summary["n_certified"]
    columns = ["rule", "mean radius", *(f"certified at {eps}" for eps in counts["paper"])]
    rows = [
        [rule, floor_decimals(summary["mean_radius"][rule], 4), *(percent(count, n) for count in counts[rule].values())]
        for rule in counts
    ]
    title = (
        f"{n} images, accuracy {percent(summary['n_correct'], n)}, "
        f"Lipschitz constant at most {ceil_decimals(summary['lipschitz_upper'], 4)} "
        f"(found slope {floor_decimals(summary['lipschitz_lower'], 4)})"
    )
    print_table(title, columns, rows)


def attack_result(summary: Mapping[str, Any]) -> None:
    """Robust accuracy by attack and ε, certified accuracy below it."""
    n, robust = summary["n"], summary["n_robust"]
    eps = list(robust["combined"])
    order = [name for name in robust if name != "combined"] + ["combined"]
    rows = [[name, *(percent(robust[name][text], n) for text in eps)] for name in order]
    rows.append(["certified", *(percent(summary["n_certified"][text], n) for text in eps)])
    scope = "every attack on every open image" if summary["full"] else "cascade: an attack sees only what is still open"
    title = f"{n} images, clean accuracy {percent(summary['n_correct'], n)}; robust accuracy ({scope})"
    print_table(title, ["attack", *(f"ε = {text}" for text in eps)], rows)


def audit_result(summary: Mapping[str, Any]) -> None:
    """The bound of each layer, and of the whole."""
    rows = [
        [layer["name"], layer["operation"], ceil_decimals(layer["lipschitz_upper"], 6)] for layer in summary["layers"]
    ]
    title = (
        f"{summary['model']}: Lipschitz constant at most {ceil_decimals(summary['lipschitz_upper'], 6)}, "
        f"at least {floor_decimals(summary['lipschitz_lower'], 6)}"
    )
    print_table(title, ["layer", "operation", "at most"], rows)


def bench_result(rows: Sequence[Mapping[str, Any]]) -> None:
    """One table a data set: accuracy, Lipschitz bound, mean radius, and certified | attacked accuracy at each ε."""
    for data in dict.fromkeys(row["data"] for row in rows):
        chosen = [row for row in rows if row["data"] == data]
        eps = list(chosen[0]["n_certified"])
        columns = ["model", "clean %", "Lipschitz <=", "mean radius", *(f"ε = {text}" for text in eps)]
        cells = []
        for row in chosen:
            certified = [percent(row["n_certified"][text], row["n"]).rstrip(" %") for text in eps]
            attacked = [percent(row["n_robust"][text], row["n_attacked"]).rstrip(" %") for text in eps]
            cells.append(
                [
                    row["model"],
                    percent(row["n_correct"], row["n"]).rstrip(" %"),
                    ceil_decimals(row["lipschitz_upper"], 2),
                    floor_decimals(row["mean_radius"], 3),
                    *(f"{low} | {high}" for low, high in zip(certified, attacked, strict=True)),
                ]
            )
        n, attacked_n = chosen[0]["n"], chosen[0]["n_attacked"]
        title = f"{data}: certified | attacked accuracy in %, at L2 radius ε ({n} certified, {attacked_n} attacked)"
        print_table(title, columns, cells)


def unmet(rates: Mapping[str, float], fail_under: float | None, screen: Screen) -> int:
    """Exit code of `--fail-under`: 1 if a rate is below it."""
    if fail_under is None:
        return 0
    low = {text: rate for text, rate in rates.items() if rate < fail_under}
    for text, rate in low.items():
        screen.note(f"below --fail-under {fail_under}: {rate:.4f} at ε = {text}")
    return FINDING if low else 0
