"""The archive of an exported program, refused before it is opened if it could run code.

`torch.export.load` unpickles some payloads, evaluates symbolic sizes as Python, and calls any function below `torch`
that the graph names. So the archive must hold nothing but raw tensors, example inputs made of tensors, sizes that are
plain arithmetic, and graphs of aten operators.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

ENTRY = re.compile(
    r"[^/]+/(data/(weights|constants)/\w+(\.json)?|data/sample_inputs/\w+\.pt|models/\w+\.json"
    r"|archive_format|archive_version|byteorder|version|\.data/\w+)"
)
OPERATOR = re.compile(
    r"torch\.ops\.aten\.\w+(\.\w+)?|_operator\.(getitem|add|sub|mul|floordiv|mod|neg|eq|ne|ge|gt|le|lt)"
)
SIZE = re.compile(
    r"[\s\d()+*/,<>=-]|Symbol\('[su]\d+', (positive=True, )?integer=True\)|\b[su]\d+\b"
    r"|\b(Max|Min|Mod|FloorDiv|Add|Mul|Integer)\b"
)
TREE_TYPE = re.compile(r"builtins\.(tuple|list|dict)")
CUSTOM = ("as_custom_obj", "as_operator", "as_script_object")


class UnsafeArchive(Exception):
    """Why an archive is not opened."""


def require_safe(content: bytes) -> None:
    """Refuse an archive whose opening could do more than build a graph of tensor operations.

    Raises:
        UnsafeArchive: what was found.
        ValueError: an entry is not what its name says; and what `zipfile` raises on damage.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise UnsafeArchive("two entries have the same name")
        for name in names:
            if not ENTRY.fullmatch(name):
                raise UnsafeArchive(f"it holds `{name}`, which is no part of a plain exported program")
        if not any(name.endswith("/archive_format") for name in names):
            raise ValueError("it is of an old format, or of another kind")
        for name in names:
            if name.endswith("_config.json"):
                _require_raw(json.loads(archive.read(name)))
            elif name.endswith(".json"):
                _require_plain_graph(json.loads(archive.read(name)))
            elif "/sample_inputs/" in name and (payload := archive.read(name)):
                _require_tensors(payload)


def _require_raw(config: Any) -> None:
    for key, value in _leaves(config):
        if key == "use_pickle" and value is not False:
            raise UnsafeArchive("it holds pickled tensors")


def _require_tensors(payload: bytes) -> None:
    try:
        torch.load(io.BytesIO(payload), weights_only=True)
    except Exception:
        raise UnsafeArchive("its example inputs hold more than tensors") from None


def _require_plain_graph(model: Any) -> None:
    for key, value in _leaves(model):
        if key in CUSTOM and value is not None:
            raise UnsafeArchive("its graph uses an object that is no tensor")
        if key == "target" and not OPERATOR.fullmatch(str(value)):
            raise UnsafeArchive(f"its graph calls `{value}`, which is no aten operator")
        if key == "expr_str" and SIZE.sub("", str(value)):
            raise UnsafeArchive(f"the size `{value}` is not plain arithmetic")
        if key in ("in_spec", "out_spec") and value:
            for kind, tree_type in _leaves(json.loads(str(value))):
                if kind == "type" and tree_type is not None and not TREE_TYPE.fullmatch(str(tree_type)):
                    raise UnsafeArchive(f"an input or output is a `{tree_type}`")


def _leaves(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All values that are neither tables nor lists, and the tables below custom keys, each with its key."""
    if isinstance(data, dict):
        for name, value in data.items():
            if name in CUSTOM:
                yield name, value
            yield from _leaves(value, name)
    elif isinstance(data, list):
        for value in data:
            yield from _leaves(value, key)
    else:
        yield key, data
