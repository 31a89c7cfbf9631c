"""What a report costs: 10 models, 10 000 records of each command, 20 ε, in CPU seconds; and that it is the same twice.

    OMP_NUM_THREADS=1 python benchmarks/report.py [--models 10] [--n 10000] [--attacked 10000] [--eps 20]

The runs are made up (tests/reporting/synthetic.py), half of them with `--full`, each with a gallery. Making them is not
counted. The page's bytes are printed, and the share of each step.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

from robench.reporting import build_report
from robench.reporting.evaluations import read_evaluations
from tests.reporting.synthetic import Synthetic

NAMES = ("hkr", "kr", "gnp-hinge", "gnp-log", "1lip-log", "adv", "plain", "margin", "wide", "deep")
LOOSE = ("adv", "plain")


def make_runs(root: Path, models: int, n: int, attacked: int, eps: tuple[str, ...]) -> None:
    """Certify and attack runs of some models."""
    for place in range(models):
        name = NAMES[place % len(NAMES)]
        looseness = 6.0 if name in LOOSE else 1.3
        model = Synthetic(name=f"{name}-{place}", seed=place, margin=1.0 + place / models, looseness=looseness)
        model.write_certify(root / f"certify-{place}", n, eps=eps)
        model.write_attack(root / f"attack-{place}", attacked, eps=eps, full=place % 2 == 0, gallery=8)


def digest(folder: Path) -> str:
    """Of all files of a report."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--attacked", type=int, default=10_000)
    parser.add_argument("--eps", type=int, default=20)
    asked = parser.parse_args()
    eps = tuple(f"{4 * (place + 1) / asked.eps:g}" for place in range(asked.eps))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_runs(root / "runs", asked.models, asked.n, asked.attacked, eps)
        started = time.process_time()
        read_evaluations([root / "runs"])
        reading = time.process_time() - started
        digests = []
        for out in ("first", "second"):
            started = time.process_time()
            page = build_report([root / "runs"], root / out)
            spent = time.process_time() - started
            digests.append(digest(root / out))
            print(f"{out}: {spent:.1f} s CPU, of them about {reading:.1f} s to read; page {page.stat().st_size} bytes")
        print("the same bytes" if len(set(digests)) == 1 else "OTHER BYTES")


if __name__ == "__main__":
    main()
