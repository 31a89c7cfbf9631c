"""A small model, and when two run folders are the same run."""

from __future__ import annotations

import json

NET = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
"""
TIMED = ("seconds", "passes", "budget")


def files(folder):
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if name.name not in (".lock", "effort.jsonl", "manifest.json", "summary.json")}


def untimed(folder):
    summary = json.loads((folder / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in TIMED}


def same(one, other):
    assert files(one) == files(other)
    for name in files(one):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert untimed(one) == untimed(other)
