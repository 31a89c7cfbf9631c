"""Flags on the outputs of a model: signs that its class is read in the wrong way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from robench.models.loaded import HeldModel
from robench.models.networks.held import detached_copy
from robench.statistics.predictions import Flag

LOOKED_AT = 500
"""Images whose outputs are looked at, of those that are certified or attacked."""
BETTER = 0.05
"""The threshold 1/2 is worth a word where accuracy is higher by this."""


@torch.no_grad()
def output_flags(model: HeldModel, inputs: npt.NDArray[np.float32], labels: npt.NDArray[np.int64] | None) -> list[Flag]:
    """What is odd about the outputs on some images.

    Args:
        model: the model.
        inputs: (n, *shape), at least one.
        labels: (n,); None where they are not known.
    """
    outputs = _asked(model.deployed, inputs)
    if model.link is not None:
        return _saturated(model, inputs, outputs)
    return _probabilities(outputs[:, 0], labels) if model.outputs == 1 else []


def _asked(module: nn.Module, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Outputs of a copy: a module may keep what it saw, and the one that is certified must stay as it was."""
    outputs: npt.NDArray[np.float32] = detached_copy(module)(torch.from_numpy(np.ascontiguousarray(inputs))).numpy()
    return outputs


def _probabilities(output: npt.NDArray[np.float32], labels: npt.NDArray[np.int64] | None) -> list[Flag]:
    """Outputs that look as if they were to be compared with 1/2, where class 1 is read from f > 0."""
    rates, better = "", False
    if labels is not None:
        at_zero, at_half = (float(np.mean((output > threshold) == (labels == 1))) for threshold in (0.0, 0.5))
        better = at_half >= at_zero + BETTER
        rates = f", which is right for {at_zero:.1%} of {len(output)} images (above 0.5: {at_half:.1%})"
    within = bool(((output >= 0) & (output <= 1)).all())
    if not (within and output.max() > 0) and not better:
        return []
    seen = "all outputs lie in [0, 1]" if within else f"outputs go from {output.min():.3g} to {output.max():.3g}"
    return [
        Flag(
            "probability-output",
            f"{seen}; class 1 is read where they are above 0{rates}; give the threshold 0.5 (`--threshold 0.5`) if the "
            "model was trained to give 0 and 1, or the threshold 0 if it is a logit",
        )
    ]


def _saturated(model: HeldModel, inputs: npt.NDArray[np.float32], outputs: npt.NDArray[np.float32]) -> list[Flag]:
    """Whether rounding of the link in float32 gives another class than the logits, as where a sigmoid rounds to 1."""
    assert model.link is not None
    logits = _asked(model.module, inputs)
    if model.outputs == 1:
        other = (logits[:, 0] > 0) != (outputs[:, 0] > (model.link.threshold or 0.0))
    else:
        other = logits.argmax(axis=1) != outputs.argmax(axis=1)
    if not other.any():
        return []
    return [
        Flag(
            "saturated-link",
            f"at {int(other.sum())} of {len(other)} images the model's own outputs in float32 give another class than "
            "its logits, since they round to the same number; certificates and attacks are about the logits",
        )
    ]
