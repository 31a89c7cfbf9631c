"""Time and memory of one training step (forward, backward, update) of one architecture with different layers.

    python benchmarks/training.py --net dense --batch 128

In turn, step by step, so that a busy machine slows all of them alike: robench's constraints, deel-torchlip 1.0.5 and
orthogonium where installed, the same net without constraint (same activations and pooling), and without constraint
with ReLU and max pooling. Ratios are of medians.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from robench.layers import GroupSort2, L2NormPool2d, constrain_conv, constrain_head, constrain_linear

Build = Callable[..., nn.Module]
NETS: dict[str, list[int | str]] = {
    "dense": [512, 512, 256],
    "conv": ["c32", "c32", "P", "c64", "c64", "P", 256, 128],
}
CONSTRAINTS = ("polar", "bjorck", "spectral")


def library(name: str) -> dict[str, Build]:
    """How each library builds a layer: conv(in, out, side), dense(in, out), head(in), act(), pool()."""
    if name == "torchlip":
        from deel import torchlip

        return {
            "conv": lambda i, o, side: torchlip.SpectralConv2d(i, o, 3, padding=1),
            "dense": torchlip.SpectralLinear,
            "head": lambda i: torchlip.FrobeniusLinear(i, 10),
            "act": torchlip.GroupSort2,
            "pool": lambda: torchlip.ScaledL2NormPool2d((2, 2)),
        }
    if name == "orthogonium":
        from orthogonium.layers import AdaptiveOrthoConv2d, OrthoLinear

        return {
            **library("unconstrained"),
            "conv": lambda i, o, side: AdaptiveOrthoConv2d(i, o, 3, padding=1, padding_mode="zeros"),
            "dense": OrthoLinear,
        }
    plain: dict[str, Build] = {
        "conv": lambda i, o, side: nn.Conv2d(i, o, 3, padding=1),
        "dense": nn.Linear,
        "head": lambda i: nn.Linear(i, 10),
        "act": GroupSort2,
        "pool": lambda: L2NormPool2d(2),
    }
    if name == "unconstrained":
        return plain
    if name == "unconstrained-relu":
        return {**plain, "act": nn.ReLU, "pool": lambda: nn.MaxPool2d(2)}
    constraint: Any = name.removeprefix("robench-").removesuffix("-conv")
    scheme: Any = "orthogonal" if name.endswith("-conv") else "strict"
    return {
        **plain,
        "conv": lambda i, o, side: constrain_conv(nn.Conv2d(i, o, 3, padding=1), constraint, scheme, (side, side)),
        "dense": lambda i, o: constrain_linear(nn.Linear(i, o), constraint),
        "head": lambda i: constrain_head(nn.Linear(i, 10), "unit_rows", constraint),
    }


def build(net: str, name: str) -> nn.Sequential:
    """The architecture on 28 x 28 images with one library's layers."""
    torch.manual_seed(0)
    parts = library(name)
    layers: list[nn.Module] = [] if net == "conv" else [nn.Flatten()]
    width, side, flat = (1, 28, False) if net == "conv" else (784, 1, True)
    for item in NETS[net]:
        if item == "P":
            layers.append(parts["pool"]())
            side //= 2
            continue
        if isinstance(item, str):
            out = int(item[1:])
            layers.append(parts["conv"](width, out, side))
        else:
            if not flat:
                layers.append(nn.Flatten())
                width, flat = width * side * side, True
            out = item
            layers.append(parts["dense"](width, out))
        layers.append(parts["act"]())
        width = out
    return nn.Sequential(*layers, parts["head"](width))


class Trainer:
    """One network and its optimiser, stepped one batch at a time on fixed random images."""

    def __init__(self, net: str, name: str, batch: int, device: str = "cpu") -> None:
        self.model = build(net, name).to(device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.rand(batch, 1, 28, 28, generator=generator).to(device)
        self.labels = torch.randint(10, (batch,), generator=generator).to(device)

    def step(self) -> float:
        """Seconds of one training step."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        nn.functional.multi_margin_loss(self.model(self.inputs), self.labels).backward()
        self.optimizer.step()
        if self.inputs.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    @torch.no_grad()
    def deviation(self) -> float:
        """Largest distance from 1 of a singular value of a dense body layer after a last reading in training mode.

        Convolutions are left out: their singular values spread under zero padding, whatever the library.
        """
        body = [layer for layer in list(self.model)[:-1] if isinstance(layer, nn.Linear)]
        self.model(self.inputs)
        values = [torch.linalg.svdvals(layer.weight.detach().double()) for layer in body]
        return float((torch.cat(values) - 1).abs().max())


def peak_memory(net: str, name: str, batch: int, threads: int) -> float:
    """Mebibytes of peak resident memory of three steps, in a process of its own, over those before the network."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory_in_this_process, (net, name, batch, threads))


def _memory_in_this_process(net: str, name: str, batch: int, threads: int) -> float:
    torch.set_num_threads(threads)
    library(name)
    before = _peak_kib()
    trainer = Trainer(net, name, batch)
    for _ in range(3):
        trainer.step()
    return (_peak_kib() - before) / 1024


def _peak_kib() -> int:
    """Peak resident memory of this process; Linux's ru_maxrss would include that of the process it was started by."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def available(net: str) -> list[str]:
    """Names of what can be compared on this net with what is installed."""
    names = ["unconstrained", "unconstrained-relu", *(f"robench-{constraint}" for constraint in CONSTRAINTS)]
    if net == "conv":
        names.append("robench-polar-conv")
    names += ["torchlip"] if importlib.util.find_spec("deel") else []
    return names + (["orthogonium"] if importlib.util.find_spec("orthogonium") else [])


@click.command()
@click.option("--net", type=click.Choice(list(NETS)), default="dense", show_default=True)
@click.option("--batch", default=128, show_default=True, help="images in a batch")
@click.option("--steps", default=20, show_default=True, help="timed steps of each network")
@click.option("--threads", default=2, show_default=True)
@click.option("--only", multiple=True, help="compare these only (repeatable)")
@click.option("--memory/--no-memory", default=True, show_default=True, help="measure peak memory, in fresh processes")
@click.option("--json", "out", type=click.Path(path_type=Path), help="write the figures here as well")
def main(net: str, batch: int, steps: int, threads: int, only: tuple[str, ...], memory: bool, out: Path | None) -> None:
    """Compare the training steps of one net with different layers."""
    torch.set_num_threads(threads)
    names = [name for name in available(net) if not only or name in only]
    trainers = {name: Trainer(net, name, batch) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(steps + 3):
        for name, trainer in trainers.items():
            elapsed = trainer.step()
            if turn >= 3:
                seconds[name].append(elapsed)
    rows = {
        name: {
            "milliseconds": 1e3 * statistics.median(seconds[name]),
            "deviation": trainers[name].deviation(),
            "peak_mib": peak_memory(net, name, batch, threads) if memory else None,
        }
        for name in names
    }
    show(f"{net}, batch {batch}, {threads} threads, median of {steps}", rows)
    if out is not None:
        setting = {"net": net, "batch": batch, "steps": steps, "threads": threads}
        about = {"torch": torch.__version__, "machine": platform.processor() or platform.machine()}
        out.write_text(json.dumps({**setting, **about, "results": rows}, indent=2) + "\n")


def show(title: str, rows: dict[str, dict[str, float | None]]) -> None:
    """Print the table, with ratios to the unconstrained twin and to torchlip."""
    table = Table("layers", "ms", "/ unconstrained", "/ torchlip", "peak MiB", "max |s - 1|", title=title)
    references = [rows.get(name, {}).get("milliseconds") for name in ("unconstrained", "torchlip")]
    for name, row in rows.items():
        time_ms = row["milliseconds"] or 0.0
        ratios = [f"{time_ms / reference:.2f}" if reference else "-" for reference in references]
        peak = "-" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        table.add_row(name, f"{time_ms:.1f}", *ratios, peak, f"{row['deviation']:.1e}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
