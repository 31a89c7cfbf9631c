"""Run folders in the layouts of other projects: locuslab/smoothing, RobustBench, AttackBench (docs/report.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

from robench.errors import RunError
from robench.files import create_folder, write_atomic
from robench.numerics import ceil_decimals, floor_decimals
from robench.records.record import COMBINED, AttackRecord, CertifyRecord
from robench.records.smoothed import SmoothedRecord
from robench.runs.run import Run, read_all_runs
from robench.runs.tsv import as_tsv, rows_of
from robench.specs.epsilon import ascending, epsilon_value

Layout = Literal["tsv", "robustbench", "attackbench"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
Written = Iterator[tuple[str, str]]
"""Names of files, and what is in them."""


def write_exchange(paths: Sequence[Path], out: Path, layouts: Sequence[Layout]) -> list[Path]:
    """Write runs in the layouts of others, each layout in a folder of its name; the files.

    Args:
        paths: run folders, or folders that hold some at any depth.
        out: folder to write to.
        layouts: which.

    Raises:
        RunError: there is no run, none that a layout can hold, or a file cannot be written.
    """
    models, smoothed = read_all_runs(paths)
    files = []
    for layout in layouts:
        found: dict[str, str] = {}
        for run in (*models, *smoothed):
            for name, text in WRITERS[layout](run):
                if name in found:
                    raise RunError(
                        f"two runs would write `{layout}/{name}`: both are of the model `{run.model_name}`",
                        hint="name one of them at a time, with another --out folder",
                    )
                found[name] = text
        if not found:
            command = "certify" if layout == "tsv" else "attack"
            raise RunError(f"there is no run for the layout `{layout}`", hint=f"name a run folder of `{command}`")
        for name, text in found.items():
            file = out / layout / name
            create_folder(file.parent)
            write_atomic(file, text)
            files.append(file)
    return files


def _tsv(run: Run[Any]) -> Written:
    """One file a run of certificates."""
    records = [record for record in run.records if isinstance(record, CertifyRecord | SmoothedRecord)]
    if records:
        yield f"{_flat(run.name)}.tsv", as_tsv(rows_of(records), (run.summary.get("seconds") or 0.0) / len(records))


def _robustbench(run: Run[Any]) -> Written:
    """One file an ε of an attack run, as `model_info/DATA/L2/MODEL.json`; numbers are texts there."""
    records = [record for record in run.records if isinstance(record, AttackRecord)]
    for text in ascending(run.spec.get("eps", ())) if records else ():
        radius, n = epsilon_value(text), len(records)
        standing = sum(record.robust_at(radius) for record in records)
        proven = sum(record.certified_at(radius) for record in records)
        robust = ceil_decimals(Fraction(100 * standing, n), 2)
        audited = run.bound is not None and run.bound.refused is None
        entry = {
            "link": "",
            "name": run.model_name,
            "authors": "",
            "additional_data": False,
            "number_forward_passes": 1,
            "dataset": run.data.name or "",
            "venue": "",
            "architecture": run.model.recipe or run.model_name,
            "eps": text,
            "clean_acc": ceil_decimals(Fraction(100 * sum(record.correct for record in records), n), 2),
            "reported": robust,
            "autoattack_acc": robust if run.spec.get("suite") == "autoattack" else None,
            "certified_acc": floor_decimals(Fraction(100 * proven, n), 2) if audited else None,
            "footnote": f"robench: {', '.join(records[0].attacks)} on {n} images of {run.data_name}",
        }
        name = f"{_flat(run.data.name or 'data')}/L2/{_flat(run.model_name)}-eps-{_flat(text)}.json"
        yield name, json.dumps(entry, indent=2) + "\n"


def _attackbench(run: Run[Any]) -> Written:
    """Two files an attack, `info.json` and `config.json`, in the folders that AttackBench reads.

    A single attack of an ensemble saw only what others left, so that of such a run only all together are written.
    """
    records = [record for record in run.records if isinstance(record, AttackRecord)]
    if not records:
        return
    alone = tuple(records[0].attacks) if run.spec.get("full") else ()
    data, model = run.data.name or "data", run.model_name
    for attack in (COMBINED, *alone):
        distances = [_distance(record, attack) for record in records]
        info = {
            "hashes": [record.input_sha256 for record in records],
            "distances": {"l2": distances},
            "best_optim_distances": {"l2": distances},
            "ori_success": [not record.correct for record in records],
            "adv_success": [math.isfinite(distance) for distance in distances],
        }
        config: Mapping[str, Any] = {
            "model": {"dataset": data, "name": model},
            "dataset": {"batch_size": len(records)},
            "attack": {"name": attack, "threat_model": "l2", "source": "robench"},
        }
        folder = f"{_flat(data)}/l2/{_flat(model)}/batch_size_{len(records)}/robench_{_flat(attack)}"
        yield f"{folder}/info.json", json.dumps(info) + "\n"
        yield f"{folder}/config.json", json.dumps(config, indent=2) + "\n"


def _distance(record: AttackRecord, attack: str) -> float:
    """0 where the image is wrong without an attack, infinite where nothing was found."""
    if not record.correct:
        return 0.0
    found = record.distance_of(attack)
    return math.inf if found is None else found


def _flat(name: str) -> str:
    """A name as the name of a file."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)


WRITERS: Mapping[Layout, Callable[[Run[Any]], Written]] = {
    "tsv": _tsv,
    "robustbench": _robustbench,
    "attackbench": _attackbench,
}
