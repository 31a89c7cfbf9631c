"""The images of a run in parts, each done by a worker of an engine: the command itself stays the only writer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from robench import models
from robench.data import Dataset
from robench.devices import resolve_device
from robench.engines.engine import results
from robench.errors import ModelError, RunError
from robench.models.user_code.blame import late_blamed
from robench.runs.kept import differences
from robench.workflows.continuing import arithmetic
from robench.workflows.pairs import Pair
from robench.workflows.parcel import Parcel, packed
from robench.workflows.references import Execution

SHARE = 4
"""A part is this share of what is left for each worker: large while there is much, so that tiles are full, and small at
the end, so that no worker waits long for the last one."""
LEAST = 16
"""Images of a part, at least."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Some images of a run.

    Fields:
        images: these alone.
        radii: certified radius of each, where the work wants them.
    """

    images: Dataset
    radii: npt.NDArray[np.float64] | None


Doing: TypeAlias = Callable[[Part], Any]
MakeDoing: TypeAlias = Callable[[models.LoadedModel, torch.device], Doing]
"""From the model of a worker and its device to what it does with each part; a function that can be pickled."""


@dataclass(frozen=True, kw_only=True)
class PartWork:
    """What each worker does: it reads the model by itself, once.

    Fields:
        model: as the user named it, with its files.
        shape: of an image.
        identity: digests of the model as the command has read it.
        device: where to compute.
        threads: of each worker.
        arithmetic: of the command, which all workers must have.
        make: what is done.
    """

    model: Parcel
    shape: tuple[int, ...]
    identity: Mapping[str, str]
    device: str
    threads: int
    arithmetic: Mapping[str, Any]
    make: MakeDoing

    @property
    def gpu(self) -> bool:
        """Whether each worker needs a GPU."""
        return self.device.startswith("cuda")

    def start(self) -> Doing:
        """Read the model.

        Raises:
            ModelError: it is another one here than there.
            RunError: this processor or its packages round otherwise.
            SpecError: there is no such device here.
        """
        torch.set_num_threads(self.threads)
        loaded = self.model.unpacked().load(shape_of_data=lambda: self.shape)
        if loaded.identity != self.identity:
            raise ModelError(
                f"a worker reads another model from `{self.model.model.ref}` than the command did",
                hint="let all workers see the same files, and the same versions of Python and of its packages",
            )
        device = resolve_device(self.device)
        if found := differences(self.arithmetic, arithmetic(device)):
            raise RunError(
                f"a worker would round otherwise than the command: {'; '.join(found)}",
                hint="take workers with processors of one kind and the same packages, and start the command on one of "
                "them",
            )
        do = self.make(loaded, device)

        def with_blame(part: Part) -> Any:
            with late_blamed():  # tracebacks do not travel
                return do(part)

        return with_blame


def done_in_parts(
    make: MakeDoing,
    pair: Pair,
    images: Dataset,
    execution: Execution,
    device: torch.device,
    *,
    skip: Collection[int],
    radii: npt.NDArray[np.float64] | None = None,
) -> Iterator[Any]:
    """Results of all parts of the images, in the order in which workers give them.

    Args:
        make: what workers do.
        pair: the model.
        images: those of the run.
        execution: the engine, threads of a worker, the largest part.
        device: where.
        skip: indices that are done.
        radii: certified radius of each image, where the work wants them.

    Raises:
        RunError: workers were lost.
    """
    assert execution.engine is not None
    work = PartWork(
        model=packed(pair.model),
        shape=images.shape,
        identity=pair.loaded.identity,
        device=str(device),
        threads=torch.get_num_threads(),
        arithmetic=arithmetic(device),
        make=make,
    )
    left = np.flatnonzero(~np.isin(images.index, list(skip)))
    with execution.engine.workers(work) as workers:
        yield from results(workers, _parts(images, radii, left, workers.count, execution.batch_size))


def _parts(
    images: Dataset,
    radii: npt.NDArray[np.float64] | None,
    rows: npt.NDArray[np.int64],
    workers: int,
    largest: int,
) -> Iterator[Part]:
    while len(rows):
        size = min(max(len(rows) // (SHARE * workers), LEAST), largest)
        some, rows = rows[:size], rows[size:]
        yield Part(images=images.rows(some), radii=None if radii is None else radii[some])
