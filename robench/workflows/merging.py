"""`robench merge`: the shards of a run become the run that one machine would have written."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from robench.errors import RunError
from robench.records.smoothed import SMOOTHED_COMMAND
from robench.runs.shards import ShardRun, read_shards, write_whole
from robench.specs.data import DataSpec
from robench.specs.epsilon import ascending
from robench.specs.evaluation import AttackSpec, CertifySpec
from robench.specs.smoothing import SmoothingSpec
from robench.workflows.attacking import attack
from robench.workflows.certifying import certify
from robench.workflows.references import DataRef, Execution, ModelRef, NamedModel, Outcome, model_ref
from robench.workflows.smoothing import certify_smoothed


def merge(
    shards: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    model: NamedModel | None = None,
    data_dir: str | PathLike[str] | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Join the shards of a run.

    The records are copied. Then the command of the run goes on with them: it finds every image done, holds each record
    against its image and its certificate, and writes the summary, the gallery and the diagnostics.

    Args:
        shards: their folders, or folders that hold them.
        out: run folder.
        model: the model; None for where the shards found it.
        data_dir: folder with the data; None for where the shards found them.
        execution: device, threads, progress.

    Returns:
        The run folder, and the summary.

    Raises:
        RunError: a shard is missing or unfinished, there is one twice, they differ in spec, model, data or arithmetic,
            or the folder holds something else.
    """
    execution = execution or Execution()
    found = read_shards([Path(shard) for shard in shards])
    facts = found[0].manifest["facts"]
    pick = found[0].manifest["spec"]
    at = data_dir if data_dir is not None else facts["data"].get("data_dir")
    images = DataRef(DataSpec.from_dict(pick["data"]), split=pick["split"], data_dir=at, limit=found[0].n)
    finish = _command(found)
    reader = ModelRef.of(facts["model"]) if model is None else model_ref(model)
    write_whole(found, Path(out), images.load(execution.progress).index.tolist())
    return finish(reader, images, out=out, execution=execution)


def _command(shards: Sequence[ShardRun]) -> Callable[..., Outcome]:
    """The command of a run, with its spec."""
    command, spec = str(shards[0].manifest["command"]), shards[0].manifest["spec"]
    eps = ascending([text for shard in shards for text in shard.manifest["facts"].get("eps", ())])
    if command == "certify":
        return functools.partial(
            certify, eps=eps, **_fields(CertifySpec.from_dict(spec), "deploy_dtype", "rules", "box")
        )
    if command == "attack":
        asked = _fields(AttackSpec.from_dict(spec), "eps", "suite", "attacks", "full", "seed")
        return functools.partial(attack, **asked)
    if command == SMOOTHED_COMMAND:
        return functools.partial(certify_smoothed, eps=eps, **SmoothingSpec.from_dict(spec).sampling.to_dict())
    raise RunError(f"`{command}` is no command that works in shards", hint="name shards of `certify` or `attack`")


def _fields(spec: CertifySpec | AttackSpec, *names: str) -> Mapping[str, Any]:
    return {name: getattr(spec, name) for name in names}
