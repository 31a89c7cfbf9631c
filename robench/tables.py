"""The tables of a report as data frames of text: certified numbers are floored, upper bounds are ceiled, both exactly.

Rates are percentages, with one digit after the point up to 1000 images and two above. A column whose name ends in
`ε = …` belongs to a group of columns, one for each radius. What does not exist is `–`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from robench.curves import COMBINED, RULES, Curve
from robench.evaluations import Evaluation, Run
from robench.numerics import ceil_decimals, floor_decimals
from robench.records import AttackOutcome, AttackRecord, AttackStatus, CertifyRecord
from robench.specs.epsilon import ascending, epsilon_value

ABSENT = "–"
CASCADE = "†"
CASCADE_NOTE = (
    f"{CASCADE} this run was a cascade: the column counts what this attack itself broke among the images it was given, "
    "not what it could break; only the combined column compares with other models."
)

AnyRun = Run[CertifyRecord] | Run[AttackRecord]


def comparison(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """One row a model with everything of `models` and `bounds`: wide, for a spreadsheet."""
    eps = ascending(text for evaluation in evaluations for text in evaluation.eps)
    attacked = ascending(text for evaluation in evaluations for text in evaluation.attacked_eps)
    rows = []
    for item in evaluations:
        row: dict[str, str] = {}
        for rule in RULES:
            row |= {f"certified % ({rule}) ε = {text}": certified_cell(item.certified(rule), text) for text in eps}
        row |= {f"attacked % (combined) ε = {text}": attacked_cell(item, COMBINED, text) for text in attacked}
        rows.append(row)
    return pd.concat([models(evaluations), pd.DataFrame(rows)], axis=1)


def models(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """One row a model: number of images, clean accuracy, mean certified radius, Lipschitz bounds."""
    rows = []
    for item in evaluations:
        audited = item.facts("audit")
        row = {
            "model": item.name,
            "recipe": _text(item.facts("model").get("recipe")),
            "n certified": _images(item.certified("pairwise")),
            "n attacked": _images(item.robust()),
            "clean %": clean_cell(item),
        }
        row |= {f"mean radius ({rule})": _mean(item.certified(rule)) for rule in RULES}
        row["Lipschitz upper"] = upper_cell(audited.get("lipschitz_upper"))
        row["Lipschitz lower"] = lower_cell(audited.get("lipschitz_lower"))
        rows.append(row)
    return pd.DataFrame(rows)


def bounds(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Three rows a model: certified by the paper's rule and by pairs, and attacked by all together, at each ε."""
    eps = ascending(text for evaluation in evaluations for text in evaluation.eps)
    rows = []
    for item in evaluations:
        for rule in RULES:
            curve = item.certified(rule)
            cells = {f"accuracy % at ε = {text}": certified_cell(curve, text) for text in eps}
            rows.append({"model": item.name, "": f"certified ({rule})", "n": _images(curve), **cells})
        cells = {f"accuracy % at ε = {text}": attacked_cell(item, COMBINED, text) for text in eps}
        rows.append({"model": item.name, "": "attacked (combined)", "n": _images(item.robust()), **cells})
    return pd.DataFrame(rows)


def attack_accuracy(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Accuracy under each attack at each ε, one column a model, after Table 1 of the paper (arXiv 2006.06520).

    The last rows are the combined rule, and below it what is certified on the same images.
    """
    attacked = [item for item in evaluations if item.robust() is not None]
    eps = ascending(text for item in attacked for text in item.attacked_eps)
    names = list(dict.fromkeys(name for item in attacked for name in item.attacks))
    rows = [["none (clean)", "0", *(attacked_cell(item, COMBINED, None) for item in attacked)]]
    for name in [*names, COMBINED]:
        rows += [[name, text, *(attacked_cell(item, name, text) for item in attacked)] for text in eps]
    below = [item.certified_on_attacked("pairwise") for item in attacked]
    rows += [["certified (pairwise)", text, *(certified_cell(curve, text) for curve in below)] for text in eps]
    return pd.DataFrame(rows, columns=["attack", "ε", *(item.name for item in attacked)])


def accuracy(evaluation: Evaluation) -> pd.DataFrame:
    """One row an ε: certified by both rules, under each attack and combined, with 95 % Clopper-Pearson intervals.

    Certified and attacked columns speak of the same images where there was an attack run.
    """
    paper = evaluation.certified_on_attacked("paper")
    pairwise, combined = evaluation.certified_on_attacked("pairwise"), evaluation.robust()
    mark = "" if evaluation.full else f" {CASCADE}"
    rows = []
    for text in evaluation.eps:
        row = {"ε": text, "certified % (paper)": certified_cell(paper, text)}
        row["certified % (pairwise)"] = certified_cell(pairwise, text)
        row["95 % interval, certified"] = interval_cell(pairwise, text)
        if combined is not None:
            asked = text in evaluation.attacked_eps
            row["combined %"] = attacked_cell(evaluation, COMBINED, text)
            row["95 % interval, combined"] = interval_cell(combined if asked else None, text)
            row |= {
                f"{name} %{mark}": attacked_cell(evaluation, name, text).removesuffix(f" {CASCADE}")
                for name in evaluation.attacks
            }
        rows.append(row)
    return pd.DataFrame(rows)


def attack_outcomes(evaluation: Evaluation) -> pd.DataFrame:
    """One row an attack: on how many images it found an adversarial, and how far away (rounded up)."""
    records = evaluation.attack.records if evaluation.attack else ()
    rows = []
    for name in evaluation.attacks:
        outcomes = [record.attacks[name] for record in records if name in record.attacks]
        distances = [outcome.distance for outcome in outcomes if outcome.distance is not None]
        rows.append(
            {
                "attack": name,
                "found": _count(outcomes, AttackStatus.FOUND),
                "nothing found": _count(outcomes, AttackStatus.NOT_FOUND),
                "not run": _count(outcomes, AttackStatus.NOT_RUN),
                "nearest of all": str(sum(record.attack == name for record in records)),
                "median distance": ceil_decimals(statistics.median(distances), 3) if distances else ABSENT,
                "largest distance": ceil_decimals(max(distances), 3) if distances else ABSENT,
            }
        )
    return pd.DataFrame(rows)


def audit(evaluation: Evaluation) -> pd.DataFrame:
    """One row a layer: its operation and the upper bound of its Lipschitz constant."""
    layers = evaluation.facts("audit").get("layers") or ()
    rows = [
        {
            "#": str(number),
            "layer": str(layer.get("name", "")),
            "operation": str(layer.get("operation", "")),
            "Lipschitz upper": upper_cell(layer.get("lipschitz_upper"), 6),
        }
        for number, layer in enumerate(layers, start=1)
    ]
    return pd.DataFrame(rows, columns=["#", "layer", "operation", "Lipschitz upper"])


def contradictions(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """One row an adversarial below a certified radius; there should be none."""
    rows = [
        (item.name, str(found.index), _text(found.attack), found.rule, repr(found.radius), repr(found.distance))
        for item in evaluations
        for found in item.contradictions()
    ]
    return pd.DataFrame(rows, columns=["model", "image", "attack", "rule", "certified radius", "distance"])


def flags(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """One row a diagnostic that says that an evaluation may be wrong."""
    rows = dict.fromkeys((item.name, *flag) for item in evaluations for flag in item.flags())
    return pd.DataFrame(list(rows), columns=["model", "run", "flag", "message"])


def runs(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """One row a run: what was computed, on what, where, and at what cost."""
    return pd.DataFrame([_run_row(item.name, run) for item, run in _each_run(evaluations)])


def provenance(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Command line, hashes and versions of each run, in full, one row each: what it takes to make it again."""
    rows = [(run.name, *item) for _, run in _each_run(evaluations) for item in _provenance(run).items()]
    return pd.DataFrame(rows, columns=["run", "", "value"])


def rates(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Every rate as a number, one row each, for further computation: counts, n, rate, 95 % interval."""
    rows = []
    for item in evaluations:
        for measure, curve, eps in _curves(item):
            for text in eps:
                value = epsilon_value(text)
                low, high = curve.interval(value)
                rows.append(
                    {
                        "model": item.name,
                        "data": item.data_name,
                        "weights_sha256": item.weights_sha256,
                        "measure": measure,
                        "eps": text,
                        "count": int(curve.counts(value)),
                        "n": curve.n,
                        "rate": float(curve.rate(value)),
                        "interval_low": float(low),
                        "interval_high": float(high),
                    }
                )
    return pd.DataFrame(rows)


def certified_cell(curve: Curve | None, eps: str) -> str:
    """A certified rate in percent, floored."""
    if curve is None:
        return ABSENT
    return floor_decimals(100 * curve.rate(epsilon_value(eps)), _decimals(curve.n))


def attacked_cell(evaluation: Evaluation, attack: str, eps: str | None) -> str:
    """A rate under attack in percent, ceiled; only where the attacks were asked about that ε, or without one: clean."""
    asked = {epsilon_value(text) for text in evaluation.attacked_eps}
    curve = evaluation.robust(attack)
    if curve is None or (eps is not None and epsilon_value(eps) not in asked):
        return ABSENT
    text = ceil_decimals(100 * curve.rate(0.0 if eps is None else epsilon_value(eps)), _decimals(curve.n))
    return text if evaluation.full or attack == COMBINED else f"{text} {CASCADE}"


def interval_cell(curve: Curve | None, eps: str) -> str:
    """The 95 % interval of a rate in percent, rounded outwards."""
    if curve is None:
        return ABSENT
    low, high = curve.interval(epsilon_value(eps))
    return f"{floor_decimals(100 * float(low), 1)} to {ceil_decimals(100 * float(high), 1)}"


def clean_cell(evaluation: Evaluation) -> str:
    """Clean accuracy bounds every accuracy under attack from above, so it is ceiled like them."""
    rate = evaluation.clean()
    largest = max(run.n for run in evaluation.runs)
    return ABSENT if rate is None else ceil_decimals(100 * rate, _decimals(largest))


def upper_cell(value: float | None, decimals: int = 4) -> str:
    """An upper bound, ceiled."""
    return ABSENT if value is None else ceil_decimals(value, decimals)


def lower_cell(value: float | None, decimals: int = 4) -> str:
    """A lower bound, floored."""
    return ABSENT if value is None else floor_decimals(value, decimals)


def _decimals(n: int) -> int:
    """As many digits as tell one image from the next, but not more than anyone reads."""
    return 1 if n <= 1000 else 2


def _images(curve: Curve | None) -> str:
    return ABSENT if curve is None else str(curve.n)


def _mean(curve: Curve | None) -> str:
    return ABSENT if curve is None else floor_decimals(curve.mean(), 4)


def _text(value: Any) -> str:
    return ABSENT if value is None or value == "" else str(value)


def _count(outcomes: Sequence[AttackOutcome], status: AttackStatus) -> str:
    return str(sum(outcome.status is status for outcome in outcomes))


def _each_run(evaluations: Sequence[Evaluation]) -> list[tuple[Evaluation, AnyRun]]:
    """Each run once, though a certify run may stand beside several attack runs."""
    seen = {run.folder: (item, run) for item in reversed(evaluations) for run in reversed(item.runs)}
    return list(reversed(seen.values()))


def _curves(item: Evaluation) -> list[tuple[str, Curve, tuple[str, ...]]]:
    """What each rate of an evaluation is called, its curve, and the radii it speaks of."""
    found: list[tuple[str, Curve | None, tuple[str, ...]]] = [
        ("certified paper", item.certified("paper"), item.eps),
        ("certified pairwise", item.certified("pairwise"), item.eps),
        (f"attacked {COMBINED}", item.robust(), item.attacked_eps),
        *((f"attacked {name}", item.robust(name), item.attacked_eps) for name in item.attacks),
    ]
    return [(measure, curve, eps) for measure, curve, eps in found if curve is not None]


def _run_row(model: str, run: AnyRun) -> dict[str, str]:
    data, summary = run.facts("data"), run.summary
    passes = summary.get("passes") or {}
    seconds = summary.get("seconds")
    return {
        "run": run.name,
        "model": model,
        "command": str(run.manifest.get("command")),
        "status": run.status,
        "images": str(run.n),
        "data": f"{_text(data.get('name'))} {data.get('split', '')}".strip(),
        "device": _text(run.device),
        "forward passes": _text(passes.get("forward")),
        "backward passes": _text(passes.get("backward")),
        "seconds": ABSENT if seconds is None else ceil_decimals(seconds, 1),
    }


def _provenance(run: AnyRun) -> dict[str, str]:
    environment = run.manifest.get("environment", {})
    git = environment.get("git") or {}
    versions = environment.get("versions", {})
    commit = f"{git['commit']}{' with changes' if git.get('dirty') else ''}" if "commit" in git else ABSENT
    return {
        "command line": " ".join(["robench", *map(str, run.manifest.get("argv", ()))]),
        "seed": _text(run.manifest.get("spec", {}).get("seed")),
        "created": _text(run.manifest.get("created")),
        "weights SHA-256": _text(run.weights_sha256),
        "data SHA-256": _text(run.facts("data").get("sha256")),
        "spec digest": _text(run.manifest.get("spec_digest")),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "platform": _text(environment.get("platform")),
        "git commit": commit,
    }
