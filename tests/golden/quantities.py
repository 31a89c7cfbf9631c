"""The quantities of a case, by names of their own: the one place that knows how robench calls them today."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from robench import lipschitz
from robench.models import load_model
from robench.records.record import RULES
from tests.cli.conftest import invoke
from tests.golden.cases import INPUT_SHAPE, Case

IMAGES = 20
TABLES = ("comparison-01-models", "comparison-01-bounds", "comparison-01-attacks", "rates", "budgets")


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Bounds, radii, distances, rates and cells of the report, made anew in a folder."""
    weights = ("--weights", case.weights, "--input-shape", "1,8,8") if case.weights else ()
    data = (case.ref, *weights, "--data", case.data, "--limit", IMAGES, "--eps", case.eps, "--json")
    certified = _command("certify", *data, *case.certify, "--out", folder / "certify")
    attacked = _command("attack", *data, *case.attack, "--out", folder / "attack")
    _command("report", folder / "certify", folder / "attack", "--out", folder / "report")
    certificates, attacks = _records(folder / "certify"), _records(folder / "attack")
    return {
        "bounds": _bounds(case),
        "classes": [[item["label"], item["predicted"], item["runner_up"], item["status"]] for item in certificates],
        "margin": [item["margin"] for item in certificates],
        "radius": {
            rule: [item[f"radius_{rule}"] for item in certificates]
            for rule in RULES
            if f"radius_{rule}" in certificates[0]
        },
        "radius beside attacks": [item["certified_radius"] for item in attacks],
        "distance": {
            "combined": [item["distance"] for item in attacks],
            **{name: [item["attacks"][name]["distance"] for item in attacks] for name in attacks[0]["attacks"]},
        },
        "outcome": {
            name: [(item["attacks"][name]["status"], item["attacks"][name]["predicted"]) for item in attacks]
            for name in attacks[0]["attacks"]
        },
        "certified": {
            "images": certified["n"],
            "correct": certified["n_correct"],
            "majority": certified["n_base"],
            "clean accuracy": certified["clean_accuracy"],
            "accuracy": certified["certified_accuracy"],
            "count": certified["n_certified"],
            "mean radius": certified["mean_radius"],
            "flags": [flag["name"] for flag in certified["flags"]],
        },
        "attacked": {
            "images": attacked["n"],
            "correct": attacked["n_correct"],
            "clean accuracy": attacked["clean_accuracy"],
            "robust accuracy": attacked["robust_accuracy"],
            "robust count": attacked["n_robust"],
            "certified count": list(attacked["n_certified"].values())[-1],
            "given": {name: item["given"] for name, item in attacked["budget"].items()},
            "broke": attacked["n_broke"],
            "alone": attacked["n_alone"],
            "spared": attacked["spared"] and attacked["spared"]["n_spared"],
            "forward passes": attacked["passes"]["forward"],
            "backward passes": attacked["passes"]["backward"],
            "contradictions": attacked["violations"],
            "flags": [flag["name"] for flag in attacked["flags"]],
        },
        "report": {name: _cells(folder / "report" / "tables" / f"{name}.csv") for name in TABLES},
    }


def _bounds(case: Case) -> dict[str, Any]:
    model = load_model(case.ref, weights=case.weights, input_shape=INPUT_SHAPE if case.weights else None)
    found = lipschitz.bound_module(model.module, model.input_shape)
    return {
        "upper": found.upper,
        "lower": found.lower,
        "paper": found.paper,
        "pairwise": found.pairwise.tolist(),
        "layers": [[layer.operation, layer.upper] for layer in found.layers],
        "rounding": {name: list(pair) for name, pair in found.rounding.items()},
    }


def _command(*argv: object) -> Any:
    result = invoke(*argv)
    assert result.code == 0, result.stderr
    return result.data if "--json" in argv else None


def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def _cells(path: Path) -> list[list[float | str]]:
    """Rows of a table without its heading; numbers where the cells are."""
    with path.open(newline="") as file:
        return [[_number(cell) for cell in row] for row in list(csv.reader(file))[1:]]


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell
