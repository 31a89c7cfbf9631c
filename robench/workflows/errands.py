"""A bench by workers: each training, certify run and attack is an errand; it starts when those before it are done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from robench import workflows
from robench.errors import RunError
from robench.files import create_folder
from robench.workflows.contenders import Contender, Place

Stage = Literal["train", "certify", "attack", "report"]
STAGES: tuple[Stage, ...] = ("train", "certify", "attack", "report")
"""What a bench does with its models, in this order."""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """One thing to do with one model.

    Fields:
        contender: the model.
        kind: what is done; `potentials` holds the model against Theorem 2.
        attack: which of the attacks of its track; 0 for what is no attack.
    """

    contender: Contender
    kind: Literal["train", "certify", "attack", "potentials"]
    attack: int = 0

    def run(self) -> None:
        """Do it; what is done already is only read."""
        match self.kind:
            case "train":
                self.contender.train()
            case "certify":
                self.contender.certify()
            case "attack":
                self.contender.attack(self.contender.track.attacks[self.attack])
            case "potentials":
                for _ in self.contender.potentials():
                    pass

    def following(self, until: Stage) -> list[Errand]:
        """What can start once this is done.

        Args:
            until: the last stage that is wanted.
        """
        if self.kind != "train" or until == "train":
            return []
        certify = replace(self, kind="certify")
        if until == "certify":
            return [certify]
        attacks = [replace(self, kind="attack", attack=number) for number in range(len(self.contender.track.attacks))]
        return [*attacks, certify, replace(self, kind="potentials")]


@dataclass(frozen=True)
class Errands:
    """What workers of a bench do.

    Fields:
        device: of each.
        threads: of each.
    """

    device: str
    threads: int

    @property
    def gpu(self) -> bool:
        """Whether each worker needs a GPU."""
        return self.device.startswith("cuda")

    def start(self) -> Callable[[Errand], Errand]:
        """A worker holds nothing between errands."""
        execution = workflows.Execution(device=self.device, threads=self.threads)

        def done(errand: Errand) -> Errand:
            place = errand.contender.place
            if not place.out.is_dir():
                raise RunError(
                    f"a worker does not see the folder `{place.out}`",
                    hint="name a folder (--out) on a file system that all nodes share, by its absolute path",
                )
            contender = replace(errand.contender, place=replace(place, execution=execution))
            replace(errand, contender=contender).run()
            return errand

        return done


def do_ahead(contenders: Sequence[Contender], place: Place, until: Stage) -> None:
    """Let workers do all of a bench but its report; whoever asks for it afterwards only reads.

    Args:
        contenders: the models.
        place: of the bench.
        until: the last stage that is wanted.

    Raises:
        RobenchError: raised by an errand; the others stop, and go on when the bench is asked for again.
    """
    create_folder(place.out)
    execution = place.execution
    assert execution.engine is not None
    work = Errands(str(execution.start()), execution.threads or 1)
    plain = replace(place, out=place.out.resolve(), execution=workflows.Execution())  # a screen cannot be sent
    first = [Errand(contender=replace(contender, place=plain), kind="train") for contender in contenders]
    each = 1 + max((len(errand.following(until)) for errand in first), default=0)
    execution.progress.start("bench", each * len(first))
    numbers, left = itertools.count(), 0
    with execution.engine.workers(work) as workers:
        waiting = first
        while waiting or left:
            for errand in waiting:
                workers.submit(next(numbers), errand)
            left += len(waiting)
            _, errand = workers.wait()
            left -= 1
            execution.progress.advance(last=f"{errand.kind} {errand.contender.name}")
            waiting = errand.following(until)
    execution.progress.close()
