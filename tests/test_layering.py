"""Imports go one way only: docs/design/0001-rooms-and-directions.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "robench"

ORDER = [
    {"errors"},
    {"numerics", "progress", "intervals", "rounding", "predictions"},
    {"specs"},
    {"shapes"},
    {"records", "run_shapes"},
    {"runs"},
    {"witnesses", "crosscheck", "summaries", "sparing", "data", "transport"},
    {"curves"},
    {"budget"},
    {"evaluations"},
    {"tables"},
    {"plots"},
    {"reporting"},
    {"devices"},
    {"layers", "losses", "architectures"},
    {"models", "recipes"},
    {"checkpoint"},
    {"export", "training"},
    {"lipschitz"},
    {"deployment"},
    {"certificates", "potential"},
    {"attacks", "diagnostics"},
    {"reexecution"},
    {"api"},
    {"bench"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
NO_TORCH = ["robench", "robench.cli.main", "robench.runs", "robench.records", "robench.reporting", "robench.crosscheck"]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module == "robench"
            names = [f"robench.{alias.name}" for alias in node.names] if whole else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("robench.")}
    return rooms


SOURCES = [path for path in PACKAGE.rglob("*.py") if room(path) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_earlier_rooms(path: Path) -> None:
    here = room(path)
    assert here in RANK, f"{here} has no place in ORDER"
    later = {name for name in imported_rooms(path) - {here} if name != "__version__" and RANK[name] > RANK[here]}
    assert not later


def test_certify_and_attacks_do_not_import_each_other() -> None:
    for path in SOURCES:
        if room(path) == "attacks":
            assert "certificates" not in imported_rooms(path)
        if room(path) == "certificates":
            assert "attacks" not in imported_rooms(path)


@pytest.mark.parametrize("module", NO_TORCH)
def test_the_reading_half_and_the_help_load_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_help_of_every_command_loads_no_torch() -> None:
    code = (
        "import sys; from robench.cli.main import COMMANDS, run\n"
        "codes = [run(['--help'])] + [run([name, '--help']) for name in COMMANDS]\n"
        "sys.exit(any(codes) or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
