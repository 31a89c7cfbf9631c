"""A digest of the source files that a factory runs: its own, and those below its folder that it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path


def source_digest(file: Path) -> str:
    """SHA-256 of a Python file and of the files below its folder that it imports, directly or not."""
    root = file.resolve().parent
    digest = hashlib.sha256(_content(file))
    for path in sorted(path for path in _neighbours(file.resolve(), root) if path.is_relative_to(root)):
        content = _content(path)
        digest.update(f"\n{path.relative_to(root).as_posix()} {len(content)}\n".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def _content(file: Path) -> bytes:
    """The bytes of a file; none where it cannot be read, and so was not run."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _neighbours(file: Path, root: Path) -> set[Path]:
    found: set[Path] = set()
    queue = [file]
    while queue:
        new = set(_imported(queue.pop(), root)) - found - {file}
        found |= new
        queue.extend(new)
    return found


def _imported(file: Path, root: Path) -> Iterator[Path]:
    """The files below a folder that a file names in its import statements, wherever these stand."""
    try:
        tree = ast.parse(_content(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(root, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            start = root if not node.level else file.parents[min(node.level, len(file.parents)) - 1]
            parts = (node.module or "").split(".") if node.module else []
            for alias in node.names:
                yield from _files(start, [*parts, alias.name])


def _files(start: Path, parts: list[str]) -> Iterator[Path]:
    """The files that an import of a dotted name runs."""
    for length in range(1, len(parts) + 1):
        place = start.joinpath(*parts[:length])
        for path in (place.with_name(place.name + ".py"), place / "__init__.py"):
            if path.is_file():
                yield path
    if (start / "__init__.py").is_file():
        yield start / "__init__.py"
