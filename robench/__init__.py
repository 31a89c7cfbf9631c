"""robench: certified radii and attack benchmarks for Lipschitz classifiers, joined and cross-checked.

The functions below are robench's commands; they are imported when first asked for, so that `import robench` is quick
and loads no torch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robench.api import (
        DataRef,
        Execution,
        ModelRef,
        Outcome,
        attack,
        audit,
        certify,
        potential,
        report,
        train,
        train_spec,
        verify,
    )
    from robench.errors import RobenchError

__version__ = version("robench")

__all__ = [
    "DataRef",
    "Execution",
    "ModelRef",
    "Outcome",
    "RobenchError",
    "attack",
    "audit",
    "certify",
    "potential",
    "report",
    "train",
    "train_spec",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module `robench` has no attribute `{name}`")
    room = "robench.errors" if name == "RobenchError" else "robench.api"
    return getattr(importlib.import_module(room), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
