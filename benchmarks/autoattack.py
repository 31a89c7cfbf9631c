"""`--suite autoattack` beside the reference implementation, pyautoattack's `standard` version, at one ε.

    pip install pyautoattack
    python benchmarks/autoattack.py MODEL [MODEL ...] --eps 1.5 --data mnist --data-dir DIR [--n 200]

Both sides get the same model, images and ε, and run one after the other. robench moves what it finds to the boundary
before it is judged (a line search in float64, and boundary refinement without --full), and its certificates answer some
images beforehand; so it may find more, not less. Printed are the images that stand, which of them only one side broke,
and the CPU time of each side.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from pyautoattack import AutoAttack

from robench.attacks.classifier import single_precision, two_logits
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
from robench.records.record import AttackRecord, CertifyRecord
from robench.specs.data import DataSpec
from robench.specs.epsilon import epsilon_value
from robench.specs.evaluation import AttackSpec

CPU = torch.device("cpu")


def reference(model: LoadedModel, data: Dataset, epsilon: float) -> set[int]:
    """Indices of the images that stand against pyautoattack."""
    module = single_precision(model.module, CPU)
    everything = slice(0, len(data.labels))
    x, y = torch.from_numpy(data.batch(everything)), torch.from_numpy(data.labels)
    attack = AutoAttack(lambda z: two_logits(module(z)), norm="L2", eps=epsilon, version="standard", seed=0)
    points, _ = attack.run_standard_evaluation(x, y, batch_size=len(x))
    with torch.no_grad():
        stands = two_logits(module(points)).argmax(dim=1) == y
    return set(data.index[stands.numpy()].tolist())


def robench_records(model: LoadedModel, data: Dataset, eps: str, *, full: bool) -> list[AttackRecord]:
    """The records of `robench attack --suite autoattack`."""
    spec = AttackSpec(data=DataSpec(name=data.name), eps=(eps,), suite="autoattack", full=full)
    certificates: dict[int, CertifyRecord] = {}
    try:
        bounds = bound_module(model.module, model.input_shape)
        found = certify_records(model, bounds, data, deploy_dtype="float64", batch_size=500, device=CPU)
        certificates = {record.index: record for record in found}
    except BoundError as error:
        print(f"no certificates: {error.message}")
    radii = certified_radii(data.index, certificates)
    plan = planned(spec, data.bounds)
    batches = attack_batches(model, data, radii, plan, batch_size=500, device=CPU, passes=PassCounter())
    return [record for batch in batches for record in batch.records()]


def compare(name: str, data: Dataset, eps: str, *, full: bool) -> None:
    """Run both sides on one model, and print."""
    model, epsilon = load_model(name), epsilon_value(eps)
    start = time.process_time()
    theirs = reference(model, data, epsilon)
    middle = time.process_time()
    records = robench_records(model, data, eps, full=full)
    end = time.process_time()
    ours = {record.index for record in records if record.robust_at(epsilon)}
    print(f"{name}: of {len(records)} images at ε = {eps}, pyautoattack leaves {len(theirs)}, robench {len(ours)}")
    print(f"  broken by pyautoattack alone: {sorted(ours - theirs)}; by robench alone: {sorted(theirs - ours)}")
    print(f"  CPU seconds: pyautoattack {middle - start:.0f}, robench {end - middle:.0f}")
    for attack in records[0].attacks:
        given, broke = (sum(told) for told in zip(
            *((record.given_to(attack), record.broken_by(attack, epsilon)) for record in records), strict=True
        ))  # fmt: skip
        print(f"  {attack}: broke {broke} of {given}", flush=True)


def main() -> None:
    """Compare on each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--eps", required=True)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--full", action="store_true", help="every attack on every image that is not certified")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = DataSpec(name=arguments.data)
    data = load(spec, "test", data_dir=arguments.data_dir, limit=arguments.n, progress=NoProgress())
    for name in arguments.models:
        compare(name, data, arguments.eps, full=arguments.full)


if __name__ == "__main__":
    main()
