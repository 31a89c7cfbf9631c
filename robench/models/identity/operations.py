"""The operations that a module runs, recorded with their arguments, constants and weights.

torch.export would do, but takes seconds to load and refuses many models that can be attacked; watching the dispatcher
takes one forward pass and refuses none. Only the sequence is recorded, not what is computed, so that neither threads
nor the processor change the record; but of an operation that is not torch's own, the results are recorded too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from robench.models.identity.contents import contents_digest, tensor_digest


class Stored(NamedTuple):
    """A weight that is digested once for several passes, with torch's count of the changes made to it in place."""

    version: int
    digest: str


def digest_weights(module: nn.Module) -> dict[int, Stored]:
    """Parameters and buffers by address; good for as long as the module keeps them."""
    weights = [weight for weight in (*module.parameters(), *module.buffers()) if not weight.is_inference()]
    return {id(weight): Stored(weight._version, tensor_digest(weight)) for weight in weights}


class Recording(NamedTuple):
    """One forward pass.

    Fields:
        sha256: of the operations.
        straight: whether no number that depends on the input was taken out of a tensor.
    """

    sha256: str
    straight: bool


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Digests each operation; a computed tensor is named by its number, any other tensor by its entries."""

    def __init__(self, start: Tensor, stored: Mapping[int, Stored]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.digest = hashlib.sha256()
        self._stored = stored
        self.straight = True
        self._names = {id(start): "input"}
        self._depends = {id(start)}
        self._alive: list[Tensor] = [start]  # an address is reused once its tensor is gone

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch loads its compiler, for two seconds, to keep it out of here

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, layout = tree_flatten((args, kwargs or {}))
        words = [str(func), str(layout), *(self._word(value) for value in given)]
        depends = any(id(value) in self._depends for value in given)
        result = func(*args, **(kwargs or {}))
        for value in tree_flatten(result)[0]:
            if not isinstance(value, Tensor):
                self.straight &= not depends  # a number of the input's leaves torch, perhaps for a branch
                continue
            if id(value) not in self._names:
                self._remember(value)
            if depends:
                self._depends.add(id(value))
        if func.namespace != "aten":  # what an operation of somebody's own does is not said by its name
            words += [tensor_digest(value) for value in tree_flatten(result)[0] if isinstance(value, Tensor)]
        self.digest.update("\n".join([*words, "\n"]).encode("utf-8", "surrogatepass"))
        return result

    def _word(self, value: Any) -> str:
        if not isinstance(value, Tensor):
            return contents_digest(value)
        if id(value) in self._names:
            return self._names[id(value)]
        stored = self._stored.get(id(value))
        word = stored.digest if stored and stored.version == value._version else tensor_digest(value)
        self._remember(value)
        return word

    def _remember(self, value: Tensor) -> None:
        self._names[id(value)] = f"tensor {len(self._names)}"
        self._alive.append(value)

    def finish(self, result: Any) -> Recording:
        """The recording, with what was returned."""
        self.digest.update(" ".join(self._word(value) for value in tree_flatten(result)[0]).encode())
        return Recording(self.digest.hexdigest(), self.straight)


@torch.no_grad()
def record_operations(module: nn.Module, inputs: Tensor, stored: Mapping[int, Stored]) -> Recording:
    """The operations of one forward pass.

    Args:
        module: in evaluation mode.
        inputs: a batch.
        stored: what `digest_weights` made of the module.

    Raises:
        Exception: whatever the module raises while it is watched.
    """
    recorder = _Recorder(inputs, stored)
    with recorder:
        result = module(inputs)
    return recorder.finish(result)
