"""Completion of names in a shell: docs/commands.md says how it is switched on. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem

from robench.specs.attacks import ATTACKS
from robench.specs.names import ARCHITECTURES, DATA_SETS, RECIPES
from robench.specs.suite import suite_names

MANIFEST = "manifest.json"
Items: TypeAlias = list[CompletionItem]


def _offered(find: Callable[[str], Items]) -> Callable[[click.Context, click.Parameter, str], Items]:
    """What click wants of a function of the text that is begun."""
    return lambda context, parameter, begun: find(begun)


def _beginning(begun: str, names: Iterable[str]) -> Items:
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def _file(begun: str) -> Items:
    return [CompletionItem(begun, type="file")]


def _runs(begun: str) -> Items:
    """Run folders at the path that is begun and one level below it; folders where there is none."""
    typed = Path(begun)
    parent = typed if begun.endswith("/") else typed.parent
    try:
        near = [path for path in sorted(parent.iterdir()) if path.is_dir() and str(path).startswith(str(typed))]
        below = [inner for path in near for inner in sorted(path.iterdir()) if inner.is_dir()]
    except OSError:
        near = below = []
    found = [str(path) for path in (*near, *below) if (path / MANIFEST).is_file()]
    return [CompletionItem(path) for path in found] or [CompletionItem(begun, type="dir")]


recipes = _offered(lambda begun: _beginning(begun, (*RECIPES, "standard")))
architectures = _offered(lambda begun: _beginning(begun, ARCHITECTURES) or _file(begun))
data_sets = _offered(lambda begun: _beginning(begun, (name.removesuffix("PATH") for name in DATA_SETS)))
attacks = _offered(lambda begun: _beginning(begun, ATTACKS))
suites = _offered(lambda begun: _beginning(begun, suite_names()) or _file(begun))
models = _offered(_file)
runs = _offered(_runs)
