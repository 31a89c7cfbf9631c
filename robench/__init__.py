"""robench: certified radii and attack benchmarks for Lipschitz classifiers, joined and cross-checked.

`attack` takes a model and images in memory. The other functions below are the commands, on names and paths; their
`attack` is `robench.workflows.attack`. All are imported when first asked for: `import robench` is quick and loads no
torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robench.attacks.tensors import AttackResult, attack
    from robench.errors import RobenchError
    from robench.runs.frames import read
    from robench.workflows import (
        DataRef,
        Execution,
        ModelRef,
        Outcome,
        audit,
        certify,
        potential,
        report,
        train,
        train_spec,
        verify,
    )

    __version__: str

_ROOMS = {
    "AttackResult": "robench.attacks.tensors",
    "attack": "robench.attacks.tensors",
    "read": "robench.runs.frames",
    "RobenchError": "robench.errors",
}
"""Where names come from that are not of `robench.workflows`."""

__all__ = [
    "AttackResult",
    "DataRef",
    "Execution",
    "ModelRef",
    "Outcome",
    "RobenchError",
    "attack",
    "audit",
    "certify",
    "potential",
    "read",
    "report",
    "train",
    "train_spec",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # a quarter of the time of `robench --help`

        return version("robench")
    if name not in __all__:
        raise AttributeError(f"module `robench` has no attribute `{name}`")
    return getattr(importlib.import_module(_ROOMS.get(name, "robench.workflows")), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
