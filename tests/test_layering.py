"""Imports go one way only: docs/design/0001-rooms-and-directions.md."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "robench"

DOCUMENT = PACKAGE.parent / "docs" / "design" / "0001-rooms-and-directions.md"


def order() -> list[set[str]]:
    """The lines of the document's block: the rooms stand before two or more spaces and a text."""
    block = DOCUMENT.read_text(encoding="utf-8").split("<!-- order -->\n```\n")[1].split("\n```")[0]
    return [set(re.split(r" {3,}", line)[0].split()) for line in block.split("\n")]


RANK = {name: rank for rank, names in enumerate(order()) for name in names}
NO_TORCH = ["robench", "robench.cli.main", "robench.runs.folder", "robench.records.crosscheck", "robench.reporting"]


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
    assert here in RANK, f"{here} has no place in the document"
    later = {name for name in imported_rooms(path) - {here} if name != "__version__" and RANK[name] >= RANK[here]}
    assert not later


def test_the_document_names_every_room_and_no_other() -> None:
    rooms = {room(path) for path in SOURCES}
    assert set(RANK) == rooms


def test_certificates_and_attacks_do_not_import_each_other() -> None:
    imported = {here: set() for here in ("attacks", "certificates")}
    for path in SOURCES:
        if room(path) in imported:
            imported[room(path)] |= imported_rooms(path)
    assert "certificates" not in imported["attacks"]
    assert "attacks" not in imported["certificates"]


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
