"""Sound inputs, tiny, which the fuzz damages: built once a session."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.cli.conftest import invoke
from tests.data.formats import write_celeba, write_cifar, write_class_folders, write_idx_set

LAYERS = [{"type": "dense", "units": 6}, {"type": "activation", "kind": "groupsort2"}, {"type": "head"}]
NET = "import torch\ndef make():\n    return torch.nn.Sequential({layers})\n"
NET_LAYERS = "torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)"


@dataclass(frozen=True)
class Seeds:
    root: Path

    @property
    def npz(self) -> Path:
        return self.root / "points.npz"

    @property
    def model(self) -> Path:
        return self.root / "model"

    def files(self, part: str) -> list[Path]:
        return sorted(path for path in (self.root / part).rglob("*") if path.is_file() and path.name != ".lock")


def arrays():
    random = np.random.default_rng(0)
    x, y = random.random((40, 4)).astype(np.float32), np.arange(40) % 3
    return {"x_train": x, "y_train": y, "x_test": x[:12], "y_test": y[:12]}


def build(root: Path) -> Seeds:
    seeds = Seeds(root)
    np.savez(seeds.npz, **arrays())
    (root / "arch.json").write_text(json.dumps({"layers": LAYERS}))
    data = f"npz:{seeds.npz}"
    base = ("train", "--recipe", "gnp-hinge", "--data", data, "--arch", root / "arch.json", "--epochs", 1)
    assert invoke(*base, "--out", seeds.model).code == 0
    for command, extra in (("certify", ()), ("attack", ("--attack", "fgsm"))):
        out = root / "runs" / command
        result = invoke(command, seeds.model, "--data", data, "--eps", "0.1", "--out", out, *extra)
        assert result.code == 0, result.stderr
    write_idx_set(root / "idx" / "raw", train=12, test=5)
    write_idx_set(root / "idx" / "packed", train=12, test=5, packed=True)
    write_cifar(root / "cifar", per_batch=2, test=2)
    write_celeba(root / "celeba", [True, False] * 6)
    for name, suffix in (("png", ".png"), ("jpg", ".jpg")):
        for split in ("train", "test"):
            write_class_folders(root / name / split, {"a": 1, "b": 1}, suffix=suffix, shape=(6, 5, 3))
    (root / "net.py").write_text(NET.format(layers=NET_LAYERS))
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)).eval()
    save_file(net.state_dict(), root / "net.safetensors")
    torch.save(net.state_dict(), root / "net.pt")
    torch.save({"model": net.state_dict(), "epoch": 3}, root / "net.pth", _use_new_zipfile_serialization=False)
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    program = torch.export.export(net, (torch.zeros(2, 4),), dynamic_shapes=(batch,))
    torch.export.save(program, root / "net.pt2")
    return seeds
