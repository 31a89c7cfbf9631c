"""What `robench potential` found of models of two classes, read from its folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robench.errors import RunError
from robench.files import read_json
from robench.records.shapes import misfit
from robench.reporting.potential import SUMMARY
from robench.statistics.paired import Estimate

SHAPE = {
    "n": int,
    "n_correct": int,
    "overlap": float,
    "facts": {"model": {"name": str, "recipe": (str, None)}, "data": {"name": str, "split": str}},
    "plan": {"cosine": ({"value": float, "low": float, "high": float, "n": int}, None)},
    "duality": {"share": (float, None), "exceeded": bool, "margin": float, "alpha": float},
}


@dataclass(frozen=True, kw_only=True)
class Held:
    """A model held against its transport problem.

    Fields:
        name: model and images.
        recipe: by which it was trained; empty if not known.
        data: name of the data set and its split.
        accuracy: on these examples.
        overlap: share of examples in the overlap of the outputs of the two classes.
        share: of the optimum that is reached; None where that is not above 0.
        exceeded: whether it is better than possible.
        plan_cosine: median cosine between the plan and the gradient; None where it was not measured.
    """

    name: str
    recipe: str
    data: str
    accuracy: float
    overlap: float
    share: float | None
    exceeded: bool
    plan_cosine: Estimate | None


def read_potentials(paths: Sequence[Path]) -> list[Held]:
    """All folders of `robench potential` at or below some paths, sorted by their path; there may be none.

    Raises:
        RunError: one of them is broken.
    """
    return [_read(file) for file in sorted({file.resolve() for path in paths for file in path.rglob(SUMMARY)})]


def _read(file: Path) -> Held:
    data = read_json(file)
    problem = misfit(data, SHAPE, SUMMARY)
    if problem or not {"n", "n_correct", "overlap", "facts", "duality"} <= set(data) or data["n"] < 1:
        raise RunError(
            f"`{file}` is not as robench wrote it: {problem or 'a part is missing'}", hint="run `potential` again"
        )
    facts, duality = data["facts"], data["duality"]
    name, split = facts["data"].get("name", "unknown data"), facts["data"].get("split", "")
    cosine = (data.get("plan") or {}).get("cosine")
    return Held(
        name=f"{name} {split}: {facts['model'].get('name', 'model')}, {data['n']} examples",
        recipe=facts["model"].get("recipe") or "",
        data=f"{name} {split}",
        accuracy=data["n_correct"] / data["n"],
        overlap=float(data["overlap"]),
        share=duality.get("share"),
        exceeded=bool(duality.get("exceeded", False)),
        plan_cosine=None if cosine is None else Estimate(**cosine),
    )
