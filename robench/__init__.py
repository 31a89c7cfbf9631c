"""robench: certified radii and attack benchmarks for Lipschitz classifiers, joined and cross-checked.

The functions here take a model and images in memory. `robench.workflows` has the commands as functions, which take
names and paths and keep run folders; they call the same code. Everything is imported when it is first asked for:
`import robench` is quick and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robench import workflows
    from robench.attacks.tensors import AttackResult, attack
    from robench.certificates.certify import certify
    from robench.data import Dataset
    from robench.data.memory import load_data
    from robench.errors import RobenchError
    from robench.lipschitz.bound import LipschitzBound, lipschitz_bound
    from robench.models import LoadedModel, load_model
    from robench.records.certificates import Certificates
    from robench.records.crosscheck import Contradictions, crosscheck
    from robench.records.smoothed import SmoothedCertificates
    from robench.runs.frames import read, read_smoothed
    from robench.smoothing.attack import SmoothedAttack, attack_smoothed
    from robench.smoothing.certify import certify_smoothed
    from robench.training.memory import train

    __version__: str

_HOMES = {
    "AttackResult": "robench.attacks.tensors",
    "Certificates": "robench.records.certificates",
    "Contradictions": "robench.records.crosscheck",
    "Dataset": "robench.data",
    "LipschitzBound": "robench.lipschitz.bound",
    "LoadedModel": "robench.models",
    "RobenchError": "robench.errors",
    "SmoothedAttack": "robench.smoothing.attack",
    "SmoothedCertificates": "robench.records.smoothed",
    "attack": "robench.attacks.tensors",
    "attack_smoothed": "robench.smoothing.attack",
    "certify": "robench.certificates.certify",
    "certify_smoothed": "robench.smoothing.certify",
    "crosscheck": "robench.records.crosscheck",
    "lipschitz_bound": "robench.lipschitz.bound",
    "load_data": "robench.data.memory",
    "load_model": "robench.models",
    "read": "robench.runs.frames",
    "read_smoothed": "robench.runs.frames",
    "train": "robench.training.memory",
}
"""Where each name is defined."""

__all__ = [
    "AttackResult",
    "Certificates",
    "Contradictions",
    "Dataset",
    "LipschitzBound",
    "LoadedModel",
    "RobenchError",
    "SmoothedAttack",
    "SmoothedCertificates",
    "attack",
    "attack_smoothed",
    "certify",
    "certify_smoothed",
    "crosscheck",
    "lipschitz_bound",
    "load_data",
    "load_model",
    "read",
    "read_smoothed",
    "train",
    "workflows",
]


NOT_INSTALLED = "0+unknown"
"""The version of a source tree that is run from a path, as on a machine where nothing can be installed."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata  # a quarter of the time of `robench --help`

        try:
            return metadata.version("robench")
        except metadata.PackageNotFoundError:
            return NOT_INSTALLED
    if name == "workflows":
        return importlib.import_module("robench.workflows")
    if name not in _HOMES:
        raise AttributeError(f"module `robench` has no attribute `{name}`")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
