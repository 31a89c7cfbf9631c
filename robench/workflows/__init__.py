"""The commands of robench as functions: names and paths in, run folders and summaries out. The command line calls them.

Every function does one command whole and is resumable: called again with the same arguments it goes on where it
stopped, and called on finished work it only reads it. Each is imported when first asked for, so that what reads run
folders loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robench.workflows.attacking import attack, foresee_attack
    from robench.workflows.auditing import audit
    from robench.workflows.benchmarking import bench, foresee_bench
    from robench.workflows.certifying import certify, foresee_certify
    from robench.workflows.exporting import export
    from robench.workflows.foreseeing import foresee_training
    from robench.workflows.gating import gate, shortfalls
    from robench.workflows.listing import listed
    from robench.workflows.reading import claims, exchange, heading, report, verify
    from robench.workflows.references import DataRef, Execution, ModelRef, Outcome
    from robench.workflows.showing import show
    from robench.workflows.smoothing import certify_smoothed, foresee_smoothed
    from robench.workflows.training import train, train_spec
    from robench.workflows.transport import potential

_MODULES = {
    "attack": "attacking",
    "audit": "auditing",
    "bench": "benchmarking",
    "certify": "certifying",
    "claims": "reading",
    "certify_smoothed": "smoothing",
    "exchange": "reading",
    "export": "exporting",
    "foresee_attack": "attacking",
    "foresee_bench": "benchmarking",
    "foresee_certify": "certifying",
    "foresee_smoothed": "smoothing",
    "foresee_training": "foreseeing",
    "gate": "gating",
    "heading": "reading",
    "listed": "listing",
    "merge": "merging",
    "shortfalls": "gating",
    "show": "showing",
    "report": "reading",
    "verify": "reading",
    "DataRef": "references",
    "Execution": "references",
    "ModelRef": "references",
    "Outcome": "references",
    "train": "training",
    "train_spec": "training",
    "potential": "transport",
}

__all__ = [
    "DataRef",
    "Execution",
    "ModelRef",
    "Outcome",
    "attack",
    "audit",
    "bench",
    "certify",
    "certify_smoothed",
    "claims",
    "exchange",
    "export",
    "foresee_attack",
    "foresee_bench",
    "foresee_certify",
    "foresee_smoothed",
    "foresee_training",
    "gate",
    "heading",
    "listed",
    "merge",
    "potential",
    "report",
    "shortfalls",
    "show",
    "train",
    "train_spec",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module `robench.workflows` has no attribute `{name}`")
    return getattr(importlib.import_module(f"robench.workflows.{_MODULES[name]}"), name)
