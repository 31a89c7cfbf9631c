"""Certified accuracy of ordinary ReLU networks by each rule, beside ECLipsE and auto_LiRPA, with time.

    robench train --recipe plain --data mnist --arch dense --epochs 3 --seed 0 --out plain
    (the same with adv and --epochs 2, and with hkr)
    python benchmarks/tighter.py plain adv hkr --local [--limit 200] [--eps E ...] [--sdp] [--lirpa PYTHON] [--out FILE]

`eclipse-nn` (with cvxpy) and `auto_LiRPA` are no dependencies; what cannot be imported is left out. They take chains
of dense layers and ReLU. ECLipsE bounds each pair of classes with w_i − w_j as the last layer, and proves
nothing about rounding; its SDP runs on one pair. auto_LiRPA is asked for each image and each ε, by the Python of
`--lirpa` (see lirpa.py). Seconds are CPU time.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
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
HEADER = """# Certified accuracy by each rule, beside other libraries

Made by `benchmarks/tighter.py` on the first {images} test images of {data}, one thread. *constant*: the median over
pairs of classes. Then % of images that are certified at each ε, and seconds of CPU time. ECLipsE and auto_LiRPA prove
nothing of rounding errors, and robench does. `local` and auto_LiRPA look at each image, the others at the network."""


class LeftOut(Exception):
    """Why another library is not compared."""


def rows_of_robench(
    model: LoadedModel, x: np.ndarray, y: np.ndarray, local: bool, asked: Sequence[float]
) -> Iterator[Row]:
    start = time.process_time()
    bound = bound_module(model.module, model.input_shape)
    seconds = time.process_time() - start
    start = time.process_time()
    tables = {"pairwise": bound.pairwise, "scaled": bound.scaled}
    times = {"paper": seconds, "pairwise": seconds, "scaled": time.process_time() - start}
    start = time.process_time()
    found = robench.certify(model, x, y, bound=bound, rules=["local"] if local else [])
    times["local"] = time.process_time() - start
    for rule in found.by_rule:
        rates = [found.certified_accuracy(eps, rule=rule) for eps in asked]
        yield rule, None if tables.get(rule) is None else median(tables[rule]), rates, times[rule]


def median(table: np.ndarray) -> float:
    return float(np.median(table[np.triu_indices(len(table), 1)]))


def rows_of_eclipse(
    model: LoadedModel, x: np.ndarray, y: np.ndarray, sdp: bool, asked: Sequence[float]
) -> Iterator[Row]:
    estimator: Any = importlib.import_module("eclipse_nn.LipConstEstimator").LipConstEstimator
    *inner, head = (layer.weight.detach().double() for layer in model.module.modules() if isinstance(layer, nn.Linear))
    logits = model.module.double()(torch.from_numpy(x).double()).detach().numpy()
    model.module.float()

    def constant(i: int, j: int, method: str) -> float:
        return float(estimator(weights=[*inner, (head[i] - head[j])[None]]).estimate(method=method))

    start = time.process_time()
    table = np.zeros((len(head), len(head)))
    for i, j in itertools.combinations(range(len(head)), 2):
        table[i, j] = table[j, i] = constant(i, j, "ECLipsE_Fast")
    seconds = time.process_time() - start
    predicted = logits.argmax(1)
    gaps = logits[np.arange(len(x)), predicted][:, None] - logits
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = np.where(np.eye(len(head), dtype=bool)[predicted], np.inf, gaps / table[predicted])
    radius = np.where(predicted == y, lengths.min(1), 0.0)
    yield "ECLipsE-Fast, each pair", median(table), [float((radius > eps).mean()) for eps in asked], seconds
    if sdp:
        start = time.process_time()
        found = constant(0, 1, "ECLipsE")
        yield f"ECLipsE (SDP), one pair; Fast has {table[0, 1]:.3f}", found, [], time.process_time() - start


def rows_of_lirpa(
    model: LoadedModel, x: np.ndarray, y: np.ndarray, python: str | None, asked: Sequence[float]
) -> Iterator[Row]:
    if python is None:
        raise LeftOut("no Python with auto_LiRPA was named by --lirpa")
    layers = [layer for layer in model.module.modules() if isinstance(layer, nn.Linear)]
    arrays = {f"weight{place}": layer.weight.detach().float().numpy() for place, layer in enumerate(layers)}
    arrays |= {f"bias{place}": layer.bias.detach().float().numpy() for place, layer in enumerate(layers)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.npz"
        np.savez(file, images=x, labels=y, eps=np.array(asked), depth=len(layers), **arrays)
        script = Path(__file__).with_name("lirpa.py")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([python, str(script), str(file)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise LeftOut(done.stderr.strip().split("\n")[-1])
    found = json.loads(done.stdout.strip().split("\n")[-1])
    yield f"auto_LiRPA 0.3, CROWN, float32, torch {found['torch']}", None, found["rates"], found["seconds"]


def is_chain(model: LoadedModel) -> bool:
    """Whether a network is dense layers and ReLU, one after the other, as the other libraries take them."""
    parts = [part for part in model.module.modules() if not any(part.children())]
    return all(isinstance(part, nn.Linear | nn.ReLU | nn.Flatten) for part in parts)


def lines(rows: Iterator[Row], name: str, asked: Sequence[float]) -> Iterator[str]:
    try:
        for what, constant, rates, seconds in rows:
            cells = " | ".join(f"{100 * rate:.1f}" for rate in rates) or " | ".join("" for _ in asked)
            yield f"| {what} | {'' if constant is None else f'{constant:.3f}'} | {cells} | {seconds:.1f} |"
    except (ImportError, LeftOut) as error:
        yield f"| {name}: left out ({error}) |  | {' | '.join('' for _ in asked)} |  |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--eps", type=float, nargs="+", default=EPS)
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--sdp", action="store_true")
    parser.add_argument("--lirpa", metavar="PYTHON", help="a Python that auto_LiRPA is installed for: see lirpa.py")
    parser.add_argument("--out", type=Path, help="a Markdown file; stdout without it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    x, y = robench.load_data(given.data, limit=given.limit, data_dir=given.data_dir).arrays()
    found = [HEADER.format(images=len(x), data=given.data)]
    for path in given.models:
        model = robench.load_model(path)
        found += [f"\n## {Path(path).name}\n", f"| rule | constant | {' | '.join(map(str, given.eps))} | seconds |"]
        found += [f"| --- | --- | {' | '.join('---' for _ in given.eps)} | --- |"]
        found += lines(rows_of_robench(model, x, y, given.local, given.eps), "robench", given.eps)
        if is_chain(model):
            found += lines(rows_of_eclipse(model, x, y, given.sdp, given.eps), "eclipse-nn", given.eps)
            found += lines(rows_of_lirpa(model, x, y, given.lirpa, given.eps), "auto_LiRPA", given.eps)
        else:
            nothing = " | ".join("" for _ in given.eps)
            found.append(f"| eclipse-nn, auto_LiRPA: no chain of dense layers and ReLU |  | {nothing} |  |")
    text = "\n".join(found) + "\n"
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
