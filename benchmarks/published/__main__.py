"""The table of bounds of published architectures: Markdown and JSON.

    python -m benchmarks.published --out reports/bounds [--only NAME ...] [--limit SECONDS]

Each row is made in a process of its own, on one thread, and ended after `--limit` seconds. With `--only`, the other
rows stay as they are in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.published.rows import ROWS, Row

Found = dict[str, Any]
HEADER = """# Bounds of published architectures

Made by `python -m benchmarks.published --out reports/bounds` on one CPU thread, with torch {torch}.

Weights are random (seed 0), as torch or the paper initialises them; batch norms have statistics of random images.

- *bound*: the proven upper bound of the Lipschitz constant, L2 to L2. Over the whole space where there is one,
  else over the box [0, 1]; then the last column says why there is none on the whole space.
- *slope found*: the largest norm of a Jacobian found by power iterations in float64. The constant lies between the two.
  The search stops after seconds of CPU time, so a repetition may find another number.
- *ratio*: bound / slope found. How much of it is the bound's fault and how much the search's is not known.
- *theorem*: the constant that the paper proves.
- *seconds*: CPU time of the bound, on one thread.

A large ratio is a sound bound that proves little: bounds of depth multiply. Over a box each layer norm may cost
1/√ε, 316 for ε = 1e-5, as nothing keeps its input from being constant; so transformers have a bound that is of no use.
Only networks that are made for it have useful bounds over the whole space.

"""
COLUMNS = ("architecture", "source", "inputs", "bound", "slope found", "ratio", "theorem", "seconds", "remark")


def run(name: str, limit: float) -> Found:
    """One row, or why there is none."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.published.measure", name]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"ended after {limit:g} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().split("\n") or ["?"])[-1]}
    found: Found = json.loads(done.stdout.strip().split("\n")[-1])
    return found


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if 0.01 <= value < 10 else f"{value:.4g}"


def cells(row: Row, found: Found) -> list[str]:
    bound, slope = found.get("bound"), found.get("slope")
    ratio = None if not bound or not slope else bound / slope
    seconds = found.get("cpu_seconds")
    remarks = [
        f"{space}: {found[key]}"
        for key in found
        if key.startswith("refused")
        for space in [key.removeprefix("refused, ")]
    ]
    return [
        row.name,
        row.source,
        found.get("inputs", "refused"),
        number(bound),
        number(slope),
        number(ratio),
        number(row.constant),
        "" if seconds is None else f"{seconds:.1f}",
        found.get("failed", "; ".join(remarks)).replace("|", "\\|").replace("\n", " "),
    ]


def written(out: Path, rows: dict[str, Found]) -> None:
    """The two files."""
    kept = {name: rows[name] for name in ROWS if name in rows}
    (out / "published.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(cells(ROWS[name], found)) for name, found in kept.items()]
    text = HEADER.format(torch=torch.__version__) + "".join(f"| {line} |\n" for line in lines)
    (out / "published.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of published.md and published.json")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="NAME", help="rows to make again")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for a row (default 600)")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "published.json"
    rows: dict[str, Found] = json.loads(file.read_text(encoding="utf-8")) if given.only and file.exists() else {}
    for name in given.only or ROWS:
        rows[name] = run(name, given.limit)
        print(" | ".join(cells(ROWS[name], rows[name])), flush=True)
        written(given.out, rows)


if __name__ == "__main__":
    main()
