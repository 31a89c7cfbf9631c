"""Imports go one way only: docs/design/0001-rooms-and-directions.md."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "robench"

DOCUMENT = PACKAGE.parent / "docs" / "design" / "0001-rooms-and-directions.md"


def ranks(block: str) -> dict[str, int]:
    """The line of each room in a block of the document: rooms stand before three or more spaces and a text."""
    lines = enumerate(block.split("\n"))
    return {name: rank for rank, line in lines for name in re.split(r" {3,}", line)[0].split()}


BLOCKS = dict(re.findall(r"<!-- order(?: of (\w+))? -->\n```\n(.*?)\n```", DOCUMENT.read_text(encoding="utf-8"), re.S))
RANK = ranks(BLOCKS.pop(""))
INNER = {outer: ranks(block) for outer, block in BLOCKS.items()}
NO_TORCH = ["robench", "robench.cli.main", "robench.runs.folder", "robench.records.crosscheck", "robench.reporting"]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@functools.cache
def imported_modules(path: Path) -> set[str]:
    """Whole names of modules of robench."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module == "robench"
            names = [f"robench.{alias.name}" for alias in node.names] if whole else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        modules |= {name for name in names if name.startswith("robench.")}
    return modules


def imported_rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(path)}


SOURCES = [path for path in PACKAGE.rglob("*.py") if room(path) not in ("__init__", "__main__")]
PLACES = re.findall(r"`((?:\w+/)*\w+\.py):(\w+)(?:\.(\w+))?`", DOCUMENT.read_text(encoding="utf-8"))
FILES = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", DOCUMENT.read_text(encoding="utf-8").split("## The ways")[1])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_earlier_rooms(path: Path) -> None:
    here = room(path)
    assert here in RANK, f"{here} has no place in the document"
    later = {name for name in imported_rooms(path) - {here} if name != "__version__" and RANK[name] >= RANK[here]}
    assert not later


@pytest.mark.parametrize("outer", INNER)
def test_a_module_imports_only_from_earlier_rooms_of_its_own(outer: str) -> None:
    rank, seen = INNER[outer], set()
    for path in SOURCES:
        inner = path.relative_to(PACKAGE).with_suffix("").parts[1:]
        if room(path) != outer or inner == ("__init__",):
            continue
        seen.add(inner[0])
        parts = [name.split(".")[2:3] or ["__init__"] for name in imported_modules(path) if name.split(".")[1] == outer]
        later = {name for (name,) in parts if name != inner[0] and rank.get(name, len(rank)) >= rank[inner[0]]}
        assert not later, f"{path} imports {later}"
    assert seen == set(rank)


def test_the_document_names_every_room_and_no_other() -> None:
    rooms = {room(path) for path in SOURCES}
    assert set(RANK) == rooms


def arrows() -> set[tuple[str, str]]:
    """Which room imports which other."""
    return {
        (room(path), other) for path in SOURCES for other in imported_rooms(path) & set(RANK) if other != room(path)
    }


def test_the_rooms_have_few_arrows() -> None:
    assert len(arrows()) <= 109, sorted(arrows())


def defined(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Functions and classes by name."""
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize(("file", "name", "method"), PLACES)
def test_the_document_names_places_that_exist(file: str, name: str, method: str) -> None:
    found = defined(ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body)
    assert name in found
    node = found[name]
    assert not method or (isinstance(node, ast.ClassDef) and method in defined(node.body))


@pytest.mark.parametrize("file", FILES)
def test_the_document_names_files_that_exist(file: str) -> None:
    assert (PACKAGE / file).exists() or (PACKAGE.parent / file).exists()


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
