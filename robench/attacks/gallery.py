"""A few inputs to look at: what each attack makes of them, and the paper's transport x - 2 f(x) grad f(x)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save

from robench.attacks.cascade import AttackedData, AttackedModel, Cascade, planned
from robench.attacks.classifier import Classifier
from robench.attacks.passes import PassCounter
from robench.devices import exact_arithmetic
from robench.files import write_atomic
from robench.specs.evaluation import AttackSpec

FILE = "gallery.safetensors"
SIZE = 8

Floats = npt.NDArray[np.float32]


def write_gallery(
    folder: Path, model: AttackedModel, dataset: AttackedData, spec: AttackSpec, *, device: torch.device
) -> None:
    """Attack the first images once more, without certificates, at the largest ε only, and store what is seen.

    Tensors: `clean` (K, *shape), `adversarial/NAME` with NaN where the attack found nothing, and `transport`; the
    metadata `robench` is JSON with `index`, `eps` and `reached`, the class (K,) of each adversarial by attack. The
    pictures are no records: their passes are not counted, and distances differ from those of the run.

    Raises:
        RunError: the folder cannot be written.
    """
    rows = np.arange(min(SIZE, len(dataset.labels)), dtype=np.int64)
    clean = dataset.batch(rows)
    only_largest = spec.override({"eps": [spec.eps[-1]], "full": True})
    with exact_arithmetic():
        classifier = Classifier(model.module, model.input_shape, device=device, passes=PassCounter())
        cascade = Cascade(classifier, planned(only_largest, dataset.bounds), dataset.bounds)
        chunk = cascade.run(dataset.index[rows], clean, dataset.labels[rows], {})
        tensors = {"clean": clean, "transport": transport(classifier, clean)}
    for name, points in chunk.by_attack.items():
        shown = np.full_like(clean, np.nan)
        for row, point in points.items():
            shown[row] = point
        tensors[f"adversarial/{name}"] = shown
    outcomes = [record.attacks for record in chunk.records()]
    reached = {name: [by_attack[name].predicted for by_attack in outcomes] for name in chunk.by_attack}
    facts = json.dumps({"index": dataset.index[rows].tolist(), "eps": spec.eps[-1], "reached": reached})
    content = save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}, metadata={"robench": facts})
    write_atomic(folder / FILE, content)


def transport(classifier: Classifier, clean: Floats) -> Floats:
    """Images moved to x - 2 f(x) grad f(x), which for the optimal f is their image by transport.

    Serrurier et al., section 3.2. For q > 2 classes f is the gap of the two largest logits over its squared slope, so
    that the step, twice the linearised distance to the boundary, does not depend on the head's scale.

    Args:
        classifier: the model.
        clean: (K, *shape).

    Returns:
        (K, *shape), not clipped to the box.
    """
    x = torch.from_numpy(np.ascontiguousarray(clean)).to(classifier.device)
    moved = []
    for row in range(len(x)):
        point = x[row : row + 1].expand(classifier.fit(1), *x.shape[1:])
        ones = torch.ones(len(point), device=x.device)
        logits = classifier.logits(point, ones, 1)
        top = logits.topk(2, dim=1).indices
        _, gradients = classifier.jacobian(point, ones, top, 1)
        # The gap of class 0 to class 1 of `top`; for one logit it is |f|, and -gradient is that of the gap.
        gap, slope = float(logits[0, top[0, 0]] - logits[0, top[0, 1]]), -gradients[0, 0]
        squared = 1.0 if logits.shape[1] == 2 else float(slope.square().sum().clamp_min(1e-12))
        moved.append((x[row] - 2.0 * gap * slope / squared).cpu().numpy())
    return np.stack(moved)
