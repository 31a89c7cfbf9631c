"""The tables of a report as data frames of text, rounded as `robench.display` says.

Rates are percentages. Certified and attacked rates of one table are of the same images. A column whose name ends in
`ε = …` belongs to a group of columns, one for each radius. What does not exist is `–`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from robench.display import ABSENT, broke, lower, lower_percent, upper, upper_percent
from robench.records.record import COMBINED, RULES, AttackOutcome, AttackStatus
from robench.reporting.evaluations import Evaluation
from robench.runs.run import AnyRun
from robench.specs.epsilon import ascending, epsilon_value
from robench.statistics.budget import DIRECTIONS, AttackBudget, n_alone, passes_of
from robench.statistics.curves import Curve
from robench.statistics.predictions import base_count

CASCADE_NOTE = (
    "broke k of m: this run was a cascade, and of the m images that the attack was given it broke k itself. That is no "
    "accuracy, since the attacks before it chose those images; only combined is one. With --full each attack is given "
    "every image that is not certified."
)
OPTIMALITY_NOTE = (
    "Optimality is that of AttackBench: 1 for the attack that finds, for every image, the nearest adversarial of all "
    "attacks of this run within the largest ε asked, and 0 for one that finds none. It is rounded down."
)


def comparison(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """One row a model with everything of `models` and `bounds`: wide, for a spreadsheet."""
    eps = ascending(text for evaluation in evaluations for text in evaluation.eps)
    attacked = ascending(text for evaluation in evaluations for text in evaluation.attacked_eps)
    rows = []
    for item in evaluations:
        row: dict[str, str] = {}
        for rule in RULES:
            curve = item.certified_on_attacked(rule)
            row |= {f"certified % ({rule}) ε = {text}": certified_cell(curve, text) for text in eps}
        row |= {f"attacked % (combined) ε = {text}": attacked_cell(item, COMBINED, text) for text in attacked}
        rows.append(row)
    return pd.concat([models(evaluations), pd.DataFrame(rows)], axis=1)


def models(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """One row a model: number of images, clean accuracy and base rate, mean certified radius, Lipschitz bounds."""
    rows = []
    for item in evaluations:
        audited = item.facts("audit")
        row = {
            "model": item.name,
            "recipe": _text(item.facts("model").get("recipe")),
            "n certified": _images(item.certified("pairwise")),
            "n attacked": _images(item.robust()),
            "clean %": clean_cell(item),
            "base rate %": base_cell(item),
        }
        row |= {f"mean radius ({rule})": _mean(item.certified(rule)) for rule in RULES}
        row["Lipschitz upper"] = upper(audited.get("lipschitz_upper"))
        row["Lipschitz lower"] = lower(audited.get("lipschitz_lower"))
        rows.append(row)
    return pd.DataFrame(rows)


def bounds(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Three rows a model: certified by the paper's rule and by pairs, and attacked by all together, at each ε.

    The rows of a model are of the same images: the attacked ones where there was an attack run.
    """
    eps = ascending(text for evaluation in evaluations for text in evaluation.eps)
    rows = []
    for item in evaluations:
        for rule in RULES:
            curve = item.certified_on_attacked(rule)
            cells = {f"accuracy % at ε = {text}": certified_cell(curve, text) for text in eps}
            rows.append({"model": item.name, "": f"certified ({rule})", "n": _images(curve), **cells})
        cells = {f"accuracy % at ε = {text}": attacked_cell(item, COMBINED, text) for text in eps}
        rows.append({"model": item.name, "": "attacked (combined)", "n": _images(item.robust()), **cells})
    return pd.DataFrame(rows)


def certified_alone(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Two rows a model: certified at each ε on all images of its certify run, attacked or not."""
    eps = ascending(text for evaluation in evaluations for text in evaluation.eps)
    rows = []
    for item in evaluations:
        for rule in RULES:
            curve = item.certified(rule)
            cells = {f"certified accuracy % at ε = {text}": certified_cell(curve, text) for text in eps}
            rows.append({"model": item.name, "rule": rule, "n": _images(curve), **cells})
    return pd.DataFrame(rows)


def attack_accuracy(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Accuracy under each attack at each ε, one column a model, after Table 1 of the paper (arXiv 2006.06520).

    The single attacks of a cascade have no accuracy; what they broke stands there instead. The last rows are the
    combined rule, and below it what is certified on the same images.
    """
    attacked = [item for item in evaluations if item.robust() is not None]
    eps = ascending(text for item in attacked for text in item.attacked_eps)
    names = list(dict.fromkeys(name for item in attacked for name in item.attacks))
    rows = [["none (clean)", "0", *(attacked_cell(item, COMBINED, None) for item in attacked)]]
    rows.append(["none (base rate)", "0", *(attacked_base_cell(item) for item in attacked)])
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
    unit = " %" if evaluation.full else ""
    rows = []
    for text in evaluation.eps:
        row = {"ε": text, "certified % (paper)": certified_cell(paper, text)}
        row["certified % (pairwise)"] = certified_cell(pairwise, text)
        row["95 % interval, certified"] = interval_cell(pairwise, text)
        if combined is not None:
            asked = text in evaluation.attacked_eps
            row["combined %"] = attacked_cell(evaluation, COMBINED, text)
            row["95 % interval, combined"] = interval_cell(combined if asked else None, text)
            row |= {f"{name}{unit}": attacked_cell(evaluation, name, text) for name in evaluation.attacks}
        rows.append(row)
    return pd.DataFrame(rows)


def by_class(evaluation: Evaluation) -> pd.DataFrame:
    """One row a true class: its images, how many are predicted so, accuracy, and at each ε certified and attacked.

    All of the same images: the attacked ones where there was an attack run.
    """
    run = evaluation.attack if evaluation.attack and evaluation.attack.n else evaluation.runs[0]
    labels = np.array([record.label for record in run.records])
    predicted = np.array([record.predicted for record in run.records])
    names = evaluation.facts("data").get("class_names", ())
    certified, robust = evaluation.certified_on_attacked("pairwise"), evaluation.robust()
    rows = []
    for label in np.union1d(labels, predicted).tolist():
        members = labels == label
        n = int(members.sum())
        row = {
            "class": str(names[label]) if label < len(names) else str(label),
            "n": str(n),
            "predicted": str(int((predicted == label).sum())),
            "clean %": upper_percent(int((predicted[members] == label).sum()), n),
        }
        low, high = (curve and Curve(curve.thresholds[members]) for curve in (certified, robust))
        row |= {f"certified % (pairwise) ε = {text}": certified_cell(low, text) for text in evaluation.eps}
        if high is not None:
            row |= {f"attacked % (combined) ε = {text}": _at(high, text) for text in evaluation.attacked_eps}
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
                "median distance": upper(statistics.median(distances) if distances else None, 3),
                "largest distance": upper(max(distances, default=None), 3),
            }
        )
    return pd.DataFrame(rows)


def budget(evaluation: Evaluation) -> pd.DataFrame:
    """One row an attack: what it broke, what it broke alone, how often it was nearest, its passes and its optimality.

    The last row is the whole run; its passes hold the clean predictions too.
    """
    run = evaluation.attack
    if run is None or not run.n:
        return pd.DataFrame()
    eps = evaluation.attacked_eps
    alone = n_alone(run.records, eps)
    rows = []
    for name, item in evaluation.budgets.items():
        row = {"attack": name, "broke": broke(item.broke, item.given), "broke alone": str(item.alone)}
        row |= {f"broke alone at ε = {text}": str(alone[name][text]) for text in eps}
        row |= {"nearest of all": str(item.nearest)}
        row |= {f"{way} passes": _text(getattr(item, way)) for way in DIRECTIONS}
        rows.append(row | ({"optimality": lower(item.optimality, 3)} if evaluation.full else {}))
    top = epsilon_value(eps[-1])
    given = [record for record in run.records if any(record.given_to(name) for name in evaluation.attacks)]
    whole = {"attack": COMBINED, "broke": broke(sum(not record.robust_at(top) for record in given), len(given))}
    whole |= {f"{way} passes": _text(passes_of(run.spent, COMBINED, way)) for way in DIRECTIONS}
    return pd.DataFrame([*rows, whole]).fillna(ABSENT)


def audit(evaluation: Evaluation) -> pd.DataFrame:
    """One row a layer: its operation and the upper bound of its Lipschitz constant."""
    layers = evaluation.facts("audit").get("layers") or ()
    rows = [
        {
            "#": str(number),
            "layer": str(layer.get("name", "")),
            "operation": str(layer.get("operation", "")),
            "Lipschitz upper": upper(layer.get("lipschitz_upper"), 6),
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


def budgets(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """The budget of every attack as numbers, one row each, for further computation; empty where not known."""
    rows = [
        {"model": item.name, "data": item.data_name, "weights_sha256": item.weights_sha256, "full": item.full,
         "attack": name, **budget.to_dict()}
        for item in evaluations
        for name, budget in item.budgets.items()
    ]  # fmt: skip
    columns = ["model", "data", "weights_sha256", "full", "attack", *AttackBudget._fields]
    return pd.DataFrame(rows, columns=columns).convert_dtypes()


def certified_cell(curve: Curve | None, eps: str) -> str:
    """A certified rate in percent."""
    return ABSENT if curve is None else lower_percent(int(curve.counts(epsilon_value(eps))), curve.n)


def attacked_cell(evaluation: Evaluation, attack: str, eps: str | None) -> str:
    """A rate under attack in percent, or what an attack of a cascade broke.

    Args:
        evaluation: the model.
        attack: its name, or `COMBINED`.
        eps: as written; absent unless the attacks were asked about it. None for no attack: clean.
    """
    asked = {epsilon_value(text) for text in evaluation.attacked_eps}
    if eps is not None and epsilon_value(eps) not in asked:
        return ABSENT
    radius = 0.0 if eps is None else epsilon_value(eps)
    curve = evaluation.robust(attack)
    if curve is not None:
        return upper_percent(int(curve.counts(radius)), curve.n)
    records = evaluation.attack.records if evaluation.attack else ()
    given = [record for record in records if attack in record.attacks and record.given_to(attack)]
    return broke(sum(record.broken_by(attack, radius) for record in given), len(given))


def _at(curve: Curve, eps: str) -> str:
    return upper_percent(int(curve.counts(epsilon_value(eps))), curve.n)


def interval_cell(curve: Curve | None, eps: str) -> str:
    """The 95 % interval of a rate in percent, rounded outwards."""
    if curve is None:
        return ABSENT
    low, high = curve.interval(epsilon_value(eps))
    return f"{lower(100 * float(low), 1)} to {upper(100 * float(high), 1)}"


def clean_cell(evaluation: Evaluation) -> str:
    """Clean accuracy in percent, on the images of the larger run."""
    records = evaluation.largest.records
    return upper_percent(sum(record.predicted == record.label for record in records), len(records))


def base_cell(evaluation: Evaluation) -> str:
    """Base rate in percent, on the same images as `clean_cell`."""
    return _base(evaluation.largest)


def attacked_base_cell(evaluation: Evaluation) -> str:
    """Base rate in percent, on the attacked images."""
    return _base(evaluation.attack)


def _base(run: AnyRun | None) -> str:
    return ABSENT if run is None else upper_percent(base_count([record.label for record in run.records]), run.n)


def _images(curve: Curve | None) -> str:
    return ABSENT if curve is None else str(curve.n)


def _mean(curve: Curve | None) -> str:
    return lower(None if curve is None else curve.mean())


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
        "seconds": upper(seconds, 1),
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
