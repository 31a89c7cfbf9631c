"""How attacks grow over a cluster: a model of the cost, held against simulated nodes (docs/design/0026).

    python -m benchmarks.cluster --nodes 1,2,4,8 RUN...        RUN: attack runs, to fit seconds and passes on

Nodes are those of Ray's `cluster_utils.Cluster`: processes of this machine, one worker each. A part of the work is a
stand-in: it sleeps as long as a part of the fitted run takes, takes as many bytes and gives as many back. Sleeping
needs no core, so that more nodes than cores can be looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robench.engines.engine import Engine, results
from robench.engines.local import Local
from robench.engines.ray_cluster import RayCluster
from robench.workflows.parts import LEAST

ROOT = Path(__file__).resolve().parents[1]
IMAGE, ADVERSARIAL, RECORD = 3 * 32 * 32, 4 * 3 * 32 * 32, 800
"""Bytes of an image of CIFAR-10, of an adversarial of it, and of a record."""
WORKERS = (1, 10, 50, 100, 500, 1000)
MODELS, IMAGES = 50, 10_000


@dataclass(frozen=True)
class StandIn:
    """Work that sleeps.

    Fields:
        images: of each part.
        seconds: of each part.
    """

    images: int
    seconds: float
    gpu: bool = False

    def start(self) -> Callable[[Any], Any]:
        """Nothing is loaded."""
        return self.done

    def done(self, part: Any) -> Any:
        """As many bytes as the adversarials and records of the part."""
        time.sleep(self.seconds)
        return np.zeros(self.images * (ADVERSARIAL + RECORD), dtype=np.uint8)


def streamed(engine: Engine, work: StandIn, each: int) -> tuple[int, float]:
    """Workers, and the wall-clock seconds of so many parts for each of them, after all have started."""
    with engine.workers(work) as workers:
        part = np.zeros(work.images * IMAGE, dtype=np.uint8)
        list(results(workers, [part] * workers.count * 2))  # all processes have started
        before = time.perf_counter()
        list(results(workers, [part] * workers.count * each))
        return workers.count, time.perf_counter() - before


def simulated(nodes: Sequence[int], work: StandIn, each: int) -> list[tuple[int, float]]:
    """Workers and wall-clock seconds on clusters of so many nodes."""
    import ray
    from ray.cluster_utils import Cluster

    found = []
    for count in nodes:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        for _ in range(count - 1):
            cluster.add_node(num_cpus=1)
        found.append(streamed(RayCluster(address=cluster.address), work, each))
        ray.shutdown()
        cluster.shutdown()
    return found


def fitted(run: Path) -> dict[str, Any]:
    """Seconds an image and a pass of an attack run, and for each attack the share of images that came to it."""
    summary = json.loads((run / "summary.json").read_text())
    passes = summary["passes"]["forward"] + summary["passes"]["backward"]
    attacks = {
        name: (item["given"] / summary["n"], (item["forward"] + item["backward"]) / max(1, item["given"]))
        for name, item in summary["budget"].items()
    }
    return {
        "run": run.name,
        "eps": len(summary["n_robust"]["combined"]),
        "second_an_image": summary["seconds"] / summary["n"],
        "microseconds_a_pass": 1e6 * summary["seconds"] / max(1, passes),
        "attacks": attacks,
    }


def predicted(workers: int, second: float, driver: float, start: float) -> float:
    """Seconds of one model: all workers start, share the images and wait for the last part, if the driver keeps up.

    Args:
        workers: how many.
        second: of an image.
        driver: seconds of the driver for a part.
        start: seconds until workers have loaded, and of the end.
    """
    return start + max(IMAGES * second / workers + LEAST * second, IMAGES / LEAST * driver)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--nodes", default="1,2,4,8")
    parser.add_argument("--each", type=int, default=12, help="parts for each worker")
    parser.add_argument("--part", type=int, default=64, help="images of a part")
    parser.add_argument("--start", type=float, default=10.0, help="seconds until workers have loaded, and of the end")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

    fits = [fitted(run) for run in options.runs]
    print("| run | ε | ms an image | µs a pass | attacks: share of images, passes each |\n|---|---|---|---|---|")
    for fit in fits:
        shares = "; ".join(f"{name} {share:.0%}, {passes:.0f}" for name, (share, passes) in fit["attacks"].items())
        ms = 1000 * fit["second_an_image"]
        print(f"| {fit['run']} | {fit['eps']} | {ms:.1f} | {fit['microseconds_a_pass']:.1f} | {shares} |")
    second = float(np.mean([fit["second_an_image"] for fit in fits]))

    _, idle = streamed(Local(1), StandIn(LEAST, 0.0), 400)
    ((_, spent),) = simulated([1], StandIn(LEAST, 0.0), 400)
    driver = spent / 400
    print(f"\nDriver and transport a part: {1000 * idle / 400:.1f} ms local, {1000 * driver:.1f} ms Ray.")

    work = StandIn(options.part, second * options.part)
    print(
        f"\n| workers | parts of {work.seconds:.2f} s | predicted s | measured s | efficiency |\n|---|---|---|---|---|"
    )
    for workers, spent in simulated([int(text) for text in options.nodes.split(",")], work, options.each):
        ideal = options.each * work.seconds
        guess = max(ideal + driver, workers * options.each * driver)
        print(f"| {workers} | {workers * options.each} | {guess:.2f} | {spent:.2f} | {ideal / spent:.3f} |")

    print(f"\n{MODELS} models on {IMAGES} images each, in hours:")
    print("\n| workers | one model after another | a driver for each model |\n|---|---|---|")
    for workers in WORKERS:
        one = MODELS * predicted(workers, second, driver, options.start)
        many = one if workers < MODELS else predicted(workers // MODELS, second, driver, options.start)
        print(f"| {workers} | {one / 3600:.2f} | {many / 3600:.2f} |")


if __name__ == "__main__":
    main()
