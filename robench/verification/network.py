"""A model folder as a numpy network: its logits, its class, and constants below the ones that were proven."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from robench.errors import RunError
from robench.verification.layers import Array, Layer, layers
from robench.verification.run import read_json

AGREEMENT = 1e-9
"""Relative difference of two float64 computations that is taken for rounding."""
POWER_STEPS = 60
THIS_MODEL = "give the model folder of the run"


class Decision(NamedTuple):
    """What a network says of one input.

    Fields:
        predicted: the class.
        gaps: (q,) f_predicted − f_j for each class, inf for itself; (1,) |f| of one logit.
        allowed: what rounding may add to each gap: a share of the larger of the two logits compared.
        limit: the radius that no certificate by pairs can exceed.
        limit_scaled: the same of the rule `scaled`.
    """

    predicted: int
    gaps: Array
    allowed: Array
    limit: float
    limit_scaled: float


@dataclass(frozen=True)
class Network:
    """Layers and what is known of their norms.

    Fields:
        layers: one after the other.
        outputs: 1 for one logit, else the number of classes.
        pairwise: (q, q) lower bounds of the proven constants of f_i − f_j; (1, 1) of f for one logit.
        scaled: the same of the rule `scaled`, which holds for all slopes between 0 and 1, and so for slopes of 1.
    """

    layers: tuple[Layer, ...]
    outputs: int
    pairwise: Array
    scaled: Array

    @property
    def classes(self) -> int:
        """Number of classes: 2 for one logit."""
        return max(self.outputs, 2)

    def logits(self, inputs: Array) -> Array:
        """(N, *shape) to (N, outputs)."""
        for layer in self.layers:
            inputs = layer.forward(inputs)
        return inputs.reshape(len(inputs), -1)

    def decide(self, logits: Array) -> Decision:
        """The class of one input, and how far it is from others: (outputs,) logits."""
        if self.outputs == 1:
            predicted, of, gaps = int(logits[0] > 0), 0, np.abs(logits)
            allowed = AGREEMENT * np.abs(logits)
        else:
            predicted = of = int(np.argmax(logits))
            gaps = logits[predicted] - logits
            gaps[predicted] = np.inf
            allowed = AGREEMENT * np.maximum(np.abs(logits), abs(logits[predicted]))
        with np.errstate(divide="ignore"):
            limits = [float(np.min(gaps / found[of])) * (1 + AGREEMENT) for found in (self.pairwise, self.scaled)]
        return Decision(predicted, gaps, allowed, *limits)


def read_network(folder: Path, sha256: str) -> Network:
    """The network in a model folder, from its JSON and its tensors alone.

    Raises:
        RunError: the folder is no model folder, is damaged, or holds other weights than those of that SHA-256.
    """
    if not (folder / "model.json").is_file():
        raise RunError(
            f"`{folder}` is not a model folder, and `verify` re-executes only robench's own layers",
            hint="if the folder was moved, give its new place (`--model`, in Python `model=`); modules of a FILE.py, "
            ".pt2 programs and .onnx files have no second implementation to be checked with",
        )
    try:
        content = (folder / "model.safetensors").read_bytes()
        tensors = {name: value.astype(np.float64) for name, value in load_tensors(content).items()}
    except (OSError, SafetensorError) as error:
        raise RunError(f"`{folder}` cannot be read: {error}", hint=THIS_MODEL) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(f"the weights in `{folder}` are not those of the run", hint=THIS_MODEL)
    try:
        description = read_json(folder / "model.json")["model"]
        made, outputs = tuple(layers(description, tensors)), int(description["outputs"])
    except KeyError as error:
        raise RunError(f"`{folder}` holds no {error}", hint=THIS_MODEL) from None
    shape = tuple(description["input_shape"])
    joined = tuple(layer for layer in made if not layer.rising)
    return Network(made, outputs, _constants_found(made, shape, outputs), _constants_found(joined, shape, outputs))


def _constants_found(network: tuple[Layer, ...], shape: tuple[int, ...], outputs: int) -> Array:
    """Lower bounds of the proven constants of f_i − f_j: norms that a power iteration found, segment by segment."""
    body = 1.0
    segment: list[tuple[Layer, tuple[int, ...]]] = []
    at = np.zeros((1, *shape))
    for layer in network:
        if layer.adjoint is None and segment:
            body *= segment_norm(segment)
            segment = []
        elif layer.adjoint is not None:
            segment.append((layer, at.shape[1:]))
        at = layer.forward(at)
    rows = np.eye(outputs)
    for layer, _ in reversed(segment):
        assert layer.adjoint is not None
        rows = layer.adjoint(rows)
    rows = rows.reshape(outputs, -1)
    if outputs == 1:
        return np.full((1, 1), body * float(np.linalg.norm(rows)))
    return body * np.array([[float(np.linalg.norm(a - b)) for b in rows] for a in rows])


def segment_norm(segment: list[tuple[Layer, tuple[int, ...]]]) -> float:
    """Norm of consecutive linear layers by power iteration, from below."""
    vector = np.random.default_rng(0).standard_normal((1, *segment[0][1]))
    zeros = [layer.forward(np.zeros((1, *shape))) if layer.offset else 0.0 for layer, shape in segment]
    norm = 0.0
    for _ in range(POWER_STEPS):
        vector /= max(float(np.linalg.norm(vector)), 1e-300)
        image = vector
        for (layer, _), zero in zip(segment, zeros, strict=True):
            image = layer.forward(image) - zero
        norm = float(np.linalg.norm(image))
        vector = image
        for layer, _ in reversed(segment):
            assert layer.adjoint is not None
            vector = layer.adjoint(vector)
    return norm * (1 - AGREEMENT)
