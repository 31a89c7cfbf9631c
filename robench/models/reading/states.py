"""State dicts in files of weights, found where training scripts put them; nothing is unpickled but plain data."""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path, PosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robench.errors import ModelError
from robench.models.storage.tensors import is_script, read_bytes, read_tensors

DEPTH = 3
SAVE_HINT = "save the weights alone: safetensors.torch.save_file(model.state_dict(), FILE)"
State = dict[str, Tensor]


class StateFile(NamedTuple):
    """What a file of weights holds.

    Fields:
        states: every state dict in it, by where it is (empty for the file as a whole).
        keys: what is at the top of the file.
        sha256: of its bytes.
    """

    states: dict[str, State]
    keys: list[str]
    sha256: str


def read_states(path: Path) -> StateFile:
    """The state dicts of a file. Nothing is unpickled but tensors and plain data.

    Raises:
        ModelError: missing, damaged, or more than tensors.
    """
    content = read_bytes(path)
    if path.suffix == ".safetensors" or _is_safetensors(content):
        stored = read_tensors(path)
        return StateFile({"": stored.tensors}, list(stored.tensors), stored.sha256)
    if is_script(content):
        raise ModelError(
            f"`{path}` is a TorchScript archive, not a file of weights",
            hint="save model.state_dict() of the nn.Module, or torch.jit.load(FILE).state_dict()",
        )
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")  # torch warns about pickle protocols that it then refuses
            data = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise nearly anything
        raise _unreadable(path, str(error) or type(error).__name__) from None
    keys = [str(key) for key in data] if isinstance(data, Mapping) else []
    return StateFile(dict(_states_in(data)), keys, hashlib.sha256(content).hexdigest())


def _states_in(data: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    if not isinstance(data, Mapping) or depth > DEPTH:
        return
    tensors = {str(name): value for name, value in data.items() if isinstance(value, Tensor)}
    if tensors and all(isinstance(name, str) for name in data):
        yield where, tensors
    for name, value in data.items():
        if isinstance(name, str):
            yield from _states_in(value, f"{where}.{name}" if where else name, depth + 1)


def _unreadable(path: Path, reason: str) -> ModelError:
    objects = sorted(set(re.findall(r"GLOBAL ([\w.]+)", reason)))
    if objects:
        return ModelError(
            f"`{path}` holds Python objects beyond tensors ({listed(objects)}), which are never unpickled",
            hint="load it where you trust it, by torch.load(FILE, weights_only=False), and save the state dict alone",
        )
    return ModelError(f"`{path}` is damaged, or of another kind: {reason.splitlines()[0]}", hint=SAVE_HINT)


def _harmless() -> list[Any]:
    """Plain data that training scripts keep beside the weights: options, paths, numbers of numpy."""
    scalar = np.float64(0.0).__reduce__()[0]
    numbers = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    return [argparse.Namespace, PosixPath, scalar, np.dtype, *numbers]


def _is_safetensors(content: bytes) -> bool:
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def listed(names: list[str]) -> str:
    """Some names as text."""
    shown = ", ".join(f"`{name}`" for name in names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
