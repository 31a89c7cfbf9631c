"""Summaries as tables on stdout, rounded as `robench.numerics` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from robench.cli.console import print_reason, print_table
from robench.cli.main import FINDING
from robench.numerics import ABSENT, broke, lower, lower_percent, spread, upper, upper_percent

SHOWN = 6
"""Columns of radii that fit a terminal; the report has all."""


def certify_result(summary: Mapping[str, Any]) -> None:
    """Certified accuracy by rule and ε."""
    title = (
        f"{accuracy_line(summary)}, Lipschitz constant at most {upper(summary['lipschitz_upper'])} "
        f"(found slope {lower(summary['lipschitz_lower'])})"
    )
    _certified_table(f"{title}; {claim_line(summary['certificate'])}", summary)


def smoothed_result(summary: Mapping[str, Any]) -> None:
    """Certified accuracy of the smoothed classifier by ε, and with which probability."""
    n, sampling = summary["n"], summary["sampling"]
    title = (
        f"smoothed classifier, σ = {sampling['sigma']:g}, {sampling['n']} draws an image: {n} images, "
        f"accuracy {lower_percent(summary['n_correct'], n, ' %')} ({summary['n_correct']} of {n}), base rate "
        f"{upper_percent(summary['n_base'], n, ' %')}, "
        f"{summary['n_abstained']} abstentions; each radius holds with probability {summary['confidence']['each']:g}, "
        f"all together with {summary['confidence']['all']:g}"
    )
    _certified_table(title, summary)


def _certified_table(title: str, summary: Mapping[str, Any]) -> None:
    """One row a rule: the mean radius, and the certified rate at each ε."""
    n, counts = summary["n"], summary["n_certified"]
    columns = ["rule", "mean radius", *(f"ε = {eps}" for eps in next(iter(counts.values())))]
    rows = [
        [rule, lower(summary["mean_radius"][rule]), *(lower_percent(k, n) for k in counts[rule].values())]
        for rule in counts
    ]
    print_table(f"{title}; certified accuracy in %", columns, rows)


def attack_result(summary: Mapping[str, Any]) -> None:
    """Robust accuracy by ε: of each attack where each saw every image, of all together, and certified below it."""
    n, robust, budget = summary["n"], summary["n_robust"], summary["budget"]
    eps = list(robust["combined"])
    rows = [
        [name, *(upper_percent(robust[name][text], n, " %") for text in eps)]
        if name in robust
        else [f"{name} broke", *(_of(summary["n_broke"][name][text], budget[name]["given"]) for text in eps)]
        for name in budget
    ]
    rows.append(["combined", *(upper_percent(robust["combined"][text], n, " %") for text in eps)])
    for rule, counts in summary["n_certified"].items():
        name = "certified" if len(summary["n_certified"]) == 1 else f"certified ({rule})"
        rows.append([name, *(lower_percent(counts[text], n, " %") for text in eps)])
    scope = "every attack on every open image" if summary["full"] else "ensemble: an attack sees only what is open"
    title = f"{accuracy_line(summary)}; robust accuracy ({scope})"
    print_table(title, ["attack", *(f"ε = {text}" for text in eps)], rows)
    _budget_result(summary, eps)


def _budget_result(summary: Mapping[str, Any], eps: Sequence[str]) -> None:
    """What each attack did that no other did, and what it cost."""
    columns = ["attack", "broke", "broke alone", "nearest", "forward passes", "backward passes"]
    rows = [
        [
            name,
            _of(item["broke"], item["given"]),
            *(_count(item[key]) for key in ("alone", "nearest", "forward", "backward")),
            *([lower(item["optimality"], 3)] if summary["full"] else []),
        ]
        for name, item in summary["budget"].items()
    ]
    spared = summary["spared"]
    note = f"; pairs of image and ε that stand and were spared an attack: {spared['n_pairs']}" if spared else ""
    title = f"broke: within ε = {eps[-1]}; alone: at some ε asked, no other attack did{note}"
    print_table(title, [*columns, *(["optimality"] if summary["full"] else [])], rows)


def audit_result(summary: Mapping[str, Any]) -> None:
    """The bound of each layer, and of the whole."""
    rows = [[layer["name"], layer["operation"], upper(layer["lipschitz_upper"], 6)] for layer in summary["layers"]]
    box = summary["box"]
    title = (
        f"{summary['model']}: Lipschitz constant {'' if box is None else f'over inputs in [{box[0]:g}, {box[1]:g}] '}"
        f"at most {upper(summary['lipschitz_upper'], 6)}, at least {lower(summary['lipschitz_lower'], 6)}"
    )
    print_table(title, ["layer", "operation", "at most"], rows)


def potential_result(summary: Mapping[str, Any]) -> None:
    """Theorem 2 with numbers, and what the outputs and gradients look like."""
    duality, norm = summary["duality"], summary["gradient_norm"]
    share = None if duality["share"] is None else 100 * duality["share"]
    rows = [
        ["reached: KR - alpha * hinge", lower(duality["reached"], 6)],
        ["optimum of any 1-Lipschitz function", upper(duality["optimum"], 6)],
        ["gap", upper(duality["gap"], 6)],
        ["share of the optimum", lower(share, 2, " %")],
        ["examples in the overlap of the outputs", upper(100 * summary["overlap"], 2, " %")],
        ["gradient norm within 1 ± 0.05", lower(100 * norm["share_within_0.05_of_1"], 2, " %")],
    ]
    title = (
        f"{accuracy_line(summary, 'examples')}; "
        f"hKR loss with alpha {duality['alpha']:g} and margin {duality['margin']:g}"
    )
    print_table(title, ["Theorem 2", "value"], rows)


def bench_result(rows: Sequence[Mapping[str, Any]]) -> None:
    """One table a data set, and one of means where models have several seeds.

    Attacked accuracy stands above certified accuracy of the same images, so the lower number is never the larger.
    """
    for data in dict.fromkeys(row["data"] for row in rows):
        chosen = [row for row in rows if row["data"] == data]
        eps = _shown_eps(chosen)
        seeds = len({row["seed"] for row in chosen}) > 1
        columns = ["model", "clean", "Lipschitz at most", "mean radius", *(f"ε = {text}" for text in eps)]
        cells = []
        for row in chosen:
            rule = list(row["n_certified"])[-1]
            low = [lower_percent(row["n_certified"][rule][text], row["n_attacked"]) for text in eps]
            high = [upper_percent(row["n_robust"]["combined"][text], row["n_attacked"]) for text in eps]
            cells.append(
                [
                    f"{row['model']}, seed {row['seed']}" if seeds else row["model"],
                    upper_percent(row["n_correct"], row["n"]),
                    upper(row["lipschitz_upper"], 2),
                    lower(row["mean_radius"][rule], 3),
                    *(f"{above}\n{below}" for above, below in zip(high, low, strict=True)),
                ]
            )
        n = chosen[0]["n"]
        title = (
            f"{data}: in each cell attacked accuracy, below it certified accuracy, in %, on "
            f"{chosen[0]['n_attacked']} test images; clean accuracy and mean certified radius on all {n}, of which the "
            f"most frequent class is {upper_percent(chosen[0]['n_base'], n, ' %')}"
        )
        print_table(title, columns, cells)
        if seeds:
            _seeds_result(data, chosen, eps)


def _seeds_result(data: str, rows: Sequence[Mapping[str, Any]], eps: Sequence[str]) -> None:
    """Means over the seeds, with the least and the greatest."""
    cells = []
    for model in dict.fromkeys(row["model"] for row in rows):
        chosen = [row for row in rows if row["model"] == model]
        clean = [Fraction(row["n_correct"], row["n"]) for row in chosen]
        robust = [[Fraction(row["n_robust"]["combined"][text], row["n_attacked"]) for row in chosen] for text in eps]
        cells.append([model, str(len(chosen)), *map(spread, (clean, *robust))])
    title = f"{data}: attacked accuracy in %, mean over the seeds (least to greatest)"
    print_table(title, ["model", "seeds", "clean", *(f"ε = {text}" for text in eps)], cells)


def _shown_eps(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """As many of the radii as fit."""
    every = list(rows[0]["n_robust"]["combined"])
    return every[:: -(-len(every) // SHOWN)]


def training_result(rows: Sequence[Mapping[str, Any]]) -> None:
    """What the trainings of a bench came to."""
    cells = [
        [
            f"{row['model']}, seed {row['seed']}",
            row["data"],
            f"{row['kept_epoch']} of {row['epochs']}",
            upper(100 * row["clean_accuracy"], 2, " %"),
            f"{row['seconds']:.0f}",
        ]
        for row in rows
    ]
    print_table("trainings", ["model", "data", "epoch kept", "validation accuracy", "seconds"], cells)


def claims_result(claims: Sequence[Mapping[str, Any]]) -> None:
    """Each claim with its verdicts, counted over the sets of models."""
    cells = []
    for number in dict.fromkeys(claim["number"] for claim in claims):
        rows = [claim for claim in claims if claim["number"] == number]
        verdicts = [row["verdict"] for row in rows]
        counted = ", ".join(f"{verdict}: {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))
        cells.append([f"{number}. {rows[0]['text']}", counted])
    print_table(
        "claims of the paper, and on how many sets of models each verdict is given", ["claim", "verdict"], cells
    )


def train_line(summary: Mapping[str, Any], eps: str) -> str:
    """What a training reached on the validation split, which epoch is kept, and how long it took.

    Args:
        summary: of the training.
        eps: the radius of its estimate.
    """
    n, estimate = summary["n"], summary["certified_estimate"]
    if not n:  # a folder of an older robench, which counted no images
        return f"{summary['folder']}: kept epoch {summary['kept_epoch']} of {summary['epochs']}"
    parts = [accuracy_line(summary, "validation images")]
    if estimate is not None:
        parts.append(f"certified at {eps} {lower_percent(round(estimate * n), n, ' %')} (estimate)")
    parts.append(f"kept epoch {summary['kept_epoch']} of {summary['epochs']}")
    parts.append("finished before" if summary["finished_before"] else f"{summary['seconds']:.0f} s")
    parts.append(f"{summary['seconds'] / summary['epochs']:.3g} s an epoch")
    return "; ".join(parts)


def foreseen_result(document: Mapping[str, Any]) -> None:
    """What a command would do, as its spec and a line."""
    from robench.cli.console import print_json, print_line

    print_json(document["spec"])
    done, what = document["n_done"], "epochs" if document["command"] == "train" else "images"
    print_line(
        f"{document['n']} images; {done} {what} are done, {document['n_left']} are left, in {document['folder']}"
    )
    for text in document["differs"]:
        print_line(f"would be refused: {text}")


def show_flags(flags: Sequence[Mapping[str, Any]], note: Callable[[str], None]) -> None:
    """Tell each flag by `note`."""
    for flag in flags:
        note(f"flag {flag['name']}: {flag['message']}")


def gate(counts: Mapping[str, int], summary: Mapping[str, Any], fail_under: float | None) -> int:
    """Exit code of `--fail-under`, with the reasons on stderr.

    Args:
        counts: images that are certified, or that stand, by ε.
        summary: of the run.
        fail_under: least rate; None where none was asked.
    """
    from robench import workflows

    reasons = [] if fail_under is None else workflows.shortfalls(counts, summary, fail_under)
    for reason in reasons:
        print_reason(f"below --fail-under {fail_under}: {reason}")
    return FINDING if reasons else 0


def claim_line(certificate: Mapping[str, Any]) -> str:
    """What the certificates speak of."""
    model = "the model itself" if certificate["model"] == "base" else certificate["model"]
    return f"certificates of {model} in {certificate['arithmetic']}, for {certificate['region']}"


def accuracy_line(summary: Mapping[str, Any], images: str = "images") -> str:
    """Number of images, clean accuracy and base rate on them."""
    n = summary["n"]
    correct, base = upper_percent(summary["n_correct"], n), upper_percent(summary["n_base"], n)
    return f"{n} {images}, clean accuracy {correct} % ({summary['n_correct']} of {n}), base rate {base} %"


def _of(count: int, given: int) -> str:
    """What an attack did to the images that it was given, beside the word `broke`."""
    return broke(count, given).removeprefix("broke ")


def _count(count: int | None) -> str:
    return ABSENT if count is None else str(count)
