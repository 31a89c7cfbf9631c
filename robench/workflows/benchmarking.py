"""`robench bench`: train, certify, attack and report several recipes in one resumable go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from robench import workflows
from robench.errors import SpecError, did_you_mean
from robench.records.record import SCHEMA_VERSION
from robench.specs.data import DataSpec
from robench.training.recipes import RECIPES


class Entry(NamedTuple):
    """One model of a suite.

    Fields:
        label: folder name of the model.
        recipe: key of `RECIPES`.
        changes: fields of the training spec that differ from the recipe's.
    """

    label: str
    recipe: str
    changes: Mapping[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Track:
    """The models of a suite that share a data set.

    Fields:
        data: name of the data set.
        entries: the models.
        eps: L2 radii, as written, in input units.
        attacked: number of test images attacked; certificates cover the whole test split.
        full: run every attack on every open image, for per-attack columns.
    """

    data: str
    entries: tuple[Entry, ...]
    eps: tuple[str, ...]
    attacked: int
    full: bool


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark: tracks run one after the other, reported together."""

    name: str
    tracks: tuple[Track, ...]


PAPER_APPROACHES = (
    Entry("adv", "adv"),
    Entry("1lip-log", "1lip-log"),
    Entry("gnp-hinge", "gnp-hinge"),
    Entry("gnp-log", "gnp-log"),
    Entry("hkr", "hkr"),
)
"""The five approaches of the paper, §5, in its order."""

BENCH_SUITES: Mapping[str, Suite] = {
    "embedded": Suite(
        name="embedded",
        tracks=(
            Track(
                data="two-moons",
                entries=tuple(Entry(name, name) for name in RECIPES),
                eps=("0.05", "0.1", "0.2", "0.3"),
                attacked=200,
                full=False,
            ),
            Track(
                data="digits",
                entries=tuple(Entry(name, name) for name in RECIPES),
                eps=("0.1", "0.25", "0.5", "1"),
                attacked=200,
                full=False,
            ),
        ),
    ),
    "mnist": Suite(
        name="mnist",
        tracks=(
            Track(
                data="mnist",
                entries=PAPER_APPROACHES,
                eps=("0.25", "0.5", "0.75", "1", "1.25", "1.58", "2", "2.5", "3", "3.5", "4", "5"),
                attacked=500,
                full=True,
            ),
        ),
    ),
}


def bench(
    name: str = "embedded",
    *,
    out: Path | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
    execution: workflows.Execution | None = None,
) -> workflows.Outcome:
    """Train, certify, attack and report; each part that is done already is only read.

    Args:
        name: of the suite, a key of `BENCH_SUITES`.
        out: folder for `models/`, `runs/` and `report/`; None is `runs/bench-NAME`.
        data_dir: folder with the data set's own files.
        seed: of every training and attack.
        execution: device, threads, batch size, progress.

    Raises:
        SpecError: there is no such suite.
        DataError: the data cannot be read.
        RunError: a folder cannot be written or holds something else.
    """
    if name not in BENCH_SUITES:
        raise SpecError(f"there is no suite `{name}`", hint=did_you_mean(name, BENCH_SUITES))
    out = out or Path("runs") / f"bench-{name}"
    execution = execution or workflows.Execution()
    rows = [
        run_entry(track, entry, out, data_dir=data_dir, seed=seed, execution=execution)
        for track in BENCH_SUITES[name].tracks
        for entry in track.entries
    ]
    summary = {
        "schema_version": SCHEMA_VERSION,
        "command": "bench",
        "models": rows,
        "violations": sum(row["violations"] for row in rows),
        "report": str(workflows.report([out / "runs"], out / "report")),
    }
    return workflows.Outcome(out, summary)


def run_entry(
    track: Track, entry: Entry, out: Path, *, data_dir: Path | None, seed: int, execution: workflows.Execution
) -> dict[str, Any]:
    """Train, certify and attack one model; its row of the comparison.

    Args:
        track: the suite on one data set.
        entry: the model.
        out: folder of the whole bench.
        data_dir: folder of the data set's own files.
        seed: of the training.
        execution: where, and who is told.
    """
    name = f"{track.data}-{entry.label}"
    folder = out / "models" / name
    spec = workflows.train_spec(
        entry.recipe, DataSpec(name=track.data), data_dir=data_dir, seed=seed, changes=entry.changes
    )
    workflows.train(spec, folder, data_dir=data_dir, execution=execution)
    model = workflows.ModelRef(ref=str(folder))
    everything = workflows.DataRef(spec=spec.data, data_dir=data_dir)
    certified = workflows.certify(
        model, everything, eps=track.eps, out=out / "runs" / f"certify-{name}", execution=execution
    ).summary
    attacked = workflows.attack(
        model,
        workflows.DataRef(spec=spec.data, data_dir=data_dir, limit=track.attacked),
        eps=track.eps,
        full=track.full,
        seed=seed,
        out=out / "runs" / f"attack-{name}",
        execution=execution,
    ).summary
    return {
        "data": track.data,
        "model": entry.label,
        "n": certified["n"],
        "n_correct": certified["n_correct"],
        "n_base": certified["n_base"],
        "lipschitz_upper": certified["lipschitz_upper"],
        "mean_radius": certified["mean_radius"],
        "n_attacked": attacked["n"],
        "n_certified": attacked["n_certified"],
        "n_robust": attacked["n_robust"],
        "violations": attacked["violations"],
        "flags": certified["flags"],
    }
