"""Exported programs (`.pt2`): one float32 input, free batch size."""

from __future__ import annotations

import hashlib
import inspect
import io
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from robench.errors import ModelError
from robench.models.checks import probe, require_finite
from robench.models.input_shape import WantedShape
from robench.models.loaded import ReadModel
from robench.models.reading.archive import UnsafeArchive, require_safe
from robench.models.storage.tensors import is_script, read_bytes

HINT = "write it again with torch.export.save, in evaluation mode, or use FILE.py:factory with its weights"
EXPORT_HINT = (
    "export the float32 model in evaluation mode with a free batch size: "
    "torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim('batch')},))"
)
LARGEST_BATCH = 1024
"""The batch size that a program must take at least; 500 inputs at a time are evaluated where nothing else is asked."""


def load_program(path: Path, shape: WantedShape) -> ReadModel:
    """The model in a `.pt2` file that `torch.export.save` wrote: one input, free batch size.

    Args:
        path: of the file.
        shape: of an input, where the program takes several.

    Raises:
        ModelError: damaged, possibly unsafe, or no function of one input.
    """
    content = read_bytes(path)
    if is_script(content):
        raise ModelError(f"`{path}` is a TorchScript archive, which robench does not read", hint=HINT)
    program, module = _opened(content, path)
    try:
        sizes = _input_sizes(program)
    except ValueError as error:
        raise ModelError(f"`{path}` cannot be used: {error}", hint=EXPORT_HINT) from None
    source = f"`{path}`"
    input_shape = shape.fitted(sizes, source)
    module.requires_grad_(False)
    require_finite(module, source)
    return ReadModel(
        module=module,
        input_shape=input_shape,
        output_shape=probe(module, input_shape, source),
        source=source,
        name=path.stem,
        weights_sha256=hashlib.sha256(content).hexdigest(),
    )


def _opened(content: bytes, path: Path) -> tuple[torch.export.ExportedProgram, nn.Module]:
    """The program, and the module that runs it."""
    try:
        require_safe(content)
    except UnsafeArchive as error:
        raise ModelError(f"`{path}` is refused: {error}", hint=HINT) from None
    except (zipfile.BadZipFile, ValueError, KeyError, RecursionError, NotImplementedError, EOFError) as error:
        raise ModelError(f"`{path}` is damaged or no exported program: {error}", hint=HINT) from None
    try:
        program = torch.export.load(io.BytesIO(content))
        guards = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
        return program, program.module(**guards)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"`{path}` cannot be read as an exported program: {reason}", hint=HINT) from None


def _input_sizes(program: torch.export.ExportedProgram) -> list[int | None]:
    """Sizes of the one input, without the batch; None for one that is free.

    Raises:
        ValueError: there is another number of inputs, the batch size is not free, or the input is of another precision.
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
    return [size if isinstance(size, int) else None for size in example.shape[1:]]


def _require_free_batch(program: torch.export.ExportedProgram, batch: int | torch.SymInt) -> None:
    """Robench evaluates batches of many sizes, and a graph of one size may hold that size as a number anywhere."""
    if isinstance(batch, int):
        raise ValueError(f"it takes batches of exactly {batch}: the size was fixed at the export")
    size = batch.node.expr
    if not size.is_symbol:
        raise ValueError(f"its batch size is not free, but of the form {size}")
    if (bounds := program.range_constraints.get(size)) is not None and bounds.upper < LARGEST_BATCH:
        raise ValueError(f"it takes batches of at most {bounds.upper}")
