"""Summaries as tables on stdout: certified rates floored, upper bounds ceiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from robench.cli.console import Screen, print_table
from robench.cli.main import FINDING
from robench.numerics import ceil_decimals, floor_decimals

SHOWN = 6
"""Columns of radii that fit a terminal; the report has all."""


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


def potential_result(summary: Mapping[str, Any]) -> None:
    """Theorem 2 with numbers, and what the outputs and gradients look like."""
    duality, norm = summary["duality"], summary["gradient_norm"]
    share = "-" if duality["share"] is None else floor_decimals(100 * duality["share"], 2) + " %"
    rows = [
        ["reached: KR - alpha * hinge", f"{duality['reached']:.6f}"],
        ["optimum of any 1-Lipschitz function", f"{duality['optimum']:.6f}"],
        ["gap", f"{duality['gap']:.6f}"],
        ["share of the optimum", share],
        ["examples in the overlap of the outputs", floor_decimals(100 * summary["overlap"], 2) + " %"],
        ["gradient norm within 1 ± 0.05", floor_decimals(100 * norm["share_within_0.05_of_1"], 2) + " %"],
    ]
    title = (
        f"{summary['n']} examples, accuracy {floor_decimals(100 * summary['accuracy'], 2)} %; "
        f"hKR loss with alpha {duality['alpha']:g} and margin {duality['margin']:g}"
    )
    print_table(title, ["Theorem 2", "value"], rows)


def bench_result(rows: Sequence[Mapping[str, Any]]) -> None:
    """One table a data set; certified and attacked accuracy are of the same images, so the left is never the larger."""
    for data in dict.fromkeys(row["data"] for row in rows):
        chosen = [row for row in rows if row["data"] == data]
        every = list(chosen[0]["n_certified"])
        eps = every[:: -(-len(every) // SHOWN)]
        columns = ["model", "clean", "Lipschitz <=", "mean radius", *(f"ε = {text}" for text in eps)]
        cells = []
        for row in chosen:
            low, high = (
                [percent(row[key][text], row["n_attacked"]) for text in eps] for key in ("n_certified", "n_robust")
            )
            cells.append(
                [
                    row["model"],
                    percent(row["n_correct"], row["n"]),
                    ceil_decimals(row["lipschitz_upper"], 2),
                    floor_decimals(row["mean_radius"], 3),
                    *(f"{a} | {b}".replace(" %", "") for a, b in zip(low, high, strict=True)),
                ]
            )
        title = (
            f"{data}: certified | attacked accuracy in % on {chosen[0]['n_attacked']} test images; "
            f"clean accuracy and mean certified radius on all {chosen[0]['n']}"
        )
        print_table(title, columns, cells)


def unmet(rates: Mapping[str, float], fail_under: float | None, screen: Screen) -> int:
    """Exit code of `--fail-under`: 1 if a rate is below it."""
    if fail_under is None:
        return 0
    low = {text: rate for text, rate in rates.items() if rate < fail_under}
    for text, rate in low.items():
        screen.note(f"below --fail-under {fail_under}: {rate:.4f} at ε = {text}")
    return FINDING if low else 0
