"""A user's Python file, imported as `python FILE.py` would run it, each time anew."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from importlib import machinery
from pathlib import Path
from types import ModuleType

from robench.errors import ModelError

INDIVISIBLE = ("torch", "numpy", "robench")
"""Packages of which a process can hold one copy only."""
_LIBRARIES = (
    *(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")),
    Path(__file__).resolve().parents[2],
)
_roots: set[Path] = set()
_imported: set[str] = set()
"""Modules that came from a user's folder: another file, or an edited one, shall not be given them."""


def is_users(file: str) -> bool:
    """Whether a source file lies in a folder that a model was imported from, and is no installed library."""
    path = Path(file).resolve()
    if any(path.is_relative_to(library) for library in _LIBRARIES):
        return False
    return any(path.is_relative_to(root) for root in _roots)


def source_in(path: Path) -> ast.Module:
    """The parsed file.

    Raises:
        SyntaxError: it is no Python.
        ValueError: nor text.
    """
    return ast.parse(path.read_bytes(), str(path))


@contextlib.contextmanager
def importable(path: Path) -> Iterator[None]:
    """While this holds, a file's neighbours come before everything else, as when the file is run.

    Modules loaded before that have the name of a neighbour (`statistics.py`) are put aside, and back afterwards.

    Raises:
        ModelError: a neighbour has the name of a package that cannot be there twice.
    """
    folder = path.parent
    _forget()
    _roots.add(folder)
    if _hook not in sys.path_hooks:
        sys.path_hooks.insert(0, _hook)
    for entry in [entry for entry in sys.path_importer_cache if Path(entry).is_relative_to(folder)]:
        del sys.path_importer_cache[entry]
    importlib.invalidate_caches()
    aside = _namesakes(folder)
    for name in aside:
        del sys.modules[name]
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        new = {name: module for name, module in sys.modules.items() if name not in before}
        _imported.update(name for name, module in new.items() if is_users(_origin(module)))
        sys.modules.update(aside)


def import_file(path: Path) -> ModuleType:
    """Run a file as a module; to be used within `importable`.

    A file with relative imports becomes part of the package around it, another one a module under its own name, so
    that neighbours which import it, and pickles of its classes, find it.
    """
    package = _package_around(path)
    name = f"{package}.{path.stem}" if package else _free_name(path.stem, path)
    return _run(name, path)


class _FromSource(machinery.SourceFileLoader):
    """Never reads or writes bytecode, which is taken for fresh if size and second of the last change agree."""

    def path_stats(self, path: str) -> dict[str, float]:
        raise OSError("no bytecode is kept")


def _run(name: str, path: Path, folders: list[str] | None = None) -> ModuleType:
    """Run a source file as the module of that name; `folders` are those of a package."""
    loader = _FromSource(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader, submodule_search_locations=folders)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _imported.add(name)
    loader.exec_module(module)
    return module


def _hook(folder: str) -> machinery.FileFinder:
    if not is_users(str(Path(folder) / "x")):
        raise ImportError
    return machinery.FileFinder(
        folder,
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (_FromSource, machinery.SOURCE_SUFFIXES),
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
    )


def _forget() -> None:
    for name in _imported:
        sys.modules.pop(name, None)
    _imported.clear()


def _origin(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or ""


def _namesakes(folder: Path) -> dict[str, ModuleType]:
    """Loaded modules, and their parts, that come from elsewhere and have the name of a neighbour."""
    files = {file.stem for file in folder.glob("*.py")}
    names = files | {file.parent.name for file in folder.glob("*/__init__.py")}
    names = {name for name in names if name in sys.modules and not _lies_in(sys.modules[name], folder)}
    names -= set(sys.builtin_module_names) | {"__main__"}
    for name in names.intersection(INDIVISIBLE):
        raise ModelError(
            f"`{folder / name}` hides the package `{name}`, which the model needs", hint="give it another name"
        )
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}


def _lies_in(module: ModuleType, folder: Path) -> bool:
    return bool(_origin(module)) and Path(_origin(module)).resolve().is_relative_to(folder)


def _package_around(path: Path) -> str | None:
    """Name of the imported package of a file that imports relatively; None for a file that does not.

    Raises:
        ImportError: it imports from above the root of the file system.
    """
    nodes = ast.walk(source_in(path))
    level = max((node.level for node in nodes if isinstance(node, ast.ImportFrom)), default=0)
    if level == 0:
        return None
    inner = next(number for number, folder in enumerate(path.parents) if not (folder / "__init__.py").is_file())
    folders = path.parents[: max(level, inner)]
    if len(folders) == len(path.parents):
        raise ImportError("a relative import leads beyond the root folder")
    sys.path.insert(1, str(folders[-1].parent))
    _roots.add(folders[-1])
    name = ""
    for folder in reversed(folders):
        name = f"{name}.{folder.name}" if name else _free_name(folder.name, folder / "__init__.py")
        if (folder / "__init__.py").is_file():
            _run(name, folder / "__init__.py", [str(folder)])
        else:
            bare = ModuleType(name)
            bare.__path__ = [str(folder)]
            sys.modules[name] = bare
            _imported.add(name)
    return name


def _free_name(name: str, path: Path) -> str:
    """A name that no library has."""
    try:
        taken = name in sys.modules or name in sys.stdlib_module_names
        found = None if taken else importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return name
    elsewhere = found is not None and found.origin is not None and Path(found.origin).resolve() != path
    return f"{name} (a model)" if taken or elsewhere else name
