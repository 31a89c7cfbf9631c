"""Named tensors in safetensors files: read once, hashed as read, never unpickled; written atomically."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from robench.errors import ModelError
from robench.files import write_atomic

METADATA_KEY = "robench"
"""One key only: safetensors does not keep the order of several, and equal contents shall give equal bytes."""


class TensorFile(NamedTuple):
    """What a file holds.

    Fields:
        tensors: by name.
        facts: robench's own JSON in the header; empty where there is none.
        sha256: of the bytes of the file.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    sha256: str


def read_tensors(path: Path) -> TensorFile:
    """Read a safetensors file.

    Raises:
        ModelError: missing, unreadable, truncated or no safetensors.
    """
    content = read_bytes(path)
    try:
        tensors = safetensors.torch.load(content)
        facts = _facts(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"`{path}` is truncated or no safetensors file: {error}", hint="copy it again, or train the model again"
        ) from None
    return TensorFile(tensors, facts, hashlib.sha256(content).hexdigest())


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ModelError: missing or unreadable.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"`{path}` does not exist", hint="check the path") from None
    except OSError as error:
        raise ModelError(f"`{path}` cannot be read: {error.strerror or error}", hint="check the path") from None


def is_script(content: bytes) -> bool:
    """Whether a file is an archive that `torch.jit.save` wrote."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError):
        return False
    return any("/code/" in name or name.endswith("/constants.pkl") for name in names)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """Write a safetensors file atomically; equal contents give equal bytes.

    Args:
        path: of the file.
        tensors: by name.
        facts: plain data to keep beside them.

    Returns:
        SHA-256 of the bytes.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    text = json.dumps(facts, allow_nan=False)
    content = safetensors.torch.save(plain, metadata={METADATA_KEY: text})
    write_atomic(path, content)
    return hashlib.sha256(content).hexdigest()


def _facts(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    facts = json.loads(metadata.get(METADATA_KEY, "{}"))
    if not isinstance(facts, dict):
        raise ValueError("its metadata is not an object")
    return facts
