"""`robench list`: what can be named on the command line, and which runs lie below a folder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from robench.errors import SpecError, did_you_mean
from robench.runs.listing import runs_below
from robench.specs.attacks import ATTACKS, SUITES
from robench.specs.names import CERTIFICATES, DATA_SETS
from robench.specs.suite import read_suite, suite_names
from robench.workflows.reading import heading

Row = dict[str, Any]
IMAGE = (3, 64, 64)
"""Input for which layers of architectures are counted; dense ones take points too."""


def listed(what: str, folder: str | PathLike[str] = ".") -> dict[str, Any]:
    """The names of one kind, each with what is worth knowing of it.

    Args:
        what: a key of `LISTS`.
        folder: below which runs are looked for.

    Raises:
        SpecError: there is no such kind.
        RunError: the folder is none.
    """
    if what not in LISTS:
        raise SpecError(f"there is no list of `{what}`", hint=did_you_mean(what, LISTS))
    return {**heading("list"), "what": what, "items": LISTS[what](Path(folder))}


def _recipes(_: Path) -> list[Row]:
    from robench.training.recipes import ALIASES, RECIPES

    also = {name: [alias for alias, meant in ALIASES.items() if meant == name] for name in RECIPES}
    return [{"name": name, "about": _first_line(recipe), "also": also[name]} for name, recipe in RECIPES.items()]


def _architectures(_: Path) -> list[Row]:
    from robench.models.architectures import ARCHITECTURES, RELU

    return [
        {"name": name, "about": ", ".join(_layer(layer.to_dict()) for layer in make(IMAGE, RELU))}
        for name, make in ARCHITECTURES.items()
    ]


def _layer(layer: Mapping[str, Any]) -> str:
    """A layer with its width."""
    width = next((str(layer[key]) for key in ("units", "channels") if key in layer), "")
    return f"{layer['type']} {width}".strip()


def _attacks(_: Path) -> list[Row]:
    return [
        {"name": name, "about": _first_line(options), "options": options().to_dict()}
        for name, options in ATTACKS.items()
    ]


def _suites(_: Path) -> list[Row]:
    attacks = [{"name": name, "of": "attack", "about": ", ".join(suite)} for name, suite in SUITES.items()]
    return attacks + [{"name": name, "of": "bench", "about": read_suite(name).about} for name in suite_names()]


def _rules(_: Path) -> list[Row]:
    from robench.lipschitz.rules.table import RULES

    certificates = [{"name": name, "of": "certify", "about": about} for name, about in CERTIFICATES.items()]
    known = [{"name": name, "of": "operation", "about": "has a bound"} for name in sorted(RULES.operations)]
    none = [{"name": name, "of": "operation", "about": f"none: {why}"} for name, why in sorted(RULES.reasons.items())]
    return certificates + known + none


def _first_line(item: Any) -> str:
    return (inspect.getdoc(item) or "").split("\n")[0]


LISTS: Mapping[str, Callable[[Path], list[Row]]] = {
    "recipes": _recipes,
    "architectures": _architectures,
    "data": lambda _: [{"name": name, "about": about} for name, about in DATA_SETS.items()],
    "attacks": _attacks,
    "suites": _suites,
    "runs": runs_below,
    "rules": _rules,
}
"""By what is listed."""
