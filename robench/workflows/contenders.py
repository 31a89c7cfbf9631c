"""One model of a bench: where it lies, and each thing that is done with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench import workflows
from robench.errors import SpecError
from robench.specs.data import DataSpec
from robench.specs.suite import SuiteAttack, SuiteModel, Track
from robench.specs.training import TrainSpec


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a bench reads and writes, and how.

    Fields:
        out: folder for `models/`, `runs/`, `potentials/` and `report/`.
        data_dir: folder with the data set's own files.
        execution: device, threads, batch size, progress.
    """

    out: Path
    data_dir: Path | None
    execution: workflows.Execution


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One model of a bench: an entry of a track, with a seed.

    Fields:
        track: what it shares with others.
        model: the entry.
        seed: of its training and its attacks.
        place: of the bench.
    """

    track: Track
    model: SuiteModel
    seed: int
    place: Place

    @property
    def data(self) -> DataSpec:
        """The data set.

        Raises:
            SpecError: neither the suite nor the user names one.
        """
        if self.track.data is None:
            raise SpecError(
                f"the suite does not say on which data `{self.model.label}` is trained",
                hint="name them: `--data npz:PATH`, or another data set of two classes",
            )
        return DataSpec(name=self.track.data)

    @property
    def name(self) -> str:
        """Of its folders: track, label and seed; seed 0 is not named."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", self.track.name or self.data.name)
        return f"{stem}-{self.model.label}" + (f"-seed-{self.seed}" if self.seed else "")

    @property
    def folder(self) -> Path:
        """The model folder."""
        return self.place.out / "models" / self.name

    @property
    def ref(self) -> workflows.ModelRef:
        """The trained model."""
        return workflows.ModelRef(ref=str(self.folder))

    def images(self, limit: int | None) -> workflows.DataRef:
        """The first so many images of the test split; None for all."""
        return workflows.DataRef(self.data, data_dir=self.place.data_dir, limit=limit)

    def spec(self) -> TrainSpec:
        """How it is trained."""
        model = self.model
        return workflows.train_spec(
            model.recipe,
            self.data,
            data_dir=self.place.data_dir,
            arch=model.arch,
            epochs=model.epochs,
            seed=self.seed,
            changes=model.changes,
            progress=self.place.execution.progress,
        )

    def train(self) -> dict[str, Any]:
        """Its training; the summary."""
        place = self.place
        return workflows.train(self.spec(), self.folder, data_dir=place.data_dir, execution=place.execution).summary

    def certify(self) -> dict[str, Any]:
        """Its certificates on the whole test split; the summary."""
        place = self.place
        out, images = self.run("certify"), self.images(None)
        return workflows.certify(self.ref, images, eps=self.track.eps, out=out, execution=place.execution).summary

    def run(self, *kind: str) -> Path:
        """The folder of one of its runs."""
        return self.place.out / "runs" / "-".join(filter(None, (*kind, self.name)))

    def attack(self, plan: SuiteAttack) -> dict[str, Any]:
        """One of its attack runs; the summary."""
        place = self.place
        return workflows.attack(
            self.ref,
            self.images(plan.images),
            eps=self.track.eps,
            attacks=plan.attacks,
            full=plan.full,
            seed=self.seed,
            out=self.run("attack", plan.label),
            execution=place.execution,
        ).summary

    def potentials(self) -> Iterator[dict[str, Any]]:
        """Held against the optimum of Theorem 2, split by split, where the track asks for it; the summaries."""
        plan, place = self.track.potential, self.place
        if plan is None or self.model.label not in plan.labels:
            return
        for split in plan.splits:
            data = workflows.DataRef(self.data, split=split, data_dir=place.data_dir, limit=plan.images)
            out = place.out / "potentials" / f"{self.name}-{split}"
            yield workflows.potential(
                self.ref, data, out=out, alpha=plan.alpha, margin=plan.margin, execution=place.execution
            ).summary
