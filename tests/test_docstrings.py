"""Every public function of three or more parameters says what each of them is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "robench"
MANY = 3
RULE = ["trace", "module", "view"]
"""Of every rule of a layer; `lipschitz.trace.walk.walk` says what they are."""


def public_functions(nodes: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Those of a module, and the methods of its public classes, with their whole names."""
    for node in nodes:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield owner + node.name, node


def parameters(node: ast.FunctionDef) -> list[str]:
    given = node.args
    parts = (*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg)
    return [part.arg for part in parts if part is not None and part.arg not in ("self", "cls")]


def is_described(node: ast.FunctionDef) -> bool:
    """Whether there is a section `Args:`; ruff (D417) sees to it that it leaves none out."""
    return "\nArgs:\n" in (ast.get_docstring(node) or "")


def inherited(sources: dict[Path, ast.Module]) -> set[tuple[str, ...]]:
    """Methods that say what their parameters are: those of the same name and parameters elsewhere need not."""
    return {
        (node.name, *parameters(node))
        for tree in sources.values()
        for name, node in public_functions(tree.body)
        if "." in name and is_described(node)
    }


def speaks_by_flags(node: ast.FunctionDef) -> bool:
    """Whether it is given what the options above it read, each with a help text."""
    return any(re.match("click.|joined", ast.unparse(decorator)) for decorator in node.decorator_list)


def test_every_parameter_is_described() -> None:
    sources = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    elsewhere = inherited(sources)
    silent = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path, tree in sources.items()
        for name, node in public_functions(tree.body)
        if len(parameters(node)) >= MANY and not is_described(node)
        if not (speaks_by_flags(node) or parameters(node) == RULE)
        if not ("." in name and (node.name, *parameters(node)) in elsewhere)
    ]
    assert not silent, "these have three parameters or more, and no `Args:`"
