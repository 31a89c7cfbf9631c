"""Sizes and kinds of arrays that annotations state are checked at every call that a test makes."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook

PACKAGE = Path(__file__).parent.parent / "robench"


def stating() -> list[str]:
    """Names of the modules that state any."""
    paths = [path for path in PACKAGE.rglob("*.py") if "from jaxtyping import" in path.read_text(encoding="utf-8")]
    return sorted(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths)


def check_sizes() -> None:
    """Check them in modules that are imported from now on."""
    install_import_hook(stating(), f"{__name__}.with_sizes")


def with_sizes(function: Any) -> Any:
    """Beartype for arrays alone: mypy checks the other types, and tests may hand in stand-ins."""
    arrays = {name: hint for name, hint in function.__annotations__.items() if _is_of_arrays(hint)}
    function.__annotations__ = arrays
    return beartype(function) if arrays else function


def _is_of_arrays(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(map(_is_of_arrays, typing.get_args(hint)))
