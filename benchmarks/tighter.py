"""Certified accuracy of ordinary ReLU networks by each rule, beside ECLipsE and auto_LiRPA, with time.

    robench train --recipe plain --data mnist --arch dense --epochs 3 --out plain
    OMP_NUM_THREADS=1 python benchmarks/tighter.py plain --data mnist [--limit 200] [--local] [--sdp]

Networks are chains of dense layers and ReLU. `eclipse-nn` (with cvxpy) and `auto_LiRPA` are no dependencies of robench:
what cannot be imported is left out. ECLipsE bounds each pair of classes with the row w_i − w_j as the last layer, and
proves nothing about rounding; its SDP runs on one pair. auto_LiRPA is asked for each image and each ε.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

import robench
from robench.lipschitz import bound_module
from robench.models import LoadedModel

warnings.simplefilter("ignore")
EPS = (0.1, 0.25, 0.5)
Row = tuple[str, float | None, Sequence[float], float]
"""Name, median constant of a pair, certified accuracy at each ε, seconds."""


def rows_of_robench(model: LoadedModel, x: np.ndarray, y: np.ndarray, local: bool) -> Iterator[Row]:
    start = time.perf_counter()
    bound = bound_module(model.module, model.input_shape)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    tables = {"pairwise": bound.pairwise, "scaled": bound.scaled}
    times = {"paper": seconds, "pairwise": seconds, "scaled": time.perf_counter() - start}
    start = time.perf_counter()
    found = robench.certify(model, x, y, bound=bound, rules=["local"] if local else [])
    times["local"] = time.perf_counter() - start
    for rule in found.by_rule:
        rates = [found.certified_accuracy(eps, rule=rule) for eps in EPS]
        yield rule, None if tables.get(rule) is None else median(tables[rule]), rates, times[rule]


def median(table: np.ndarray) -> float:
    return float(np.median(table[np.triu_indices(len(table), 1)]))


def rows_of_eclipse(model: LoadedModel, x: np.ndarray, y: np.ndarray, sdp: bool) -> Iterator[Row]:
    estimator: Any = importlib.import_module("eclipse_nn.LipConstEstimator").LipConstEstimator
    *inner, head = (layer.weight.detach().double() for layer in model.module.modules() if isinstance(layer, nn.Linear))
    logits = model.module.double()(torch.from_numpy(x).double()).detach().numpy()
    model.module.float()

    def constant(i: int, j: int, method: str) -> float:
        return float(estimator(weights=[*inner, (head[i] - head[j])[None]]).estimate(method=method))

    start = time.perf_counter()
    table = np.zeros((len(head), len(head)))
    for i, j in itertools.combinations(range(len(head)), 2):
        table[i, j] = table[j, i] = constant(i, j, "ECLipsE_Fast")
    seconds = time.perf_counter() - start
    predicted = logits.argmax(1)
    gaps = logits[np.arange(len(x)), predicted][:, None] - logits
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = np.where(np.eye(len(head), dtype=bool)[predicted], np.inf, gaps / table[predicted])
    radius = np.where(predicted == y, lengths.min(1), 0.0)
    yield "ECLipsE-Fast, each pair", median(table), [float((radius > eps).mean()) for eps in EPS], seconds
    if sdp:
        start = time.perf_counter()
        found = constant(0, 1, "ECLipsE")
        yield f"ECLipsE (SDP), one pair; Fast has {table[0, 1]:.3f}", found, [], time.perf_counter() - start


def rows_of_lirpa(model: LoadedModel, x: np.ndarray, y: np.ndarray) -> Iterator[Row]:
    lirpa: Any = importlib.import_module("auto_LiRPA")
    norms: Any = importlib.import_module("auto_LiRPA.perturbations")
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    module = nn.Sequential(*model.module.children()).float()
    bounded = lirpa.BoundedModule(module, images[:1])
    classes = model.outputs
    one = torch.eye(classes)
    rates, start = [], time.perf_counter()
    for eps in EPS:
        proven = 0
        for part in torch.split(torch.arange(len(x)), 50):
            differences = one[labels[part]][:, None] - one[None]
            others = ~torch.eye(classes, dtype=torch.bool)[labels[part]]
            rows = differences[others].reshape(len(part), classes - 1, classes)
            point = lirpa.BoundedTensor(images[part], norms.PerturbationLpNorm(norm=2, eps=eps))
            lower, _ = bounded.compute_bounds(x=(point,), C=rows, method="CROWN", bound_upper=False)
            proven += int((lower > 0).all(1).sum())
        rates.append(proven / len(x))
    yield "auto_LiRPA, CROWN, float32", None, rates, time.perf_counter() - start


def shown(rows: Iterator[Row], name: str) -> None:
    try:
        for what, constant, rates, seconds in rows:
            cells = " | ".join(f"{100 * rate:5.1f}" for rate in rates) or " | ".join("     " for _ in EPS)
            size = "        " if constant is None else f"{constant:8.3f}"
            print(f"| {what:45} | {size} | {cells} | {seconds:7.1f} |", flush=True)
    except ImportError as error:
        print(f"| {name}: left out ({error})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--sdp", action="store_true")
    given = parser.parse_args()
    x, y = robench.load_data(given.data, limit=given.limit, data_dir=given.data_dir).arrays()
    for path in given.models:
        model = robench.load_model(path)
        print(f"\n{path}, {len(x)} images of {given.data}")
        print(f"| {'rule':45} | constant | {' | '.join(f'{eps:5}' for eps in EPS)} | seconds |")
        shown(rows_of_robench(model, x, y, given.local), "robench")
        shown(rows_of_eclipse(model, x, y, given.sdp), "eclipse-nn")
        shown(rows_of_lirpa(model, x, y), "auto_LiRPA")


if __name__ == "__main__":
    main()
