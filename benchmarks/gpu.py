"""robench on a GPU beside a plain foolbox script, deel-torchlip and the CPU of the same machine; wall time, in one run.

    python -m benchmarks.gpu --data-dir DIR [--n 2000] [--out FILE.json]

Attack: an hKR net that is trained here for one epoch on MNIST, attacked by the script of `benchmarks/attacks.py` and
by robench, with the same images, radii and batches. Training: median step of the nets of `benchmarks/training.py`.
Certificates: images a second by the size of batches. Start-up: import and a first certificate, in a new process.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

import robench
from benchmarks.attacks import TUNED_CW, robench_attack, script
from benchmarks.training import NETS, Trainer, available
from robench import workflows
from robench.data import Dataset, load
from robench.models import LoadedModel, load_model
from robench.progress import NoProgress
from robench.specs.data import DataSpec

UNITS = {
    "start-up": "seconds",
    "training": "milliseconds a step",
    "certificates": "images a second",
    "attack": "seconds",
}
BATCHES = (500, 2000, 10_000)
START = "import torch, robench; robench.certify(torch.nn.Linear(2, 2).eval(), torch.rand(1, 2), device='{device}')"


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Wall time until the device is done, and what came out."""
    start = time.perf_counter()
    result = run()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def attacks(model: LoadedModel, data: Dataset, batch: int) -> dict[str, Any]:
    """Seconds of robench's attack, certificates and diagnostics included, and of the script's."""
    device = torch.device("cuda")
    ours, found = seconds(lambda: robench_attack(model, data, "paper", {}, batch, device))
    theirs, plain = seconds(lambda: script(model, data, TUNED_CW, batch, device))
    return {
        "robench": ours,
        "foolbox script": theirs,
        "ratio": theirs / ours,
        "violations": found["violations"],
        "robench, passes": found["passes"],
        "foolbox script, passes": plain["passes"],
    }


def steps(net: str, batch: int, count: int) -> dict[str, float]:
    """Median milliseconds of a training step of each library, in turn; the CPU's of robench's polar factor beside."""
    trainers = {name: Trainer(net, name, batch, "cuda") for name in available(net)}
    trainers["robench-polar on the CPU"] = Trainer(net, "robench-polar", batch)
    found: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(count + 3):
        for name, trainer in trainers.items():
            elapsed = trainer.step()
            if turn >= 3:
                found[name].append(1e3 * elapsed)
    return {name: statistics.median(values) for name, values in found.items()}


def certificates(model: LoadedModel, data: Dataset) -> dict[str, float]:
    """Images a second by batch size, and on the CPU."""
    bound = robench.lipschitz_bound(model)
    rates = {}
    for device, batch in (("cpu", BATCHES[0]), *(("cuda", size) for size in BATCHES)):
        run = lambda device=device, batch=batch: robench.certify(  # noqa: E731
            model, data, bound=bound, device=device, batch_size=batch
        )
        run()
        rates[f"{device}, batches of {batch}"] = len(data.labels) / seconds(run)[0]
    return rates


def start_up() -> dict[str, float]:
    """Seconds of a new process that certifies one point."""
    found = {}
    for device in ("cpu", "cuda"):
        elapsed, _ = seconds(
            lambda d=device: subprocess.run([sys.executable, "-c", START.format(device=d)], check=True)
        )
        found[device] = elapsed
    return found


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="folder with MNIST's files")
@click.option("--n", default=2000, show_default=True, help="images attacked")
@click.option("--steps", "count", default=20, show_default=True, help="timed training steps")
@click.option("--only", type=click.Choice(["start-up", "training", "certificates", "attack"]), multiple=True)
@click.option("--out", type=click.Path(path_type=Path), help="write the figures here as well")
def main(data_dir: Path | None, n: int, count: int, only: tuple[str, ...], out: Path | None) -> None:
    """Measure."""
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here; nothing was measured")
    data = DataSpec(name="mnist")
    with tempfile.TemporaryDirectory() as folder:
        spec = workflows.train_spec("hkr", data, data_dir=data_dir, epochs=1)
        epoch, _ = seconds(
            lambda: workflows.train(
                spec, Path(folder) / "hkr", data_dir=data_dir, execution=workflows.Execution(device="cuda")
            )
        )
        model = load_model(str(Path(folder) / "hkr"))
        test = load(data, "test", data_dir=data_dir, progress=NoProgress())
        some = load(data, "test", data_dir=data_dir, limit=n, progress=NoProgress())
        parts: dict[str, Callable[[], Any]] = {
            "start-up": start_up,
            "training": lambda: {net: steps(net, 256, count) for net in NETS},
            "certificates": lambda: certificates(model, test),
            "attack": lambda: attacks(model, some, n),
        }
        figures = {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "machine": platform.machine(),
            "images attacked": n,
            "one epoch of hkr on MNIST with loading and scoring, seconds": epoch,
            **{f"{name}, {UNITS[name]}": run() for name, run in parts.items() if not only or name in only},
        }
    print(json.dumps(figures, indent=2))
    if out is not None:
        out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
