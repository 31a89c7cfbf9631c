"""What function a loaded model is: a digest that changes with every change of the computation.

Three checks, none of which sees all: the operations that run, what the module and its code hold, and (for a
factory) the bytes of the source files. docs/design/0007-identity.md says what each is there for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robench.models.identity.contents import contents_digest, tensor_digest
from robench.models.identity.operations import Recording, Stored, digest_weights, record_operations
from robench.models.networks.held import detached_copy


class Function(NamedTuple):
    """Identity of a computation.

    Fields:
        sha256: of its operations and of all that it holds.
        traced: whether the operations were the same at all probes and took no number out of what depends on the input;
            else the digest rests on what the module holds and on its behaviour at the probes.
    """

    sha256: str
    traced: bool


def identify(module: nn.Module, input_shape: tuple[int, ...]) -> Function:
    """The identity of a module in evaluation mode, on inputs of a shape without the batch; it is left as it was."""
    held = contents_digest(module)
    watched = detached_copy(module)
    stored = digest_weights(watched)
    seen = [_seen(watched, inputs, stored) for inputs in _probes(input_shape)]
    traced = len(set(seen)) == 1 and seen[0].straight
    return Function(hashlib.sha256(" ".join([held, *(each.sha256 for each in seen)]).encode()).hexdigest(), traced)


def _seen(module: nn.Module, inputs: Tensor, stored: Mapping[int, Stored]) -> Recording:
    """What there is to see of a module at a probe: its operations, else its outputs, else how it fails."""
    try:
        return record_operations(module, inputs, stored)
    except (Exception, SystemExit):  # perhaps only while it is watched: torch.func, C++ of its own
        pass
    try:
        return Recording(_behaviour(module, inputs), straight=False)
    except (Exception, SystemExit) as error:  # a model may refuse what is no picture
        return Recording(type(error).__name__, straight=False)


def _probes(shape: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    uniform, normal = torch.rand((2, *shape), generator=generator), torch.randn((2, *shape), generator=generator)
    return [uniform, torch.zeros((2, *shape)), 10 * normal]


@torch.no_grad()
def _behaviour(module: nn.Module, inputs: Tensor) -> str:
    return f"outputs at {tensor_digest(inputs)} {tensor_digest(module(inputs))}"
