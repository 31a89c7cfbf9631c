"""The paper's attack protocol, by a plain foolbox script and by robench: time, passes, accuracy at each ε.

    python benchmarks/attacks.py MODEL [MODEL ...] --data mnist --data-dir DIR [--n 500] [--default-cw] [--repeat 3]

The script is what a careful user writes from foolbox's examples: frozen exported model in eval mode, one logit as
[-f/2, f/2], every attack on every image at every ε, success if any attack succeeds. Both sides get the same model,
images, ε and threads, in turn; robench runs a suite with its own options (`--same-options`: the script's). Its time
includes its audit and certificates, and is given without and with the diagnostics that `robench attack` adds (it
repeats attacks with twice the steps on 5 % of the images; the script has nothing like it). Time is CPU time of the
process (`process_time`), so that a shared machine does not blur it; wall time is shown beside it. Start-up (imports,
loading) is measured once and counts for both sides in the ratio of whole processes; it is robench's, the script's
would be a little less.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foolbox
import numpy as np
import torch
from torch import Tensor, nn

from robench.attacks.diagnostics import diagnose
from robench.attacks.ensemble import attack_batches
from robench.attacks.passes import PassCounter
from robench.attacks.plan import planned
from robench.certificates.certify import certify_records
from robench.data import Dataset, load
from robench.errors import BoundError
from robench.lipschitz import bound_module
from robench.models import LoadedModel, load_model
from robench.progress import NoProgress
from robench.records.certificates import certified_radii
from robench.specs.data import DataSpec
from robench.specs.evaluation import AttackSpec, SuiteName
from robench.statistics.attacked import attack_summary

CPU = torch.device("cpu")
EPS = ("0.25", "0.5", "0.75", "1", "1.25", "1.5", "1.75", "2", "2.25", "2.5", "2.75", "3")
TUNED_CW = {"binary_search_steps": 3, "steps": 300, "stepsize": 0.05, "initial_const": 10.0}
FOOLBOX_PGD = {"steps": 50, "rel_stepsize": 0.025, "random_start": True}
FOOLBOX_CW = {"binary_search_steps": 9, "steps": 10000, "stepsize": 0.01, "initial_const": 0.001}


class Logits(nn.Module):
    """The script's model: one logit as two; counts passes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.forward_passes = self.backward_passes = 0

    def forward(self, x: Tensor) -> Tensor:
        """Count, then evaluate."""
        self.forward_passes += len(x)
        self.backward_passes += len(x) if x.requires_grad else 0
        f = self.module(x)
        return torch.cat([-f / 2, f / 2], dim=1) if f.shape[1] == 1 else f


def script(
    model: LoadedModel, data: Dataset, cw: dict[str, Any], batch: int = 100, device: torch.device = CPU
) -> dict[str, Any]:
    """Every attack on every image at every ε."""
    torch.manual_seed(0)
    module = Logits(copy.deepcopy(model.module)).to(device).eval().requires_grad_(False)
    target = foolbox.PyTorchModel(module, bounds=(0, 1), device=device)
    attacks = {
        "fgsm": foolbox.attacks.L2FastGradientAttack(),
        "pgd": foolbox.attacks.L2ProjectedGradientDescentAttack(),
        "deepfool": foolbox.attacks.L2DeepFoolAttack(),
        "cw": foolbox.attacks.L2CarliniWagnerAttack(**cw),
    }
    epsilons = [float(text) for text in EPS]
    success: dict[str, list[Tensor]] = {name: [] for name in attacks}
    for start in range(0, len(data.labels), batch):
        rows = slice(start, start + batch)
        x, y = torch.from_numpy(data.batch(rows)).to(device), torch.from_numpy(data.labels[rows]).to(device)
        for name, attack in attacks.items():
            _, _, fooled = attack(target, x, y, epsilons=epsilons)
            success[name].append(fooled.cpu())
    tables = {name: torch.cat(parts, dim=1) for name, parts in success.items()}
    tables["combined"] = torch.stack(list(tables.values())).any(dim=0)
    robust = {name: dict(zip(EPS, (~table).sum(dim=1).tolist(), strict=True)) for name, table in tables.items()}
    return {
        "n_robust": robust,
        "passes": {"forward": module.forward_passes, "backward": module.backward_passes},
    }


def robench_attack(
    model: LoadedModel,
    data: Dataset,
    suite: SuiteName,
    options: dict[str, dict[str, Any]],
    batch: int = 500,
    device: torch.device = CPU,
) -> dict[str, Any]:
    """What `robench attack` computes: certificates, verified attacks, crosscheck; then the diagnostics."""
    start = time.process_time()
    spec = AttackSpec(data=DataSpec(name=data.name), eps=EPS, suite=suite, attacks=options)
    certificates = {}
    try:
        bounds = bound_module(model.module, model.input_shape)
        found = certify_records(model, bounds, data, deploy_dtype="float64", batch_size=500, device=device)
        certificates = {record.index: record for record in found}
    except BoundError as error:
        print(f"no certificates: {error.message}")
    radii = certified_radii(data.index, certificates)
    plan, passes = planned(spec, data.bounds), PassCounter()
    batches = attack_batches(model, data, radii, plan, batch_size=batch, device=device, passes=passes)
    records = [record for found in batches for record in found.records()]
    summary = attack_summary(
        records, EPS, full=False, audited=bool(certificates), certificates=list(certificates.values())
    )
    answered = time.process_time() - start
    flags = diagnose(model, data, records, radii, spec, batch_size=batch, device=device)
    return {
        **summary,
        "passes": passes.to_dict(),
        "cpu_seconds_to_the_answer": answered,
        "flags": [flag.name for flag in flags],
    }


def timed(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = run()
    return {**result, "cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--default-cw", action="store_true", help="foolbox's own CW options")
    parser.add_argument("--suite", choices=("paper", "strong"), default="paper")
    parser.add_argument("--same-options", action="store_true", help="robench with the script's attacks and options")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cw = FOOLBOX_CW if arguments.default_cw else TUNED_CW
    same = {"fgsm": {}, "pgd": FOOLBOX_PGD, "deepfool": {}, "cw": cw}
    options = same if arguments.same_options else {}
    startup = time.process_time()
    for name in arguments.models:
        model = load_model(name)
        data = load(
            DataSpec(name=arguments.data), "test", data_dir=arguments.data_dir, limit=arguments.n, progress=NoProgress()
        )
        for _ in range(arguments.repeat):
            ours = timed(lambda model=model, data=data: robench_attack(model, data, arguments.suite, options))
            theirs = timed(lambda model=model, data=data: script(model, data, cw))
            show(name, ours, theirs, startup)


def show(name: str, ours: dict[str, Any], theirs: dict[str, Any], startup: float) -> None:
    shown = ("cpu_seconds_to_the_answer", "cpu_seconds", "wall_seconds", "passes", "flags")
    for side, result in (("script", theirs), ("robench", ours)):
        print(name, side, json.dumps({key: result[key] for key in shown if key in result}))
        for attack, row in result["n_robust"].items():
            print(f"  {attack:9s}", *(f"{count:4d}" for count in row.values()))
    print(
        "  certified",
        *(f"{count:4d}" for count in ours["n_certified"]["pairwise"].values()),
        f"violations {ours['violations']}",
    )
    gap = np.array(list(ours["n_robust"]["combined"].values())) - np.array(
        list(theirs["n_robust"]["combined"].values())
    )
    ratio, whole = (theirs["cpu_seconds"] / ours[key] for key in ("cpu_seconds_to_the_answer", "cpu_seconds"))
    process = (startup + theirs["cpu_seconds"]) / (startup + ours["cpu_seconds_to_the_answer"])
    print(f"{name}: {ratio:.1f} times less CPU time, {whole:.1f} with diagnostics; as whole processes {process:.1f}")
    print(f"{name}: start-up {startup:.1f} s of CPU on either side")
    print(f"{name}: combined minus script's, images at each ε: {gap.tolist()}")


if __name__ == "__main__":
    main()
