"""A few inputs to look at: what each attack makes of them, and the paper's transport x - 2 f(x) grad f(x)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robench.attacks.attacked import AttackedData, AttackedModel
from robench.attacks.classifier import Classifier
from robench.attacks.ensemble import Ensemble
from robench.attacks.passes import PassCounter
from robench.attacks.plan import planned
from robench.devices import exact_arithmetic
from robench.specs.evaluation import AttackSpec

SIZE = 8

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AttackGallery:
    """The first inputs of a data set, and what attacks make of them at one ε.

    Fields:
        clean: (K, *shape) the inputs.
        adversarial: attack to its points (K, *shape); NaN where it found nothing.
        reached: attack to the class (K,) of each point; None where it found nothing.
        transport: (K, *shape) the inputs moved by the paper's step.
        logits: (K, q) of the inputs; (-f/2, f/2) for one logit f.
        index: (K,) positions in the split.
        eps: the radius, as written.
    """

    clean: Floats
    adversarial: Mapping[str, Floats]
    reached: Mapping[str, list[int | None]]
    transport: Floats
    logits: Floats
    index: list[int]
    eps: str

    def tensors(self) -> dict[str, Floats]:
        """All arrays by name."""
        attacked = {f"adversarial/{name}": points for name, points in self.adversarial.items()}
        return {"clean": self.clean, "transport": self.transport, "logits": self.logits, **attacked}

    def facts(self) -> dict[str, Any]:
        """What is no array, as plain data."""
        return {"index": self.index, "eps": self.eps, "reached": dict(self.reached)}


def make_gallery(
    model: AttackedModel, dataset: AttackedData, spec: AttackSpec, *, device: torch.device
) -> AttackGallery:
    """Attack the first images once more, without certificates, at the largest ε only.

    The pictures are no records: their passes are not counted, and distances differ from those of the run.

    Args:
        model: the attacked model.
        dataset: the images.
        spec: of the run.
        device: where to compute.
    """
    rows = np.arange(min(SIZE, len(dataset.labels)), dtype=np.int64)
    clean = dataset.batch(rows)
    only_largest = spec.override({"eps": [spec.eps[-1]], "full": True})
    with exact_arithmetic():
        classifier = Classifier(model.module, model.input_shape, device=device, passes=PassCounter())
        ensemble = Ensemble(classifier, planned(only_largest, dataset.bounds), dataset.bounds)
        batch = ensemble.run(dataset.index[rows], clean, dataset.labels[rows], np.zeros(len(rows)))
        moved, logits = transport(classifier, clean)
    adversarial = {}
    for name, points in batch.by_attack.items():
        adversarial[name] = np.full_like(clean, np.nan)
        for row, point in points.items():
            adversarial[name][row] = point
    return AttackGallery(
        clean=clean,
        adversarial=adversarial,
        reached={name: [outcome.predicted for outcome in outcomes] for name, outcomes in batch.outcomes.items()},
        transport=moved,
        logits=logits,
        index=batch.index.tolist(),
        eps=spec.eps[-1],
    )


def transport(classifier: Classifier, clean: Floats) -> tuple[Floats, Floats]:
    """Images moved to x - 2 f(x) grad f(x), which for the optimal f is their image by transport.

    Serrurier et al., section 3.2. For q > 2 classes f is the gap of the two largest logits over its squared slope, so
    that the step, twice the linearised distance to the boundary, does not depend on the head's scale.

    Args:
        classifier: the model.
        clean: (K, *shape).

    Returns:
        (K, *shape), not clipped to the box, and the logits (K, q) of the images.
    """
    x = torch.from_numpy(np.ascontiguousarray(clean)).to(classifier.device)
    moved, found = [], []
    for row in range(len(x)):
        point = x[row : row + 1].expand(classifier.fit(1), *x.shape[1:])
        logits, slopes = classifier.differentiate(point, torch.ones(len(point), device=x.device), _gap, 1)
        gap, slope = float(_gap(logits)[0]), slopes[0]
        squared = 1.0 if logits.shape[1] == 2 else float(slope.square().sum().clamp_min(1e-12))
        moved.append((x[row] - 2.0 * gap * slope / squared).cpu().numpy())
        found.append(logits[0].detach().cpu().numpy())
    return np.stack(moved), np.stack(found)


def _gap(logits: Tensor) -> Tensor:
    """The two largest logits' difference (T,); |f| for one logit f."""
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    return first - second
