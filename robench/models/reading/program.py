"""Exported programs (`.pt2`), refused before they are opened if they could run code.

`torch.export.load` unpickles some payloads, evaluates symbolic sizes as Python, and calls any function below `torch`
that the graph names. So the archive is inspected first: it must hold nothing but raw tensors, example inputs made of
tensors, sizes that are plain arithmetic, and graphs of aten operators.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robench.errors import ModelError
from robench.models.identity.function import identify
from robench.models.link.detection import take_off
from robench.models.loaded import LoadedModel, Shape, probe_outputs, require_finite
from robench.models.storage.tensors import is_script, read_bytes

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


def load_program(
    path: Path,
    input_shape: Shape | None,
    threshold: float | None = None,
    shape_of_data: Callable[[], Shape] | None = None,
) -> LoadedModel:
    """The model in a `.pt2` file that `torch.export.save` wrote: one input, free batch size.

    Args:
        path: of the file.
        input_shape: without the batch, as the user gives it; None for that of the program.
        threshold: of one output; see `load_model`.
        shape_of_data: asked where the program takes several shapes and none is given.

    Raises:
        ModelError: damaged, possibly unsafe, or not a classifier with one input.
    """
    content = read_bytes(path)
    if is_script(content):
        raise ModelError(f"`{path}` is a TorchScript archive, which is not taken", hint=HINT)
    try:
        require_safe(content)
    except _Unsafe as error:
        raise ModelError(f"`{path}` is refused: {error}", hint=HINT) from None
    except (zipfile.BadZipFile, ValueError, KeyError, RecursionError, NotImplementedError, EOFError) as error:
        raise ModelError(f"`{path}` is damaged or no exported program: {error}", hint=HINT) from None
    try:
        program = torch.export.load(io.BytesIO(content))
        guards = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
        module = program.module(**guards)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"`{path}` cannot be read as an exported program: {reason}", hint=HINT) from None
    try:
        shape = _input_shape(program, input_shape, shape_of_data)
    except ValueError as error:
        raise ModelError(f"`{path}` does not serve: {error}", hint=EXPORT_HINT) from None
    module.requires_grad_(False)
    require_finite(module, f"`{path}`")
    outputs = probe_outputs(module, shape, f"`{path}`")
    logits, link = take_off(module, shape, outputs, threshold, f"`{path}`")
    return LoadedModel(
        module=logits,
        input_shape=shape,
        outputs=outputs,
        name=path.stem,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        function=identify(module, shape),
        notes=() if link is None else (link.note,),
        link=link,
    )


HINT = "write it again with torch.export.save, in evaluation mode, or use FILE.py:factory with --weights"

EXPORT_HINT = (
    "export the float32 model in evaluation mode with a free batch size: "
    "torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim('batch')},))"
)
LARGEST_BATCH = 1024
"""The batch size that a program must take at least; 500 inputs at a time are evaluated where nothing else is asked."""


class _Unsafe(Exception):
    """Why an archive is not opened."""


def require_safe(content: bytes) -> None:
    """Refuse an archive whose opening could do more than build a graph of tensor operations.

    Raises:
        _Unsafe: what was found.
        ValueError: an entry is not what its name says; and what `zipfile` raises on damage.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise _Unsafe("two entries have the same name")
        for name in names:
            if not ENTRY.fullmatch(name):
                raise _Unsafe(f"it holds `{name}`, which is no part of a plain exported program")
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
            raise _Unsafe("it holds pickled tensors")


def _require_tensors(payload: bytes) -> None:
    try:
        torch.load(io.BytesIO(payload), weights_only=True)
    except Exception:
        raise _Unsafe("its example inputs hold more than tensors") from None


def _require_plain_graph(model: Any) -> None:
    for key, value in _leaves(model):
        if key in CUSTOM and value is not None:
            raise _Unsafe("its graph uses an object that is no tensor")
        if key == "target" and not OPERATOR.fullmatch(str(value)):
            raise _Unsafe(f"its graph calls `{value}`, which is no aten operator")
        if key == "expr_str" and SIZE.sub("", str(value)):
            raise _Unsafe(f"the size `{value}` is not plain arithmetic")
        if key in ("in_spec", "out_spec") and value:
            for kind, tree_type in _leaves(json.loads(str(value))):
                if kind == "type" and tree_type is not None and not TREE_TYPE.fullmatch(str(tree_type)):
                    raise _Unsafe(f"an input or output is a `{tree_type}`")


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


def _input_shape(
    program: torch.export.ExportedProgram, asked: Shape | None, shape_of_data: Callable[[], Shape] | None
) -> Shape:
    """Shape of the one input, without the batch.

    Args:
        program: what was read.
        asked: the shape that the user gives; needed where sizes of an image are free.
        shape_of_data: gives it where the user does not.

    Raises:
        ValueError: there is another number of inputs, the batch size is not free, the input is of another precision,
            or the shape is open or another than asked for.
    """
    names = program.graph_signature.user_inputs
    by_name = program.call_spec.in_spec.children()[1] if program.call_spec.in_spec else None
    if len(names) != 1:
        raise ValueError(f"it has {len(names)} inputs, not 1")
    if by_name is not None and by_name.num_leaves:
        raise ValueError("its input is taken by name, not by position")
    (example,) = [node.meta["val"] for node in program.graph.nodes if node.name == names[0]]
    if not isinstance(example, Tensor) or example.dim() < 2:
        raise ValueError("its input is no batch of vectors or images")
    if example.dtype != torch.float32:
        raise ValueError(f"its input is {str(example.dtype).removeprefix('torch.')}, not float32")
    _require_free_batch(program, example.shape[0])
    sizes = example.shape[1:]
    open_sizes = [number for number, size in enumerate(sizes) if not isinstance(size, int)]
    if asked is None and open_sizes and shape_of_data is not None:
        asked = shape_of_data()
    if asked is None:
        if open_sizes:
            raise ValueError("sizes of its input other than the batch are free, so give one with --input-shape")
        return tuple(int(size) for size in sizes)
    fixed = [size for number, size in enumerate(sizes) if number not in open_sizes]
    given = [size for number, size in enumerate(asked) if number not in open_sizes]
    if len(asked) != len(sizes) or fixed != given:
        shown = ["any" if number in open_sizes else size for number, size in enumerate(sizes)]
        raise ValueError(f"it takes inputs of shape {shown}, not {list(asked)}")
    return asked


def _require_free_batch(program: torch.export.ExportedProgram, batch: int | torch.SymInt) -> None:
    """Robench evaluates batches of many sizes, and a graph of one size may hold that size as a number anywhere."""
    if isinstance(batch, int):
        raise ValueError(f"it takes batches of exactly {batch}: the size was fixed at the export")
    size = batch.node.expr
    if not size.is_symbol:
        raise ValueError(f"its batch size is not free, but of the form {size}")
    if (bounds := program.range_constraints.get(size)) is not None and bounds.upper < LARGEST_BATCH:
        raise ValueError(f"it takes batches of at most {bounds.upper}")
