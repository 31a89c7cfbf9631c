"""`robench potential`: a two-class model as a transport potential."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from robench import lipschitz, models
from robench.errors import ModelError, SpecError
from robench.records.record import SCHEMA_VERSION
from robench.specs.training import TrainSpec
from robench.statistics.paired import median
from robench.transport import compare, hinge_transport, level_map, measure, plan_cosines
from robench.workflows.pairs import load_pair
from robench.workflows.references import Execution, ModelRef, NamedData, NamedModel, Outcome, model_ref
from robench.workflows.training_folder import read_training


def potential(
    model: NamedModel,
    data: NamedData,
    *,
    out: str | PathLike[str],
    alpha: float | None = None,
    margin: float | None = None,
    execution: Execution | None = None,
) -> Outcome:
    """Look at a two-class model as a transport potential, and hold it against the optimum of Theorem 2.

    Args:
        model: of one logit, with a Lipschitz bound.
        data: two classes.
        out: folder for `potential.json`, `outputs.csv` and the figures.
        alpha: weight of the hinge in Theorem 2; None for that of the training.
        margin: of that hinge; None for that of the training.
        execution: where.

    Raises:
        ModelError: the model has more than one logit, or does not fit the data.
        BoundError: the model has no bound.
        SpecError: alpha or margin is not given, and the model was not trained by hKR or KR.
        DataError: a class has no example, or there are too many for the linear program.
        RunError: the folder cannot be written.
    """
    from robench.reporting import write_potential  # plotting libraries

    execution = execution or Execution()
    execution.start()
    model = model_ref(model)
    alpha, margin = _dual_terms(model, alpha, margin)
    pair = load_pair(model, data, execution.progress)
    loaded, dataset = pair.loaded, pair.dataset
    if loaded.outputs != 1:
        raise ModelError(
            f"`{model.ref}` has {loaded.outputs} logits, and the transport problem has two classes",
            hint="train on two classes, such as `--data mnist:0-8`",
        )
    bound = lipschitz.lipschitz_bound(loaded)
    found = measure(loaded.module, dataset)
    points = dataset.batch(slice(None)).reshape(len(dataset), -1).astype(float)
    optimum = hinge_transport(points[found.positive], points[~found.positive], alpha=alpha, margin=margin)
    cosine = median(plan_cosines(found, points, optimum))
    summary = {
        "schema_version": SCHEMA_VERSION,
        "command": "potential",
        "facts": {"model": loaded.describe(), "data": dataset.describe()},
        **found.describe(),
        "plan": {"cosine": None if cosine is None else cosine._asdict()},
        "duality": compare(found, optimum, bound, alpha=alpha, margin=margin)._asdict(),
    }
    levels = level_map(loaded.module, points) if dataset.shape == (2,) else None
    write_potential(Path(out), summary, found, points, levels, dataset.class_names)
    return Outcome(Path(out), summary)


def _dual_terms(model: ModelRef, alpha: float | None, margin: float | None) -> tuple[float, float]:
    """Alpha and margin as asked, or as the model was trained."""
    trained: Mapping[str, Any] = {}
    folder = Path(model.ref)
    if (alpha is None or margin is None) and (folder / models.TRAINING).exists():
        loss = TrainSpec.from_dict(read_training(folder)["spec"]).loss.to_dict()
        trained = {"hkr": loss, "kr": {"alpha": 0.0, "margin": 1.0}}.get(loss["type"], {})
    alpha = trained.get("alpha") if alpha is None else alpha
    margin = trained.get("margin") if margin is None else margin
    if alpha is None or margin is None:
        raise SpecError(
            f"`{model.ref}` was not trained with the hKR or KR loss, so alpha and margin are not known",
            hint="give --alpha and --margin",
        )
    return alpha, margin
