"""`robench bench`: train, certify, attack and report the models of a suite in one resumable go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robench import workflows
from robench.records.record import SCHEMA_VERSION
from robench.specs.suite import Suite, read_suite
from robench.workflows.contenders import Contender, Place
from robench.workflows.errands import STAGES, Stage, do_ahead


def bench(
    name: str = "embedded",
    *,
    suite: Suite | None = None,
    out: Path | None = None,
    data_dir: Path | None = None,
    seeds: tuple[int, ...] | None = None,
    until: Stage = "report",
    execution: workflows.Execution | None = None,
) -> workflows.Outcome:
    """Train, certify, attack and report; each part that is done already is only read.

    Args:
        name: of the suite, one of `robench.specs.suite.suite_names()`, or the path of a JSON file.
        suite: what is done; None for the whole suite of that name.
        out: folder for `models/`, `runs/` and `report/`; None is `runs/bench-NAME`.
        data_dir: folder with the data set's own files.
        seeds: of trainings and attacks; None for those of the suite.
        until: the last stage; in one process all models pass a stage before the next one starts.
        execution: device, threads, batch size, workers, progress.

    Raises:
        SpecError: there is no such suite.
        DataError: the data cannot be read.
        RunError: a folder cannot be written or holds something else.
    """
    suite = suite or read_suite(name)
    place = Place(
        out=out or Path("runs") / f"bench-{Path(name).stem}",
        data_dir=data_dir,
        execution=execution or workflows.Execution(),
    )
    contenders = _contenders(suite, place, seeds)
    if place.execution.engine is not None:
        do_ahead(contenders, place, until)
    stages = STAGES[: STAGES.index(until) + 1]
    trained = [item.train() for item in contenders]
    certified = [item.certify() for item in contenders] if "certify" in stages else []
    attacked = [_attacked(item) for item in contenders] if "attack" in stages else []
    violations = sum(run["violations"] for runs in attacked for run in runs)
    rows = [
        _row(item, certificates, runs[0])
        for item, certificates, runs in zip(contenders, certified, attacked, strict=False)
    ]
    summary = {
        "schema_version": SCHEMA_VERSION,
        "command": "bench",
        "trainings": [_training(item, result) for item, result in zip(contenders, trained, strict=True)],
        "models": rows,
        "violations": violations,
        **(_pages(contenders, place.out) if "report" in stages else {"report": None, "claims": None}),
    }
    return workflows.Outcome(place.out, summary)


def _pages(contenders: Sequence[Contender], out: Path) -> dict[str, str]:
    """The report of the first seed with the main attacks, and the claims of the paper held against everything."""
    first = [item for item in contenders if item.seed == contenders[0].seed]
    shown = [item.run(*kind) for item in first for kind in (("certify",), ("attack", item.track.attacks[0].label))]
    everything = [folder for name in ("runs", "potentials") if (folder := out / name).exists()]
    return {
        "report": str(workflows.report(shown, out / "report")),
        "claims": str(workflows.claims(everything, out / "claims.md")["page"]),
    }


def foresee_bench(
    suite: Suite,
    *,
    out: Path,
    data_dir: Path | None = None,
    seeds: tuple[int, ...] | None = None,
    execution: workflows.Execution | None = None,
) -> dict[str, Any]:
    """What `bench` would do, model by model, without doing it; docs/json.md describes the keys.

    Args:
        suite: what is done.
        out: folder of the bench.
        data_dir: folder with the data set's own files.
        seeds: of trainings and attacks; None for those of the suite.
        execution: who is told of downloads.
    """
    place = Place(out=out, data_dir=data_dir, execution=execution or workflows.Execution())
    rows = []
    for item in _contenders(suite, place, seeds):
        plan = workflows.foresee_training(item.spec(), item.folder, data_dir=data_dir, execution=place.execution)
        kept = {key: plan[key] for key in ("folder", "status", "n", "n_done", "n_left", "differs")}
        attacked = [attack.images for attack in item.track.attacks]
        rows.append(
            {"data": item.data.name, "model": item.model.label, "seed": item.seed, **kept, "n_attacked": attacked}
        )
    return {**workflows.heading("bench"), "dry_run": True, "folder": str(out), "spec": suite.to_dict(), "models": rows}


def _contenders(suite: Suite, place: Place, seeds: tuple[int, ...] | None) -> list[Contender]:
    return [
        Contender(track=track, model=model, seed=seed, place=place)
        for seed in seeds or suite.seeds
        for track in suite.tracks
        for model in track.models
    ]


def _attacked(item: Contender) -> list[dict[str, Any]]:
    """All attack runs of a model, the main one first, and what is held against Theorem 2."""
    runs = [item.attack(plan) for plan in item.track.attacks]
    for _ in item.potentials():
        pass
    return runs


def _training(item: Contender, result: dict[str, Any]) -> dict[str, Any]:
    """What a training came to, in a row."""
    taken = ("epochs", "kept_epoch", "clean_accuracy", "base_rate", "certified_estimate", "seconds", "finished_before")
    return {"data": item.data.name, "model": item.model.label, "seed": item.seed} | {key: result[key] for key in taken}


def _row(item: Contender, certified: dict[str, Any], attacked: dict[str, Any]) -> dict[str, Any]:
    """A model of the comparison."""
    return {
        "data": item.data.name,
        "model": item.model.label,
        "seed": item.seed,
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
